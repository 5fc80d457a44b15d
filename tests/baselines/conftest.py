"""A study of made photos with tiny networks, for methods that learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dips.baselines.photos import Photos, store_photos
from dips.baselines.study import Study
from dips.baselines.vit import VitMethod
from dips.config import Config
from dips.harvest.store import Store
from dips.models.weights.resolve import Weights
from dips.types import Sample

CLASSES = ("left", "middle", "right")


@pytest.fixture(scope="session")
def made_photos(tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., Path]) -> tuple[Photos, Photos]:
    """Six training and three validation photos of three classes, stored; each shows one rectangle, whose box is known."""
    folder = tmp_path_factory.mktemp("baselines")
    samples = []
    for number in range(9):
        label = number % 3
        box = (2 + 12 * label, 8, 14 + 12 * label, 22)
        path = make_photo(folder / f"{number}.png", (40, 32), seed=number, box=box)
        samples.append(Sample(path, path.name, label, np.array([box], np.float32)))
    store = Store(folder / "store")
    train, problems = store_photos(samples[:6], store)
    val, more = store_photos(samples[6:], store)
    assert not problems and not more
    return train, val


@pytest.fixture(scope="session")
def random_weights() -> Callable[[str], Weights]:
    """``random_weights(arch)``: the same ones for every test."""
    import timm  # not before dips.models, which mends torchvision

    @cache
    def make(arch: str) -> Weights:
        torch.manual_seed(0)
        return Weights(arch, "file", "random", "0" * 64, state=timm.create_model(arch).state_dict())

    return make


@pytest.fixture
def study(
    made_photos: tuple[Photos, Photos], tmp_path: Path, tiny_config: Config, random_weights: Callable[[str], Weights]
) -> Study:
    """Three classes, ``test_efficientnet`` and ``test_vit`` with random weights, no time, and a judge who likes all alike."""
    train, val = made_photos
    made = Study(
        data=tmp_path,
        train=train,
        val=val,
        classes=CLASSES,
        background=None,
        config=tiny_config,
        seconds=0.0,
        seed=0,
        device=torch.device("cpu"),
        judge=lambda maps, samples: 50.0,
        folder=tmp_path / "own",
        store=train.shelf.folder.parent.parent,
    )
    made.__dict__ |= {"cnn": random_weights("test_efficientnet"), "sst": random_weights("test_vit")}
    return made


@pytest.fixture
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods on the transformer learn from crops of 4 x 4 patches."""
    monkeypatch.setattr(VitMethod, "schedule", replace(VitMethod.schedule, crop=64))
    monkeypatch.setattr(VitMethod, "side", 64)
