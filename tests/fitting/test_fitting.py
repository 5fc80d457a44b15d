"""The steps of a training on made photos with tiny networks: what is chosen, by what, and that a seed decides everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from dips.config import Config
from dips.errors import ConfigError, DataError, RunError
from dips.fitting.prepare import TrainingInputs, prepare
from dips.fitting.select import TrainingResult, train
from dips.fitting.splits import read_splits
from dips.harvest.store import Store
from dips.types import DataSet, Sample

MakePhoto = Callable[..., Path]
CPU = torch.device("cpu")
BOX = (20, 10, 44, 38)  # of the object in every photo that shows one


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("workflow") / "store")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> tuple[DataSet, DataSet]:
    """Eight photos to train on and four to validate on, half of them without object; boxes are known in validation."""
    top = tmp_path_factory.mktemp("workflow-photos")
    sets = []
    for split, count in (("train", 8), ("val", 4)):
        samples = []
        for number in range(count):
            shown = number % 2
            path = make_photo(top / split / f"{number}.png", (64, 48), seed=number + 10 * count, box=BOX if shown else None)
            boxes = np.array([BOX] if shown else np.zeros((0, 4)), np.float32)
            samples.append(Sample(path, path.name, shown, boxes if split == "val" else None))
        sets.append(DataSet(top / split, ("none", "thing"), tuple(samples), split=split, background=0))
    return sets[0], sets[1]


def run(
    parts: tuple[DataSet, DataSet], config: Config, store: Store, weights: Path, folder: Path, **more: Any
) -> tuple[TrainingInputs, TrainingResult]:
    prepared = prepare(*parts, config=config, store=store, device=CPU, given=[str(weights)])
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return prepared, train(prepared, config=config, run=folder, fabric=fabric, **more)


def without_boxes(val: DataSet) -> DataSet:
    return dataclasses.replace(val, samples=tuple(dataclasses.replace(s, boxes=None) for s in val.samples))


def same(a: TrainingResult, b: TrainingResult) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.fit.state.values(), b.fit.state.values(), strict=True))


def test_a_seed_decides_everything_whatever_the_store_holds(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path
) -> None:
    _, first = run(parts, tiny_config, store, tiny_weights, tmp_path / "a")
    _, again = run(parts, tiny_config, Store(tmp_path / "store"), tiny_weights, tmp_path / "b")  # nothing known beforehand
    assert same(first, again) and first.best_tau == again.best_tau and first.validation == again.validation


def test_boxes_choose_where_there_are_any(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path
) -> None:
    prepared, trained = run(parts, tiny_config, store, tiny_weights, tmp_path)
    assert not trained.label_free and "true boxes of 2 validation photos" in trained.selection
    assert {"v2", "box_acc_30", "box_acc_50", "box_acc_70"} == set(trained.validation)
    assert set(trained.best_tau) == {"v1", "30", "50", "70", "v2"}
    assert 0 <= prepared.accuracy["classifier"] <= 100 and 0 <= prepared.accuracy["linear_probe"] <= 100


@pytest.mark.parametrize("select_on", ["auto", "proposals", "last"])
def test_without_boxes_nothing_uses_any(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path, select_on: str
) -> None:
    config = tiny_config.replace(**{"train.select_on": select_on})
    val = parts[1] if select_on == "proposals" else without_boxes(parts[1])  # boxes that are there are not looked at
    _, trained = run((parts[0], val), config, store, tiny_weights, tmp_path)
    assert trained.label_free and "no boxes" in trained.selection and set(trained.validation) == {"agreement"}
    assert len(set(trained.best_tau.values())) == 1 and 0 <= trained.best_tau["v2"] < 1
    assert ("the last" in trained.selection) == (select_on == "last")


def test_the_last_epoch_with_a_threshold_from_boxes_is_not_label_free(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path
) -> None:
    config = tiny_config.replace(**{"train.select_on": "last"})
    _, trained = run(parts, config, store, tiny_weights, tmp_path)
    assert not trained.label_free and trained.fit.epoch == 1 and "the last" in trained.selection


@pytest.mark.parametrize("refine", ["none", "image"])
def test_other_refinements(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path, refine: str
) -> None:
    config = tiny_config.replace(**{"harvest.refine": refine})
    prepared, trained = run(parts, config, store, tiny_weights, tmp_path)
    assert prepared.harvest.key_map is None and config.sst_share == 0 and trained.fit.epochs == 1


def test_all_layers_of_the_classifier(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path
) -> None:
    config = tiny_config.replace(**{"classifier.mode": "full", "classifier.epochs": 1, "classifier.batch": 7})  # 8 photos
    found = [prepare(*parts, config=config, store=store, device=CPU, given=[str(tiny_weights)]) for _ in range(2)]
    states = [prepared.classifier.state_dict().values() for prepared in found]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not any(p.requires_grad for p in found[0].classifier.parameters()) and not found[0].classifier.training


def test_a_run_is_not_resumed_with_other_photos(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path
) -> None:
    run(parts, tiny_config, store, tiny_weights, tmp_path)
    samples = list(parts[0].samples)
    samples[1] = dataclasses.replace(samples[1], label=0)
    other = dataclasses.replace(parts[0], samples=tuple(samples))
    with pytest.raises(RunError, match=r"photos and weights.*resume with"):
        run((other, parts[1]), tiny_config, store, tiny_weights, tmp_path, resume=True)


def test_unreadable_photos(
    parts: tuple[DataSet, DataSet], tiny_config: Config, store: Store, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    bad = Sample(tmp_path / "bad.jpg", "bad.jpg", 1)
    more = dataclasses.replace(parts[0], samples=(bad, *parts[0].samples))
    prepared = prepare(more, parts[1], config=tiny_config, store=store, device=CPU, given=[str(tiny_weights)])
    assert len(prepared.train) == 8 and [p.path for p in prepared.harvest.problems] == [bad.path]
    only = dataclasses.replace(parts[1], samples=(bad,))
    with pytest.raises(DataError, match="no validation photo"):
        prepare(parts[0], only, config=tiny_config, store=store, device=CPU, given=[str(tiny_weights)])


# --- which photos are for what


def folders(top: Path, make_photo: MakePhoto, layout: dict[str, dict[str, int]]) -> Path:
    for split, classes in layout.items():
        for name, count in classes.items():
            for number in range(count):
                make_photo(top / split / name / f"{number}.png", seed=number)
    return top


def test_validation_photos_have_the_training_photos_classes(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 2, "none": 2}, "val": {"a": 2, "b": 1, "none": 1}})
    train_set, val_set = read_splits(data, Config())
    assert train_set.classes == val_set.classes == ("b", "none") and val_set.background == train_set.background == 1
    assert [(s.id, s.label) for s in val_set.samples] == [("b/0.png", 0), ("none/0.png", 1)]


def test_the_validation_part_is_cut_from_train_and_never_from_test(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 6, "none": 6}, "test": {"b": 2, "none": 2}})
    cuts = [read_splits(data, Config().replace(**{"train.seed": seed})) for seed in (0, 0, 1)]
    ids = [{s.id for s in val.samples} for _, val in cuts]
    assert ids[0] == ids[1] != ids[2]
    for train_set, val_set in cuts:
        assert len(train_set) + len(val_set) == 12
        assert not {s.path for s in train_set.samples} & {s.path for s in val_set.samples}
        assert all("test" not in s.path.relative_to(data).parts for s in (*train_set.samples, *val_set.samples))


def test_boxes_cannot_choose_where_there_are_none(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 3, "none": 3}})
    with pytest.raises(ConfigError, match=r"train\.select_on=boxes.*set it to auto"):
        read_splits(data, Config().replace(**{"train.select_on": "boxes"}))
