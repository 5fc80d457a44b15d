"""Linear maps on keys: their algebra, the joining of sizes, and that they are saved with a run."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.models.backbones import Features
from dips.models.inputs import resize_to
from dips.models.keymap import KeyMap, join_scales, unit_keys

from ..conftest import random_transformer


def key_map(sizes: tuple[int, ...] = (32, 64), dim: int = 24, seed: int = 0) -> KeyMap:
    made = KeyMap(sizes, dim)
    random = torch.Generator().manual_seed(seed)
    made.weight[:] = torch.randn(made.weight.shape, generator=random)
    made.bias[:] = torch.randn(made.bias.shape, generator=random)
    return made


def test_logits_are_linear_in_the_keys_direction() -> None:
    made, keys = key_map(dim=5), torch.randn(2, 3, 4, 5)
    for scale in range(2):
        expected = (keys / keys.norm(dim=-1, keepdim=True)) @ made.weight[scale] + made.bias[scale]
        torch.testing.assert_close(made.logits(keys, scale), expected)
        torch.testing.assert_close(made.logits(7 * keys, scale), expected)
    assert made.logits(keys.half(), 0).dtype == torch.float32


def test_unit_keys_of_nothing_are_finite() -> None:
    assert torch.equal(unit_keys(torch.zeros(1, 2, 2, 3)), torch.zeros(1, 2, 2, 3))


def test_forward_sees_the_photo_at_every_size() -> None:
    network = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
    made, images = key_map(), torch.rand(2, 3, 64, 64)
    maps = made(network, images)
    assert maps.shape == (2, 8, 8) and float(maps.min()) >= 0 and float(maps.max()) <= 1
    features = [network(resize_to(images, side)) for side in (32, 64)]
    torch.testing.assert_close(maps, made.from_features(features))
    coarse, fine = (made.logits(item.keys, scale) for scale, item in enumerate(features))
    coarse = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps, torch.sigmoid(coarse + fine))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_joining_is_symmetric_and_adds_evidence(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 4, 4, generator=random), torch.randn(2, 7, 7, generator=random)
    joined = join_scales([one, other])
    torch.testing.assert_close(joined, join_scales([other, one]))
    torch.testing.assert_close(join_scales([other]), torch.sigmoid(other))
    torch.testing.assert_close(joined.flip(-1), join_scales([one.flip(-1), other.flip(-1)]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(join_scales([torch.zeros_like(one), other]), torch.sigmoid(other))


def test_state_travels() -> None:
    made, other = key_map(), KeyMap((32, 64), 24)
    other.load_state_dict(made.state_dict())
    keys = [torch.randn(1, side, side, 24) for side in (4, 8)]
    features = [Features(torch.zeros(1), item, torch.zeros(1)) for item in keys]
    assert torch.equal(made.from_features(features), other.from_features(features))
    assert list(other.parameters()) == []  # nothing that an optimiser would move
