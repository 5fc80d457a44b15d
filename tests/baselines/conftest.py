"""A study of made photos with tiny networks, for methods that learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dips.baselines import steps
from dips.baselines.method import Fit
from dips.baselines.photos import Photos, store_photos
from dips.baselines.study import Study
from dips.baselines.training import Schedule, Training, train_network
from dips.baselines.vit import VitMethod
from dips.config import Config
from dips.harvest.store import Store
from dips.models.weights.resolve import Weights
from dips.types import Sample

CLASSES = ("left", "middle", "right")

SCHEDULE = Schedule(lr=0.5, batch=4, crop=32, checks=4)


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


class Counted(nn.Module):
    """One number that every step makes larger."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


class Run:
    """``train_network`` on :class:`Counted`: a step takes ``cost`` seconds, a check ``check``, what it is asked is kept."""

    def __init__(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        self.study, self.net, self.now = study, Counted(), 0.0
        self.cost, self.check = 1.0, 0.0
        self.batches: list[Tensor] = []
        self.labels: list[list[int]] = []
        self.modes: list[bool] = []
        monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        self.now += self.cost
        self.batches.append(images)
        self.labels.append(labels.tolist())
        self.modes.append(self.net.training)
        return -self.net.value

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.modes.append(self.net.training)
        self.now += self.check
        return torch.full((len(images), 2, 2), float(self.net.value))

    def scored(self, *scores: float) -> Callable[[Any, Any], float]:
        """Return a judge with these answers, the last one again and again; what it is shown has to be made for that."""
        rest = list(scores)

        def judge(maps: Any, samples: Any) -> float:
            list(maps)
            return rest.pop(0) if len(rest) > 1 else rest[0]

        return judge

    def __call__(self, schedule: Schedule = SCHEDULE, on_progress: Callable[[float], None] | None = None, **more: Any) -> Fit:
        new = [self.net.value]
        return train_network(
            Training(self.net, self.loss, self.maps, schedule, new, schedule.crop, on_progress=on_progress), self.study, **more
        )


@pytest.fixture
def run(study: Study, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(study, monkeypatch)


@pytest.fixture
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods on the transformer learn from crops of 4 x 4 patches."""
    monkeypatch.setattr(VitMethod, "schedule", replace(VitMethod.schedule, crop=64))
    monkeypatch.setattr(VitMethod, "side", 64)
