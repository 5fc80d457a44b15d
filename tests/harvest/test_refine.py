"""Maps from keys, on keys of which is known where the object lies."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dips.harvest.refine import refine_image
from dips.models.linear_map import unit_keys


def scene(photos: int, *, side: int = 10, dim: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Attention on a few patches of a 5x5 object, keys that tell object from surroundings, and where the object is."""
    random = torch.Generator().manual_seed(seed)
    kinds = torch.randn(2, dim, generator=random)
    inside = torch.zeros(photos, side, side, dtype=torch.bool)
    for number in range(photos):
        y, x = torch.randint(0, side - 4, (2,), generator=random).tolist()
        inside[number, y : y + 5, x : x + 5] = True
    keys = kinds[inside.long()] + 0.5 * torch.randn(photos, side, side, dim, generator=random)
    attention = 0.2 * torch.rand(photos, side, side, generator=random)
    parts = inside & (torch.rand(inside.shape, generator=random) < 0.4)
    attention = attention + parts * torch.rand(parts.shape, generator=random)
    return attention, 3 * keys, inside.numpy()


def ranking(maps: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Share of pairs (object patch, other patch) of one photo in the right order, averaged."""
    pairs = [np.mean(m[i][:, None] > m[~i][None]) for m, i in zip(maps, inside, strict=True)]
    return float(np.mean(pairs))


def test_image_finds_more_of_the_object_than_the_attention() -> None:
    attention, keys, inside = scene(6)
    refined = refine_image(attention, keys)
    assert refined.shape == attention.shape and refined.dtype == torch.float32
    assert float(refined.min()) >= 0 and float(refined.max()) <= 1
    assert ranking(refined.numpy(), inside) > 0.97 > 0.9 > ranking(attention.numpy(), inside)


def test_image_by_hand() -> None:
    """5% of 20 patches is one, the least attended half are ten; the second time the own map takes the attention's place."""
    attention, keys, _ = scene(1, side=10)
    attention, keys = attention[:, :4, :5], keys[:, :4, :5]
    unit = unit_keys(keys)[0].reshape(20, -1)
    maps = attention.reshape(20)
    for _ in range(2):
        order = maps.argsort(descending=True)
        direction = unit[order[:1]].mean(0) - unit[order[10:]].mean(0)
        maps = unit @ direction / direction.norm()
    torch.testing.assert_close(refine_image(attention, keys).reshape(20), maps.clamp(min=0))
    once = refine_image(attention, keys, repeats=1)
    assert not torch.allclose(once.reshape(20), maps.clamp(min=0))


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100.0))
def test_image_does_not_care_for_scales_nor_for_company(seed: int, factor: float) -> None:
    attention, keys, _ = scene(2, seed=seed)
    refined = refine_image(attention, keys)
    torch.testing.assert_close(refine_image(attention * factor, keys * factor), refined, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(refine_image(attention[1:], keys[1:]), refined[1:])
    turned = refine_image(attention.flip(-1), keys.flip(2)).flip(-1)
    torch.testing.assert_close(turned, refined, rtol=1e-3, atol=1e-4)


def test_image_of_a_uniform_photo_is_finite() -> None:
    refined = refine_image(torch.ones(1, 3, 3), torch.ones(1, 3, 3, 4))
    assert torch.equal(refined, torch.zeros(1, 3, 3))
    assert refine_image(torch.ones(1, 1, 1), torch.ones(1, 1, 1, 4)).shape == (1, 1, 1)
