"""The four normalisations by hand, and their laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from dips.baselines.normalise import ivr, max_norm, min_max, pas

# 2 maps of 1x5; sorted they are -2 -1 0 2 6 and 1 2 3 4 5, so that the percentiles 0, 25, 50, 75 and 100 are values of theirs
MAPS = torch.tensor([[[2.0, -2.0, 6.0, -1.0, 0.0]], [[5.0, 4.0, 3.0, 2.0, 1.0]]])
ALL: list[Callable[[Tensor], Tensor]] = [min_max, max_norm, partial(pas, percentile=75), partial(ivr, percentile=50)]
NAMES = ["min_max", "max_norm", "pas", "ivr"]

# no values so small that a quotient of two of them is rounded
activations = arrays.arrays(
    np.float32, (2, 3, 4), elements=st.integers(-1000, 1000).map(lambda n: n / 8), fill=st.nothing()
).map(torch.from_numpy)


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        (min_max, [4 / 8, 0, 1, 1 / 8, 2 / 8], [1, 3 / 4, 2 / 4, 1 / 4, 0]),
        (max_norm, [2 / 6, 0, 1, 0, 0], [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
        (partial(pas, percentile=75), [1, 0, 1, 1 / 4, 2 / 4], [1, 1, 2 / 3, 1 / 3, 0]),
        (partial(pas, percentile=100), [4 / 8, 0, 1, 1 / 8, 2 / 8], [1, 3 / 4, 2 / 4, 1 / 4, 0]),
        (partial(ivr, percentile=50), [2 / 6, 0, 1, 0, 0], [1, 1 / 2, 0, 0, 0]),
        (partial(ivr, percentile=0), [4 / 8, 0, 1, 1 / 8, 2 / 8], [1, 3 / 4, 2 / 4, 1 / 4, 0]),
    ],
    ids=["min_max", "max_norm", "pas 75", "pas 100", "ivr 50", "ivr 0"],
)
def test_by_hand(function: Callable[[Tensor], Tensor], first: list[float], second: list[float]) -> None:
    torch.testing.assert_close(function(MAPS), torch.tensor([[first], [second]]))


@pytest.mark.parametrize("function", ALL, ids=NAMES)
@pytest.mark.parametrize("value", [-3.0, 0.0, 5.0])
def test_constant_maps(function: Callable[[Tensor], Tensor], value: float) -> None:
    maps = torch.full((2, 3, 4), value)
    expected = float(function is max_norm and value > 0)  # the only one for which zero is not the map's own
    assert torch.equal(function(maps), torch.full_like(maps, expected))


@pytest.mark.parametrize("function", ALL, ids=NAMES)
@settings(max_examples=50)
@given(maps=activations, scale=st.sampled_from([2.0**-20, 0.1, 3.0, 1e6]))
def test_range_order_and_scale(function: Callable[[Tensor], Tensor], maps: Tensor, scale: float) -> None:
    found = function(maps)
    assert found.shape == maps.shape and found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(function(maps * scale), found, rtol=1e-5, atol=1e-5)
    for before, after in zip(maps.flatten(1), found.flatten(1), strict=True):
        assert (after[before.argsort()].diff() >= 0).all(), "what was higher is not lower"
    torch.testing.assert_close(function(maps.flip(0)).flip(0), found, rtol=0, atol=0)


@settings(max_examples=50)
@given(maps=activations, shift=st.integers(-1000, 1000))
def test_all_but_the_maximum_alone_ignore_the_origin(maps: Tensor, shift: int) -> None:
    for function in (min_max, partial(pas, percentile=75), partial(ivr, percentile=50)):
        torch.testing.assert_close(function(maps + shift), function(maps))


def test_the_maximum_alone_does_not() -> None:
    assert not torch.allclose(max_norm(MAPS + 1), max_norm(MAPS))
