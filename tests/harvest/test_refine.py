"""Maps from keys, on keys of which is known where the object lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dips.harvest.refine import fit_direction, refine_image
from dips.models.keymap import unit_keys


def scene(
    photos: int, *, side: int = 10, dim: int = 16, seed: int = 0, empty: int = 0
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Attention on a few patches of a 5x5 object, keys that tell object from surroundings, and where the object is.

    The last ``empty`` photos show none; their attention lies anywhere.
    """
    random = torch.Generator().manual_seed(seed)
    kinds = torch.randn(2, dim, generator=random)
    inside = torch.zeros(photos, side, side, dtype=torch.bool)
    for number in range(photos - empty):
        y, x = torch.randint(0, side - 4, (2,), generator=random).tolist()
        inside[number, y : y + 5, x : x + 5] = True
    keys = kinds[inside.long()] + 0.5 * torch.randn(photos, side, side, dim, generator=random)
    attention = 0.2 * torch.rand(photos, side, side, generator=random)
    parts = inside & (torch.rand(inside.shape, generator=random) < 0.4)
    attention = attention + parts * torch.rand(parts.shape, generator=random)
    return attention, 3 * keys, inside.numpy()


def ranking(maps: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Share of pairs (object patch, other patch) of one photo in the right order, averaged."""
    pairs = [np.mean(m[i][:, None] > m[~i][None]) for m, i in zip(maps, inside, strict=True) if i.any()]
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


@settings(max_examples=25, deadline=None)
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


def fitted(attention: Tensor, keys: Tensor, empty: NDArray[np.bool_], **arguments: int) -> NDArray[np.float32]:
    unit = unit_keys(keys).half().numpy()
    weight, bias = fit_direction(attention.numpy(), unit, empty, **({"rounds": 3} | arguments))
    assert weight.shape == (keys.shape[-1],) and weight.dtype == np.float32
    return np.asarray(unit.astype(np.float32) @ weight + bias)


def test_data_set_finds_the_object() -> None:
    attention, keys, inside = scene(20)
    before = attention.clone()
    assert ranking(fitted(attention, keys, np.zeros(20, bool)), inside) > 0.97
    assert torch.equal(attention, before), "the caller's maps were changed"


def test_background_photos_are_background() -> None:
    """A texture that attracts the attention fills the photos without object: only they can tell that it is none."""
    attention, keys, inside = scene(24, empty=8)
    texture = torch.zeros_like(attention, dtype=torch.bool)
    texture[:, :3, :4] = True
    texture[16:] = True
    texture &= torch.from_numpy(~inside)
    random = torch.Generator().manual_seed(5)
    keys[texture] = 3 * (torch.randn(16, generator=random) + 0.5 * torch.randn(int(texture.sum()), 16, generator=random))
    attention[texture] += 0.6  # about as much as objects get
    told = fitted(attention, keys, np.arange(24) >= 16)[:16]
    untold = fitted(attention[:16], keys[:16], np.zeros(16, bool))
    at, objects = texture.numpy()[:16], inside[:16]
    lead = [float(np.median(logits[objects]) - np.median(logits[at])) for logits in (told, untold)]
    assert lead[0] > 2 and lead[0] > lead[1] + 1, lead


def test_rounds_spread_over_the_object() -> None:
    attention, keys, inside = scene(12, seed=3)
    keys = keys + 2 * torch.randn(keys.shape, generator=torch.Generator().manual_seed(1))
    one, three = (ranking(fitted(attention, keys, np.zeros(12, bool), rounds=rounds), inside) for rounds in (1, 3))
    assert three >= one - 0.01


@pytest.mark.parametrize("photos", [2, 40])
def test_maps_of_few_photos_use_the_range(photos: int) -> None:
    attention, keys, inside = scene(photos)
    logits = fitted(attention, keys, np.zeros(photos, bool))
    assert logits[inside].mean() - logits[~inside].mean() > 2.5
    assert logits[inside].mean() > 0 > logits[~inside].mean()


def test_keys_that_tell_nothing() -> None:
    logits = fitted(torch.rand(3, 4, 4), torch.ones(3, 4, 4, 5), np.zeros(3, bool))
    assert np.abs(logits).max() < 1e-3


def test_the_fit_is_reproducible_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, keys, inside = scene(12)
    none = np.zeros(12, bool)
    assert np.array_equal(fitted(attention, keys, none), fitted(attention, keys, none))
    monkeypatch.setattr("dips.harvest.refine._MAX_PATCHES", 50)  # two patches of each kind per photo
    few = fitted(attention, keys, none)
    assert not np.array_equal(few, fitted(attention, keys, none, seed=1))
    assert ranking(few, inside) > 0.9
