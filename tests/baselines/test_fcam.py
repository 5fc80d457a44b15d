"""F-CAM: what the localizer is fed with, how long it learns, and that nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dips.baselines import fcam
from dips.baselines.cam import Cam
from dips.baselines.fcam import FCam, FCamLayerCam, epochs_within
from dips.baselines.gradients import LayerCam
from dips.baselines.study import Study
from dips.harvest.store import Store
from dips.models.inputs import resize_to

Maps = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.fixture
def with_cam(study: Study) -> Study:
    cam = Cam()
    cam.build(study)
    cam.freeze()
    study.done["cam"] = cam
    return study


def test_items_hold_the_map_of_the_photos_class(with_cam: Study, tmp_path: Path) -> None:
    study = replace(with_cam, background=2)
    study.__dict__ |= {"cnn": with_cam.cnn}
    cam = study.fitted("cam")
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


def test_it_learns_is_restored_and_leaves_nothing_behind(with_cam: Study) -> None:
    before = {path for place in (with_cam.store, with_cam.folder) for path in place.rglob("*")}
    method = FCam()
    method.build(with_cam)
    start = {name: value.clone() for name, value in method.net.named_parameters()}
    fit = method.fit(with_cam)
    assert fit.steps == 1 and fit.epochs == 1 and "epoch 1 of 1 by the ground-truth boxes" in fit.chosen
    assert any(not torch.equal(value, start[name]) for name, value in method.net.named_parameters())
    assert {path for place in (with_cam.store, with_cam.folder) for path in place.rglob("*")} == before

    images, labels = with_cam.val.batch(range(3), method.side, with_cam.device)
    maps = method.maps(images, labels)
    assert maps.shape == (3, method.side, method.side) and maps.min() >= 0 and maps.max() <= 1
    torch.testing.assert_close(method.maps(images, labels.flip(0)), maps)
    other = FCam()
    other.restore(with_cam, method.state())
    torch.testing.assert_close(other.maps(images, labels), maps)


def test_the_map_is_of_the_source_and_of_the_class(with_cam: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[int]]] = []

    def watched(maps: Maps, name: str) -> Maps:
        def ask(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            asked.append((name, labels.tolist()))
            return maps(images, labels)

        return ask

    layer = LayerCam()
    layer.build(with_cam)
    with_cam.done["layercam"] = layer
    for source in with_cam.done.values():
        monkeypatch.setattr(source, "maps", watched(source.maps, source.name))
    method = FCamLayerCam()
    method.fit(with_cam)
    assert asked == [("layercam", [with_cam.train.label(i) for i in range(6)])] and set(method.needs) == {"cam", "layercam"}


def test_a_class_without_object_is_learned_from(with_cam: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study = replace(with_cam, background=2)
    study.__dict__ |= {"cnn": with_cam.cnn}
    asked: list[int] = []
    cam = study.fitted("cam")
    plain = cam.maps

    def watched(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.extend(labels.tolist())
        return plain(images, labels)

    monkeypatch.setattr(cam, "maps", watched)
    assert FCam().fit(study).steps == 1
    assert sorted(asked) == [0, 0, 1, 1], "no map of what shows nothing"


def test_the_classifier_names_the_class(with_cam: Study) -> None:
    method = FCam()
    method.take(with_cam)
    method.build(with_cam)
    cam = with_cam.fitted("cam")
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
