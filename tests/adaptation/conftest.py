"""A tiny transformer, and photos in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from dips.config import AdaptConfig
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.transformer import Vit

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 0, "dynamic_img_size": True}

CONFIG = AdaptConfig(
    steps=6, batch=4, blocks=2, global_side=32, local_side=16, local_crops=2, prototypes=16, lr=1e-3, head_lr=1e-3, checks=2
)
"""Settings of a run of an instant: the head learns alone in the first step."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def make_vit(name: str = "vit_tiny_patch16_224", *, patch: int = 8, **overrides: Any) -> Vit:
    """Weights that are always the same: random, and such that the class token depends on the photo."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model(name, **(SMALL | {"patch_size": patch} | overrides)).eval()
        with torch.no_grad():
            for key, parameter in net.named_parameters():
                constant = key.endswith(("bias", "cls_token", "pos_embed"))
                parameter.normal_(1, 0.01) if "norm" in key else parameter.normal_(0, 0.01 if constant else 0.2)
    return Vit(net, name)


class MemoryPhotos:
    """Noise of different brightness and colour; ``deadly`` is the number of the reading that fails."""

    def __init__(self, count: int = 6, *, size: tuple[int, int] = (40, 48), deadly: int = 0) -> None:
        generator = torch.Generator().manual_seed(1)
        self.photos = [
            (torch.rand(3, *size, generator=generator) * torch.rand(3, 1, 1, generator=generator) * 255).to(torch.uint8)
            for _ in range(count)
        ]
        self.deadly, self.reads = deadly, 0

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        if self.reads == self.deadly:
            raise KeyboardInterrupt
        return self.photos[index]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Return whether two states are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
