"""Tiny random networks that count what they are shown, and data sets of made photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dips.config import HarvestConfig
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.store import Store
from dips.models.backbones import Features, Transformer
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks, Look
from dips.models.inputs import resize_to
from dips.types import DataSet, Sample

from ..conftest import random_transformer

SMALL: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3}


class Rig:
    """Frozen networks and harvests in one store.

    Attributes:
        loads: how often networks were made.
        shown, passed: photos that the transformer (at every size) and the CNN saw.
    """

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.loads = self.shown = self.passed = 0
        self.fail_after: int | None = None
        self.arch, self.overrides = "vit_tiny_patch16_224", SMALL | {"patch_size": 8}
        self.sides: tuple[int, ...] = (32,)
        self.resize = 32

    def transformer(self) -> Transformer:
        network = random_transformer(self.arch, **self.overrides)
        with torch.no_grad():  # attention that is not flat
            for parameter in network.last.block.parameters():
                parameter.mul_(8)
        network.register_forward_hook(self._count)
        return network

    def frozen(self) -> FrozenNetworks:
        """CNN and transformer, counted."""
        self.loads += 1
        torch.manual_seed(0)
        classifier = Classifier("test_efficientnet", 3).eval()
        classifier.body.register_forward_hook(self._count_cnn)
        return FrozenNetworks(classifier, side=64, transformer=self.transformer(), key_sides=self.sides).eval()

    def _count(self, _module: object, inputs: tuple[torch.Tensor, ...], _out: Features) -> None:
        if self.fail_after is not None and self.shown >= self.fail_after:
            raise KeyboardInterrupt
        self.shown += len(inputs[0])

    def _count_cnn(self, _module: object, inputs: tuple[torch.Tensor, ...], _out: torch.Tensor) -> None:
        self.passed += len(inputs[0])

    def config(self, **settings: Any) -> HarvestConfig:
        defaults: dict[str, Any] = {"refine": "none", "batch": 2}
        return HarvestConfig(**(defaults | settings))

    def names(self) -> dict[str, str]:
        return {"transformer": f"{self.arch} {self.overrides}", "key_sides": str(self.sides)}

    def harvest(self, **settings: Any) -> Harvester:
        self.sides = settings.pop("sizes", (32,))
        config = self.config(**settings)
        refined = brightness if config.refine == "dataset" else None
        return Harvester(config, self.resize, 64, self.store, self.names(), self.frozen, torch.device("cpu"), refined)

    def run(self, data: DataSet, **settings: Any) -> Harvest:
        self.loads = self.shown = self.passed = 0
        return self.harvest(**settings).run(data)


def brightness(look: Look) -> torch.Tensor:
    """Maps ``(B, 6, 6)`` in [0, 1] that need no network."""
    return resize_to(look.images, 6).mean(1)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    torch.set_num_threads(1)
    return Rig(tmp_path)


@pytest.fixture
def data_of() -> Callable[..., DataSet]:
    """``data_of(paths, labels, background=None)``."""

    def make(paths: Sequence[Path], labels: Sequence[int] | None = None, background: int | None = None) -> DataSet:
        labels = [0] * len(paths) if labels is None else labels
        samples = tuple(Sample(p, p.name, label) for p, label in zip(paths, labels, strict=True))
        return DataSet(paths[0].parent, ("a", "b", "c"), samples, background=background)

    return make


@pytest.fixture
def photos(tmp_path: Path, make_photo: Callable[..., Path]) -> list[Path]:
    """Six photos, the object at another place in each."""
    return [
        make_photo(tmp_path / "photos" / f"{n}.png", (48, 40), seed=n, box=(4 + 4 * n, 6, 16 + 4 * n, 20)) for n in range(6)
    ]
