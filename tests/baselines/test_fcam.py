"""F-CAM: what the localizer is fed with, how long it learns, and that nothing stays behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dips.baselines import fcam
from dips.baselines.cam import Cam
from dips.baselines.fcam import FCam, FCamLayerCam, epochs_within
from dips.baselines.gradients import LayerCam
from dips.baselines.limits import Limits
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.harvest.store import Store
from dips.models.inputs import resize_to


@pytest.fixture
def cam(study: Study) -> Cam:
    cam = Cam()
    cam.build(study)
    cam.freeze()
    return cam


def test_items_hold_the_map_of_the_photos_class(study: Study, cam: Cam, tmp_path: Path) -> None:
    study.background = 2
    shelf = fcam._maps(study, cam, Store(tmp_path / "maps"))
    items = fcam._Items(study.train, shelf, 48, study.background)
    assert len(items) == 6
    for position in range(6):
        item, label = items[position], study.train.label(position)
        assert item.label == label and item.image.shape == (48, 48, 3)
        if label == 2:
            assert len(item.maps) == len(item.regions) == len(item.boxes) == 0, "the class without object has no map"
            continue
        images, labels = study.train.batch([position], cam.side, study.device)
        with torch.no_grad():
            expected = cam.maps(images, labels)[0].numpy()
        assert len(item.maps) == 1 and item.maps.max() == 1
        np.testing.assert_allclose(item.maps[0], expected / expected.max(), atol=2e-3)
        assert item.regions.tolist() == [[[True]]] and item.boxes.tolist() == [[0, 0, 1, 1]], "the whole frame"


def files(study: Study) -> set[Path]:
    return {path for place in (study.store, study.folder) for path in place.rglob("*") if path.is_file()}


def test_it_learns_is_restored_and_leaves_nothing_behind(study: Study) -> None:
    before = files(study)
    method = FCam()
    method.build(study)
    start = {name: value.clone() for name, value in method.net.named_parameters()}
    killed = study.folder / method.name / "work" / "maps" / "left.by.a.killed.run"
    killed.parent.mkdir(parents=True)
    killed.touch()
    fit = method.fit(study)
    classifier, localizer = ([row for row in fit.curve if row["stage"] == stage] for stage in (1, 2))
    assert classifier and len(localizer) == 1 and fit.epochs > 1
    assert fit.chosen.startswith("first stage: ") and "second: epoch 1 of 1 by the ground-truth boxes" in fit.chosen
    assert fit.limit == "", "a budget is no limit"
    assert any(not torch.equal(value, start[name]) for name, value in method.net.named_parameters())
    assert files(study) == before, "not even what a killed run has left"

    images, labels = study.val.batch(range(3), method.side, study.device)
    maps = method.maps(images, labels)
    assert maps.shape == (3, method.side, method.side) and maps.min() >= 0 and maps.max() <= 1
    torch.testing.assert_close(method.maps(images, labels.flip(0)), maps)
    other = FCam()
    other.restore(study, method.state())
    torch.testing.assert_close(other.maps(images, labels), maps)
    torch.testing.assert_close(other.probabilities(images), method.probabilities(images))


def test_the_classifier_leaves_the_localizer_half_of_the_budget(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that takes all it is given: the U-Net's passes grow with the budget."""
    clock, given = [0.0], []

    def spend(cam: Cam, part: Study) -> Fit:
        clock[0] += part.seconds
        cam.freeze()
        return Fit(steps=3, epochs=2)

    def passes(part: Study, photos: int, seconds: float, most: int, check: float) -> int:
        given.append((seconds, most))
        return 1

    monkeypatch.setattr(fcam, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(Cam, "fit", spend)
    monkeypatch.setattr(fcam, "epochs_within", passes)
    for seconds in (60.0, 600.0):
        method = FCam()
        method.build(study)
        study.seconds = seconds
        method.train(study)
    assert given == [(30.0, fcam.EPOCHS), (300.0, fcam.EPOCHS)]


@pytest.mark.parametrize(("epochs", "limit"), [(1, "1 minutes"), (2, "2 passes")])
def test_without_a_budget_the_limit_is_named(study: Study, monkeypatch: pytest.MonkeyPatch, epochs: int, limit: str) -> None:
    monkeypatch.setattr(fcam, "epochs_within", lambda *_: epochs)
    monkeypatch.setattr(Cam, "train", lambda *_: Fit(limit="30 minutes"))
    monkeypatch.setattr(fcam, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    method = FCam()
    method.build(study)
    study.seconds, study.limits = 60.0, Limits(passes=4)
    assert method.train(study).limit == f"30 minutes, {limit}"


def test_the_map_is_of_the_source_and_of_the_class(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    plain = LayerCam.maps

    def watched(layercam: LayerCam, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert layercam.cam is method.classifier
        asked.append(labels.tolist())
        return plain(layercam, images, labels)

    monkeypatch.setattr(LayerCam, "maps", watched)
    method = FCamLayerCam()
    method.fit(study)
    assert asked == [[study.train.label(i) for i in range(6)]]


def test_a_class_without_object_is_learned_from(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = LayerCam.maps

    def watched(layercam: LayerCam, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.extend(labels.tolist())
        return plain(layercam, images, labels)

    monkeypatch.setattr(LayerCam, "maps", watched)
    study.background = 2
    assert FCamLayerCam().fit(study).steps > 1
    assert sorted(asked) == [0, 0, 1, 1], "no map of what shows nothing"


def test_the_classifier_names_the_class(study: Study) -> None:
    method = FCam()
    method.take(study)
    method.build(study)
    cam = method.classifier
    images = torch.rand(2, 3, cam.side, cam.side)
    half = images[:, :, : cam.side // 2, : cam.side // 2]
    found, of_half = method.probabilities(images), method.probabilities(half)
    assert found is not None and of_half is not None and found.shape == (2, 3)
    torch.testing.assert_close(found, cam.probabilities(images))
    torch.testing.assert_close(of_half, cam.probabilities(resize_to(half, cam.side)), msg="at the classifier's side")
    assert method.parameters == sum(p.numel() for p in method.net.parameters()) + cam.parameters


@pytest.mark.parametrize(("seconds", "check", "expected"), [(0.0, 0, 1), (9.0, 0, 2), (9.0, 1, 1), (1000.0, 1, 5)])
def test_epochs_within_the_budget(
    study: Study, monkeypatch: pytest.MonkeyPatch, seconds: float, check: float, expected: int
) -> None:
    """A step takes one second, an epoch of 32 photos in batches of 8 four, and ``check`` after it."""
    clock = iter(range(100))
    monkeypatch.setattr(fcam, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    assert epochs_within(study, 32, seconds, 5, check) == expected
