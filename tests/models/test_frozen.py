"""The frozen networks are run once for each batch, whoever asks, and the transformer only if somebody does."""

from __future__ import annotations

import weakref
from collections import Counter

import numpy as np
import pytest
import torch

from dips.errors import WeightsError
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks, Look
from dips.models.inputs import resize_to, to_tensor

from ..conftest import random_transformer

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

CPU = torch.device("cpu")


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()


@pytest.fixture
def frozen(calls: Counter[str]) -> FrozenNetworks:
    """Both networks, counted; the CNN sees 64 pixels, the transformer 32 and 48."""
    torch.manual_seed(0)
    classifier = Classifier("test_efficientnet", 3).eval()
    transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3, patch_size=8)
    classifier.body.register_forward_hook(lambda *_: calls.update(["cnn"]))
    transformer.register_forward_hook(lambda *_: calls.update(["transformer"]))
    return FrozenNetworks(classifier, side=64, transformer=transformer, key_sides=(30, 50)).eval()


def test_each_network_runs_once_whoever_asks(frozen: FrozenNetworks, calls: Counter[str]) -> None:
    look = frozen.look(torch.rand(2, 3, 80, 80))
    assert calls == {}
    for _ in range(2):
        assert look.pooled.shape == (2, 256) and len(look.stages) == 3
        assert calls["cnn"] == 1
    assert calls["transformer"] == 0, "nobody asked for it"
    for _ in range(2):
        assert len(look.keys) == len(look.transformed) == 2
        assert calls == {"cnn": 1, "transformer": 2}, "once for each side"


@torch.inference_mode()
def test_each_network_sees_its_own_side(frozen: FrozenNetworks) -> None:
    images = torch.rand(2, 3, 80, 80)
    look = frozen.look(images)
    stages, pooled = frozen.classifier.stages(resize_to(images, 64))
    assert torch.equal(look.pooled, pooled) and all(torch.equal(a, b) for a, b in zip(look.stages, stages, strict=True))
    assert frozen.key_sides == (32, 48) and frozen.transformer is not None
    for side, features, keys in zip((32, 48), look.transformed, look.keys, strict=True):
        expected = frozen.transformer(resize_to(images, side))
        assert torch.equal(features.attention, expected.attention) and torch.equal(features.keys, expected.keys)
        assert keys.shape == (2, 24, side // 8, side // 8)
        torch.testing.assert_close(keys.norm(dim=1), torch.ones(2, side // 8, side // 8))
        torch.testing.assert_close(keys[1, :, 0, 1], expected.keys[1, 0, 1] / expected.keys[1, 0, 1].norm())


def test_the_last_array_is_remembered_as_it_is(frozen: FrozenNetworks, calls: Counter[str]) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    look = frozen.look_at_squares(squares, CPU)
    assert torch.equal(look.images, to_tensor(squares))
    assert frozen.look_at_squares(squares, CPU) is look
    assert look.pooled is frozen.look_at_squares(squares, CPU).pooled and calls["cnn"] == 1
    equal = frozen.look_at_squares(squares.copy(), CPU)
    assert equal is not look, "another array, even of the same photos"
    assert frozen.look_at_squares(squares, CPU) is not look, "one array is remembered, no more"


def test_what_was_looked_at_before_is_let_go(frozen: FrozenNetworks) -> None:
    gone = weakref.ref(frozen.look_at_squares(np.zeros((1, 64, 64, 3), np.uint8), CPU))
    assert isinstance(gone(), Look)
    frozen.look_at_squares(np.ones((1, 64, 64, 3), np.uint8), CPU)
    assert gone() is None


def test_without_transformer() -> None:
    frozen = FrozenNetworks(Classifier("test_efficientnet", 3).eval(), side=64, key_sides=(224,))
    assert frozen.key_sides == () and frozen.transformer is None
    look = frozen.look(torch.rand(1, 3, 64, 64))
    assert look.pooled.shape == (1, 256)
    for ask in (lambda: look.keys, lambda: look.transformed):
        with pytest.raises(WeightsError, match="transformer is needed here"):
            ask()


def test_what_is_remembered_is_no_weight(frozen: FrozenNetworks) -> None:
    before = set(frozen.state_dict())
    frozen.look_at_squares(np.zeros((1, 64, 64, 3), np.uint8), CPU)
    assert set(frozen.state_dict()) == before and {name.split(".")[0] for name in before} == {"classifier", "transformer"}
