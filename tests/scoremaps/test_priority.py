"""Objects that nearby thresholds change are worth a review; sharp ones are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dips.scoremaps.priority import LOG_ODDS, instability

maps = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


def disc(softness: float) -> np.ndarray:
    """A bright disc whose border is as wide as ``softness`` pixels."""
    y, x = np.mgrid[:60, :60] - 30
    return np.asarray(0.9 / (1 + np.exp((np.hypot(x, y) - 15) / softness)), np.float32)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_softer_the_border_the_less_certain_the_object() -> None:
    values = [instability(disc(softness), 0.5) for softness in (0.1, 1, 3, 6)]
    assert values == sorted(values) and values[0] < 0.05 and values[-1] > 0.2


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_it_is_one_minus_the_mean_iou_with_the_objects_of_nearby_thresholds(threshold: float) -> None:
    score_map = disc(3)
    logits = np.log(score_map.astype(np.float64) / (1 - score_map))
    level = threshold * float(score_map.max())
    border = math.log(level / (1 - level))
    here = logits > border
    expected = 1 - np.mean([iou(here, logits > border + LOG_ODDS), iou(here, logits > border - LOG_ODDS)])
    assert instability(score_map, threshold) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("score_map", "threshold", "expected"),
    [
        (np.zeros((4, 5), np.float32), 0.5, 1),  # an object was expected, and nothing is there
        (np.ones((4, 5), np.float32), 1.0, 1),
        (np.ones((4, 5), np.float32), 0.0, 0),
        (np.full((4, 5), 0.3, np.float32), 0.9, 0.5),  # a little higher, and all of it is gone
        (np.eye(8, dtype=np.float32), 0.5, 0),
    ],
)
def test_maps_of_one_value(score_map: np.ndarray, threshold: float, expected: float) -> None:
    assert instability(score_map, threshold) == pytest.approx(expected)


@given(maps, st.floats(0, 1))
def test_it_is_a_share_for_any_map(score_map: np.ndarray, threshold: float) -> None:
    assert 0 <= instability(score_map, threshold) <= 1
