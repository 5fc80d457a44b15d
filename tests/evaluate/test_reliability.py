"""Expected calibration error and reliability curve, by hand and in parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from dips.evaluate.detection import DetectionCounter
from dips.evaluate.reliability import Reliability, wilson
from dips.scoremaps.calibration import Calibration


def test_by_hand() -> None:
    reliability = Reliability({})
    reliability.add([0.92, 0.98, 0.31, 0.0, 1.0], [True, False, True, False, True])
    curve = reliability.curve()
    assert curve["boxes"].tolist() == [1, 1, 3]
    np.testing.assert_allclose(curve["score"], [0, 0.31, (0.92 + 0.98 + 1) / 3])
    np.testing.assert_allclose(curve["right"], [0, 1, 2 / 3])
    assert reliability.ece == pytest.approx((0 + 0.69 + 0.9) / 5)


def test_boxes_may_come_in_any_parts() -> None:
    random = np.random.default_rng(0)
    scores, right = random.random(100), random.random(100) < 0.5
    whole, parts = Reliability({"half": 0.5}), Reliability({"half": 0.5})
    whole.add(scores, right)
    for start in range(0, 100, 7):
        parts.add(scores[start : start + 7], right[start : start + 7])
    assert parts.record(objects=60) == whole.record(objects=60)
    assert whole.record(objects=60)["half"]["boxes"] == int((scores >= 0.5).sum())


def test_chances_have_no_error_in_the_long_run() -> None:
    random = np.random.default_rng(1)
    chances = random.random(20000)
    honest, boastful = Reliability({}), Reliability({})
    honest.add(chances, random.random(20000) < chances)
    boastful.add(chances, random.random(20000) < chances**2)
    assert honest.ece < 0.02 and boastful.ece > 0.1


def test_without_boxes_there_is_no_error_and_no_curve() -> None:
    reliability = Reliability({"cautious": 0.5})
    reliability.add([], [])
    assert reliability.record(objects=0) == {
        "ece": 0.0,
        "curve": {"boxes": [], "score": [], "right": []},
        "cautious": {"score": 0.5, "boxes": 0, "precision": 0.0, "recall": 0.0},
    }


def test_the_counter_of_boxes_counts_chances_of_its_first_threshold() -> None:
    calibration = Calibration(slope=2.0, offset=-2.0, gate=0.1, typical=0.2, cautious=0.5)
    reliability = Reliability({"cautious": 0.5})
    counter = DetectionCounter(
        [0.5, 0.9], min_area=0, min_score=0, max_boxes=9, calibration=calibration, reliability=reliability
    )
    score_map = np.zeros((20, 30))
    score_map[2:8, 2:9], score_map[11:18, 15:28] = 0.9, 0.7
    counter.add(score_map, [[2, 2, 9, 8]])
    assert counter.boxes.tolist() == [2, 1]
    assert reliability.record(objects=1)["cautious"] == {"score": 0.5, "boxes": 1, "precision": 100.0, "recall": 100.0}
    np.testing.assert_allclose(reliability.curve()["score"], calibration.chance([0.7, 0.9]))
    counter.add(score_map * 0.3, [[2, 2, 9, 8]])  # below the gate
    assert counter.boxes.tolist() == [2, 1]


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 4), (7, 7), (3, 10), (139, 145), (5000, 10000)])
def test_intervals_are_those_of_scipy(right: int, count: int) -> None:
    low, high = wilson([right / count], [count])
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert low[0] == pytest.approx(expected.low, abs=1e-4) and high[0] == pytest.approx(expected.high, abs=1e-4)
    assert 0 <= low[0] <= right / count <= high[0] <= 1
