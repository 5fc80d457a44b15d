"""What chooses epoch and threshold, and that a seed decides everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from dips.config import Config
from dips.errors import RunError
from dips.fitting.prepare import TrainingInputs
from dips.fitting.select import TrainingResult, fit_and_select
from dips.harvest.store import Store
from dips.types import DataSet

Parts = tuple[DataSet, DataSet]
TrainParts = Callable[..., tuple[TrainingInputs, TrainingResult]]


def without_boxes(val: DataSet) -> DataSet:
    return dataclasses.replace(val, samples=tuple(dataclasses.replace(s, boxes=None) for s in val.samples))


def same(a: TrainingResult, b: TrainingResult) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.fit.state.values(), b.fit.state.values(), strict=True))


def test_a_seed_decides_everything_whatever_the_store_holds(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path
) -> None:
    _, first = train_parts(parts, tmp_path / "a")
    _, again = train_parts(parts, tmp_path / "b", store=Store(tmp_path / "store"))  # nothing known beforehand
    assert same(first, again) and first.best_tau == again.best_tau and first.validation == again.validation


def test_boxes_choose_where_there_are_any(parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path) -> None:
    inputs, result = train_parts(parts, tmp_path)
    assert not result.label_free and "ground-truth boxes of 2 validation photos" in result.selection
    assert {"v2", "box_acc_30", "box_acc_50", "box_acc_70"} == set(result.validation)
    assert set(result.best_tau) == {"v1", "30", "50", "70", "v2"}
    assert 0 <= inputs.accuracy["classifier"] <= 100 and 0 <= inputs.accuracy["linear_probe"] <= 100


@pytest.mark.parametrize("select_on", ["auto", "proposals", "last"])
def test_without_boxes_nothing_uses_any(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, select_on: str
) -> None:
    config = tiny_config.replace(**{"train.select_on": select_on})
    val = parts[1] if select_on == "proposals" else without_boxes(parts[1])  # boxes that are there are not looked at
    _, result = train_parts((parts[0], val), tmp_path, config=config)
    assert result.label_free and "no boxes" in result.selection and set(result.validation) == {"agreement"}
    assert len(set(result.best_tau.values())) == 1 and 0 <= result.best_tau["v2"] < 1
    assert ("the last" in result.selection) == (select_on == "last")


def test_the_last_epoch_with_a_threshold_from_boxes_is_not_label_free(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path
) -> None:
    config = tiny_config.replace(**{"train.select_on": "last"})
    _, result = train_parts(parts, tmp_path, config=config)
    assert not result.label_free and result.fit.epoch == 1 and "the last" in result.selection


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


@pytest.mark.parametrize("refine", ["none", "image"])
def test_other_refinements(parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path, refine: str) -> None:
    config = tiny_config.replace(**{"harvest.refine": refine})
    inputs, result = train_parts(parts, tmp_path, config=config)
    assert inputs.harvest.key_map is None and config.sst_share == 0 and result.fit.epochs == 1


def test_a_run_is_not_resumed_with_other_photos(
    parts: Parts, train_parts: TrainParts, tiny_config: Config, tmp_path: Path
) -> None:
    train_parts(parts, tmp_path)
    samples = list(parts[0].samples)
    samples[1] = dataclasses.replace(samples[1], label=0)
    other = dataclasses.replace(parts[0], samples=tuple(samples))
    with pytest.raises(RunError, match=r"photos and weights.*resume with"):
        train_parts((other, parts[1]), tmp_path, resume=True)
