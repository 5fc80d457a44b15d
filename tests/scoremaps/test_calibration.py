"""Scores as chances: they keep the order of boxes, can be turned back, and close the gate on a map that is low all over."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dips.scoremaps.calibration import Calibration, ScoreThresholds, scored_boxes, ungated
from dips.scoremaps.levels import boxes_from_map

CALIBRATION = Calibration(slope=2.5, offset=-2.5, gate=0.2, typical=0.4, cautious=0.7)
OPTIONS = {"min_area": 0.0, "max_boxes": 9}


def two_blocks(peak: float) -> NDArray[np.float32]:
    """A map with a block at the peak and one at three quarters of it."""
    score_map = np.zeros((20, 30), np.float32)
    score_map[2:8, 2:9], score_map[11:18, 15:28] = peak, 0.75 * peak
    return score_map


@given(st.floats(0.01, 40), st.floats(-20, 20), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_chances_keep_the_order(slope: float, offset: float, means: list[float]) -> None:
    calibration = msgspec.structs.replace(CALIBRATION, slope=slope, offset=offset)
    chances = calibration.chance(sorted(means))
    assert ((chances >= 0) & (chances <= 1)).all() and (np.diff(chances) >= 0).all()


@given(st.floats(0.001, 0.999))
def test_a_chance_is_turned_back_into_its_mean(mean: float) -> None:
    assert CALIBRATION.mean(float(CALIBRATION.chance(mean))) == pytest.approx(mean, abs=1e-6)
    assert (CALIBRATION.mean(0), CALIBRATION.mean(1)) == (0, 1)


def test_boxes_are_the_same_with_chances_as_their_scores() -> None:
    score_map = two_blocks(0.95)
    plain, means, regions = boxes_from_map(score_map, 0.5, **OPTIONS)  # type: ignore[arg-type]
    boxes, scores, same = scored_boxes(score_map, 0.5, CALIBRATION, min_score=0, **OPTIONS)
    assert np.array_equal(boxes, plain) and np.array_equal(regions, same)
    np.testing.assert_allclose(scores, CALIBRATION.chance(means), rtol=1e-6)
    _, uncalibrated, _ = scored_boxes(score_map, 0.5, None, min_score=0, **OPTIONS)
    assert np.array_equal(uncalibrated, means)


def test_the_lowest_score_is_a_chance() -> None:
    boxes, scores, regions = scored_boxes(two_blocks(0.95), 0.5, CALIBRATION, min_score=0.7, **OPTIONS)
    assert boxes.tolist() == [[2, 2, 9, 8]] and regions.max() == 1 and scores[0] > 0.7
    assert (regions > 0).sum() == 6 * 7


@pytest.mark.parametrize(("peak", "count"), [(0.95, 2), (0.65, 2), (0.5, 0), (0.1, 0), (0.0, 0)])
def test_a_map_that_is_low_all_over_has_no_box(peak: float, count: int) -> None:
    """The threshold is a fraction of the maximum, so that without the gate any map but an empty one has boxes."""
    boxes, scores, regions = scored_boxes(two_blocks(peak), 0.5, CALIBRATION, min_score=0, **OPTIONS)
    assert len(boxes) == len(scores) == regions.max() == count
    open_gate, _, _ = scored_boxes(two_blocks(peak), 0.5, ungated(CALIBRATION), min_score=0, **OPTIONS)
    assert len(open_gate) == (2 if peak else 0)


def test_a_class_may_have_thresholds_of_its_own() -> None:
    own = ScoreThresholds(typical=0.1, cautious=0.9)
    calibration = msgspec.structs.replace(CALIBRATION, classes={"owl": own})
    assert calibration.of("owl") == own and calibration.of("hawk").cautious == 0.7


@pytest.mark.parametrize("damage", [{"slope": 0.0}, {"slope": -1.0}, {"gate": 1.5}, {"cautious": -0.1}, {"offset": 1e9}])
def test_damaged_numbers_are_refused(damage: dict[str, float]) -> None:
    text = msgspec.json.encode({**msgspec.to_builtins(CALIBRATION), **damage})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Calibration)
