"""A small data set and tiny networks to train on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from dips.config import Config
from dips.fitting.inputs import TrainingInputs
from dips.fitting.prepare import prepare
from dips.fitting.select import TrainingResult, fit_and_select
from dips.harvest.store import Store
from dips.models.backbones import Transformer, load_transformer
from dips.models.classifier import Classifier
from dips.models.weights.resolve import Weights
from dips.types import DataSet, Sample

MakePhoto = Callable[..., Path]
BOX = (20, 10, 44, 38)  # of the object in every photo that shows one


@pytest.fixture(autouse=True)
def alone(offline: None) -> None:
    """No test here reaches for a hub."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("fitting") / "store")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> tuple[DataSet, DataSet]:
    """Eight photos to train on and four to validate on, half of them without object; boxes are known in validation."""
    top = tmp_path_factory.mktemp("fitting-photos")
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


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the transformer was loaded (``loads``), and how many photos transformer and CNN saw since."""
    counts: Counter[str] = Counter()
    build = Classifier.from_weights

    def load(weights: Weights) -> Transformer:
        counts["loads"] += 1
        network = load_transformer(weights)
        network.register_forward_hook(lambda _, inputs, out: counts.update(transformer=len(inputs[0])))
        return network

    def from_weights(weights: Weights, classes: int) -> Classifier:
        classifier = build(weights, classes)
        classifier.body.register_forward_hook(lambda _, inputs, out: counts.update(cnn=len(inputs[0])))
        return classifier

    monkeypatch.setattr("dips.fitting.prepare.load_transformer", load)
    monkeypatch.setattr(Classifier, "from_weights", from_weights)
    return counts


@pytest.fixture
def plain_config(tiny_config: Config) -> Config:
    """Those settings as they are by default: no U-Net."""
    return tiny_config.replace(**{"train.epochs": 0})


@pytest.fixture
def prepare_parts(tiny_config: Config, store: Store, tiny_weights: Path) -> Callable[..., TrainingInputs]:
    """``prepare_parts((train, val), config=..., store=...)`` with tiny networks on the CPU."""

    def run(parts: tuple[DataSet, DataSet], *, config: Config = tiny_config, store: Store = store) -> TrainingInputs:
        return prepare(*parts, config=config, store=store, device=torch.device("cpu"), given=[str(tiny_weights)])

    return run


@pytest.fixture
def train_parts(
    prepare_parts: Callable[..., TrainingInputs], tiny_config: Config, store: Store
) -> Callable[..., tuple[TrainingInputs, TrainingResult]]:
    """``train_parts((train, val), run_folder, config=..., store=..., resume=...)`` prepares and trains."""

    def run(
        parts: tuple[DataSet, DataSet],
        folder: Path,
        *,
        config: Config = tiny_config,
        store: Store = store,
        resume: bool = False,
    ) -> tuple[TrainingInputs, TrainingResult]:
        inputs = prepare_parts(parts, config=config, store=store)
        fabric = Fabric(accelerator="cpu", devices=1)
        fabric.launch()
        return inputs, fit_and_select(inputs, config=config, run=folder, fabric=fabric, resume=resume)

    return run
