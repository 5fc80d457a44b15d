"""Mean over the heads before normalising, division by the maximum alone, several input sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dips.harvest.attention import head_maps, join_attention, mirror_average, normalised, upsampled
from dips.models.backbones import Features


def features(side: int, *, heads: int = 3, seed: int = 0) -> Features:
    """Heads of very different strength."""
    random = torch.Generator().manual_seed(seed)
    strength = 10.0 ** -torch.arange(heads)[:, None, None]
    attention = torch.rand(2, heads, side, side, generator=random) * strength / side**2
    return Features(attention, torch.rand(2, side, side, 6, generator=random), torch.rand(2, 5, generator=random))


def test_the_mean_is_taken_before_normalising() -> None:
    raw = features(4)
    mean = raw.attention.mean(1)
    expected = mean / mean.amax((-2, -1), keepdim=True)
    torch.testing.assert_close(head_maps(join_attention([raw]), 0)[:, 0], expected)
    wrong = normalised(normalised(raw.attention).mean(1))
    assert (expected - wrong).abs().max() > 0.05


def test_sizes_count_alike_on_the_finest_grid() -> None:
    coarse, fine = features(4, seed=1), features(8, seed=2)
    joined = join_attention([coarse, fine])
    assert joined.shape == (2, 3, 8, 8)
    parts = [normalised(upsampled(item.attention, (8, 8)).mean(1)) for item in (coarse, fine)]
    torch.testing.assert_close(joined.mean(1), (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(join_attention([fine, coarse]), joined)


def test_heads_of_a_joined_map_keep_their_relative_strength() -> None:
    raw = features(4)
    joined = join_attention([raw])
    torch.testing.assert_close(joined[:, 0] / joined[:, 1], raw.attention[:, 0] / raw.attention[:, 1])


@pytest.mark.parametrize(("heads", "count"), [(0, 1), (2, 3), (-1, 4), (99, 4)])
def test_number_of_maps(heads: int, count: int) -> None:
    raw = features(4).attention
    maps = head_maps(raw, heads)
    assert maps.shape == (2, count, 4, 4)
    torch.testing.assert_close(maps.amax((-2, -1)), torch.ones(2, count))
    torch.testing.assert_close(maps[:, 1:], normalised(raw[:, : count - 1]))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), factor=st.floats(1e-6, 1e6), floor=st.floats(0.0, 5.0))
def test_normalising_is_a_division_by_the_maximum(seed: int, factor: float, floor: float) -> None:
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(seed)) + floor + 1e-3
    done = normalised(maps)
    torch.testing.assert_close(done.amax((-2, -1)), torch.ones(2))
    torch.testing.assert_close(done.amin((-2, -1)), maps.amin((-2, -1)) / maps.amax((-2, -1)))  # the minimum stays
    torch.testing.assert_close(normalised(maps * factor), done)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_map_of_zeros_stays_one(dtype: torch.dtype) -> None:
    zeros = torch.zeros(1, 2, 3, dtype=dtype)
    assert torch.equal(normalised(zeros), zeros)
    nothing = Features(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 4), torch.zeros(1, 4))
    assert torch.equal(join_attention([nothing]), torch.zeros(1, 2, 3, 3))


def test_mirror_average_is_symmetric() -> None:
    def network(images: Tensor) -> Tensor:
        return images.cumsum(-1)  # sees left and right differently

    images = torch.rand(2, 3, 4, 5)
    there = mirror_average(network(images), network(images.flip(-1)))
    back = mirror_average(network(images.flip(-1)), network(images))
    torch.testing.assert_close(back, there.flip(-1))
