"""What chooses epoch and thresholds, and that a seed decides everything."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dips.benchmark.loop import evaluate_maps
from dips.config import Config
from dips.data.images import read_image, resize_image
from dips.data.split import spread
from dips.errors import RunError
from dips.evaluate.detection import DetectionCounter
from dips.evaluate.protocol import FRAMED
from dips.fitting import select
from dips.fitting.calibrate import JudgedPhoto
from dips.fitting.inputs import TrainingInputs
from dips.fitting.select import TrainingResult, fit_and_select, steady_taus
from dips.harvest.store import Store
from dips.models.networks import TEMPER, Networks
from dips.scoremaps.calibration import Calibration
from dips.types import DataSet, PhotoBatch, Sample

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

Parts = tuple[DataSet, DataSet]
TrainParts = Callable[..., tuple[TrainingInputs, TrainingResult]]


def without_boxes(val: DataSet) -> DataSet:
    return dataclasses.replace(val, samples=tuple(dataclasses.replace(s, boxes=None) for s in val.samples))


def same(a: TrainingResult, b: TrainingResult) -> bool:
    assert a.fit is not None and b.fit is not None
    return all(torch.equal(x, y) for x, y in zip(a.fit.state.values(), b.fit.state.values(), strict=True))


def networks_of(inputs: TrainingInputs, result: TrainingResult, config: Config, mode: str) -> Networks:
    return Networks.of_mode(
        mode,
        inputs.frozen(),
        settings=config.predict,
        device=torch.device("cpu"),
        background=inputs.train.background,
        linear=inputs.linear,
        localizer=result.localizer,
    )


def maps_of(networks: Networks, samples: Sequence[Sample]) -> NDArray[np.float32]:
    squares = np.stack([resize_image(read_image(sample.path), (networks.side, networks.side)) for sample in samples])
    return networks.answer(PhotoBatch(squares)).maps


def test_a_seed_decides_everything_whatever_the_store_holds(parts: Parts, train_parts: TrainParts, tmp_path: Path) -> None:
    _, first = train_parts(parts, tmp_path / "a")
    _, again = train_parts(parts, tmp_path / "b", store=Store(tmp_path / "store"))  # nothing known beforehand
    assert same(first, again) and first.thresholds == again.thresholds and first.validation == again.validation


def test_by_default_there_is_no_unet(
    parts: Parts, train_parts: TrainParts, plain_config: Config, tmp_path: Path, passes: Counter[str]
) -> None:
    store = Store(tmp_path / "store")
    inputs, result = train_parts(parts, tmp_path / "run", config=plain_config, store=store)
    assert result.localizer is None and result.fit is None and inputs.proposals is None
    assert set(result.thresholds) == {"fast", "accurate"}
    assert result.selection == "threshold by ground-truth boxes of 2 validation photos" and not result.label_free
    assert set(result.validation) == {"v2", "box_acc_30", "box_acc_50", "box_acc_70", "f1"}
    assert not list((tmp_path / "run").glob("*")), "there are no epochs to tell of"
    # photos of the fit, or all of them, and those that thresholds are chosen and scores calibrated on, and what the second
    # look sees
    assert (passes["transformer"], passes["cnn"]) == (8 + 4, 12 + 2 * 4 + 4)
    assert result.calibration == {}, "two boxes say nothing about scores"
    _, again = train_parts(parts, tmp_path / "again", config=plain_config, store=store)
    assert again.thresholds == result.thresholds and again.validation == result.validation


def test_scores_are_calibrated_on_photos_with_boxes_and_on_those_without_object(
    parts: Parts, train_parts: TrainParts, plain_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each mode, at the threshold that its boxes have; nothing is calibrated where no box is known."""
    asked: list[Sequence[JudgedPhoto]] = []
    calibration = Calibration(slope=1.0, offset=0.0, gate=0.0, typical=0.2, cautious=0.9)

    def calibrate(photos: Sequence[JudgedPhoto]) -> Calibration:
        asked.append(photos)
        return calibration

    monkeypatch.setattr(select, "calibrate", calibrate)
    _, result = train_parts(parts, tmp_path / "run", config=plain_config)
    assert result.calibration == {"fast": calibration, "accurate": calibration} and len(asked) == 2
    for photos in asked:
        assert [(photo.label, photo.objects) for photo in photos] == [("thing", 1)] * 2 + [("none", 0)] * 2
        assert all(len(photo.means) == len(photo.right) > 0 for photo in photos)
        assert not any(photo.right.any() for photo in photos[2:])
    _, blind = train_parts((parts[0], without_boxes(parts[1])), tmp_path / "blind", config=plain_config)
    assert blind.calibration == {} and len(asked) == 2


def test_boxes_choose_where_there_are_any(parts: Parts, train_parts: TrainParts, tmp_path: Path) -> None:
    inputs, result = train_parts(parts, tmp_path)
    assert not result.label_free and "ground-truth boxes of 2 validation photos" in result.selection
    assert {"v2", "box_acc_30", "box_acc_50", "box_acc_70", "f1"} == set(result.validation)
    assert set(result.thresholds) == {"fast", "accurate", "unet"}
    assert all(set(taus) == {"v1", "30", "50", "70", "v2", "run"} for taus in result.thresholds.values())
    assert 0 <= inputs.accuracy["classifier"] <= 100 and 0 <= inputs.accuracy["linear_probe"] <= 100


@pytest.mark.parametrize("mode", ["fast", "accurate", "unet"])
def test_thresholds_by_boxes_are_those_of_the_modes_own_maps(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, mode: str
) -> None:
    """The protocol's thresholds by MaxBoxAcc; that of the run's boxes by F1 over all of them, as prediction makes them."""
    config = tiny_config.replace(**{"predict.mode": mode, "predict.min_area": 0.02, "predict.max_boxes": 3})
    inputs, result = train_parts(parts, tmp_path, config=config)
    boxed = [sample for sample in inputs.val.samples if sample.boxed]
    assert len(boxed) == 2
    for name in ("fast", "accurate", "unet"):
        maps = maps_of(networks_of(inputs, result, config, name), boxed)
        counter = DetectionCounter(np.arange(0.05, 0.96, 0.01).tolist(), min_area=0.02, min_score=0.0, max_boxes=3)
        for score_map, sample in zip(maps, boxed, strict=True):
            assert sample.boxes is not None
            counter.add(FRAMED.resized(score_map, None), FRAMED.boxes(sample.boxes, (64, 48)))
        assert result.thresholds[name]["run"] == counter.best_tau
        boxes = evaluate_maps(maps, boxed)
        assert {key: tau for key, tau in result.thresholds[name].items() if key != "run"} == steady_taus(boxes)
        if name == mode:
            assert result.validation["f1"] == 100 * counter.f1.max() and result.validation["v2"] == boxes.max_box_acc_v2


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("select_on", ["auto", "proposals"])
def test_without_boxes_linear_maps_have_their_level(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, epochs: int, select_on: str
) -> None:
    """Where a map crosses the level between background and object, as a fraction of its maximum; the median photo's."""
    config = tiny_config.replace(**{"train.epochs": epochs, "train.select_on": select_on})
    val = parts[1] if select_on == "proposals" else without_boxes(parts[1])  # boxes that are there are not looked at
    inputs, result = train_parts((parts[0], val), tmp_path, config=config)
    assert result.label_free and result.validation == {} and inputs.linear is not None
    words = "threshold by the model's own level between object and background, without boxes"
    epoch = "epoch 1 of 1 (by agreement with held-out proposals, no boxes); " if epochs else ""
    assert result.selection == epoch + words
    assert set(result.thresholds) == ({"fast", "accurate", "unet"} if epochs else {"fast", "accurate"})
    shown = [sample for sample in inputs.val.samples if sample.label == 1]
    for mode in ("fast", "accurate"):
        networks = networks_of(inputs, result, config, mode)
        maps = maps_of(networks, shown)
        level = 1 / (1 + math.exp(-networks.level / TEMPER))
        expected = float(np.median([min(1.0, level / score_map.max()) for score_map in maps]))
        assert result.thresholds[mode] == pytest.approx(
            dict.fromkeys(("v1", "30", "50", "70", "v2", "run"), expected), rel=1e-5
        )
        assert 0 < expected <= 1


@pytest.mark.parametrize("select_on", ["auto", "proposals", "last"])
def test_without_boxes_nothing_uses_any(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, select_on: str
) -> None:
    config = tiny_config.replace(**{"train.select_on": select_on, "predict.mode": "unet"})
    val = parts[1] if select_on == "proposals" else without_boxes(parts[1])  # boxes that are there are not looked at
    _, result = train_parts((parts[0], val), tmp_path, config=config)
    assert result.label_free and "no boxes" in result.selection and set(result.validation) == {"agreement"}
    assert len(set(result.thresholds["unet"].values())) == 1 and 0 <= result.thresholds["unet"]["run"] < 1
    assert ("the last" in result.selection) == (select_on == "last")


def test_thresholds_without_boxes_and_without_objects(
    parts: Parts, train_parts: TrainParts, plain_config: Config, tmp_path: Path
) -> None:
    """The level itself, where no photo says how high maps of objects are."""
    val = dataclasses.replace(without_boxes(parts[1]), samples=without_boxes(parts[1]).samples[::2])
    inputs, result = train_parts((parts[0], val), tmp_path, config=plain_config)
    for mode in ("fast", "accurate"):
        networks = networks_of(inputs, result, plain_config, mode)
        level = 1 / (1 + math.exp(-networks.level / TEMPER))
        assert result.thresholds[mode]["run"] == pytest.approx(level, rel=1e-5)


def test_thresholds_are_chosen_on_a_spread_of_photos(
    parts: Parts, train_parts: TrainParts, plain_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "_MAX_PHOTOS", 1)
    _, result = train_parts(parts, tmp_path, config=plain_config)
    assert "ground-truth boxes of 1 validation photo" in result.selection
    monkeypatch.setattr(select, "_MAX_PHOTOS", 3)
    assert spread(list(range(10)), select._MAX_PHOTOS) == [0, 3, 6] and spread([5, 6], select._MAX_PHOTOS) == [5, 6]


def test_the_last_epoch_with_a_threshold_from_boxes_is_not_label_free(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path
) -> None:
    config = tiny_config.replace(**{"train.select_on": "last"})
    _, result = train_parts(parts, tmp_path, config=config)
    assert not result.label_free and result.fit is not None and result.fit.epoch == 1 and "the last" in result.selection


def test_the_classifiers_loss_shows_photos_at_the_scale_of_its_fit(
    parts: Parts, prepare_parts: Callable[..., TrainingInputs], tiny_config: Config, tmp_path: Path
) -> None:
    config = tiny_config.replace(**{"train.lambda_cls": 1.0, "train.crop": 48, "classifier.size": 96})
    inputs = prepare_parts(parts, config=config)
    sides: list[int] = []
    hook = inputs.classifier.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[-1]))
    fit_and_select(inputs, config=config, run=tmp_path, fabric=Fabric(accelerator="cpu", devices=1))
    hook.remove()
    assert sides[0] == 72  # crops of 48 from squares of 64, which the classifier was fitted to at 96


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("refine", ["none", "image"])
def test_other_refinements_have_a_unet_alone(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, refine: str, boxes: bool
) -> None:
    config = tiny_config.replace(**{"harvest.refine": refine, "predict.mode": "unet"})
    val = parts[1] if boxes else without_boxes(parts[1])
    inputs, result = train_parts((parts[0], val), tmp_path, config=config)
    assert inputs.linear is None and result.localizer is not None and result.fit is not None and result.fit.epochs == 1
    assert set(result.thresholds) == {"unet"} and result.label_free != boxes
    assert set(result.validation) == ({"v2", "box_acc_30", "box_acc_50", "box_acc_70", "f1"} if boxes else {"agreement"})


def test_a_run_is_not_resumed_with_other_photos(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path
) -> None:
    train_parts(parts, tmp_path)
    samples = list(parts[0].samples)
    samples[1] = dataclasses.replace(samples[1], label=0)
    other = dataclasses.replace(parts[0], samples=tuple(samples))
    with pytest.raises(RunError, match=r"photos and weights.*resume with"):
        train_parts((other, parts[1]), tmp_path, resume=True)


def test_steady_thresholds() -> None:
    """Of a hundred photos: the middle of what is at most one photo worse than the best, not a peak beside it."""
    taus = np.linspace(0, 1, 11)
    v1 = np.array([0, 0, 81, 80, 80, 80, 80, 0, 79, 0, 0], float)
    v2 = np.stack([v1, np.roll(v1, 1), np.full(11, 50.0)])
    result = dataclasses.replace(evaluate_maps([], []), n_images=100, n_boxed=100, taus=taus, v1=v1, v2=v2)
    found = steady_taus(result)
    assert found == pytest.approx({"v1": 0.4, "30": 0.4, "50": 0.5, "70": 0.5, "v2": 0.5})
    assert set(found) == set(result.best_tau)
