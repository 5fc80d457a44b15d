from __future__ import annotations

import numpy as np
import pytest

from dips.errors import ProtocolError
from dips.evaluate import BoxAccumulator, BoxResult
from dips.evaluate.bootstrap import Bootstrap, interval


def filled(ids: range, *, replicates: int = 400, share: float = 0.7) -> Bootstrap:
    bootstrap = Bootstrap(replicates, (1, 2))
    for index in ids:
        bootstrap.add(np.array([[index % 10 < 10 * share, True]]), str(index))
    return bootstrap


def test_intervals_are_those_of_the_binomial() -> None:
    percent = filled(range(500)).percent()
    assert percent.shape == (400, 1, 2)
    assert (percent[:, 0, 1] == 100).all()
    assert percent[:, 0, 0].mean() == pytest.approx(70, abs=0.5)
    assert percent[:, 0, 0].std() == pytest.approx(100 * np.sqrt(0.7 * 0.3 / 500), rel=0.15)
    low, high = interval(percent[:, 0, 0])
    assert low < 70 < high and high - low == pytest.approx(4 * 100 * np.sqrt(0.7 * 0.3 / 500), rel=0.2)


def test_neither_order_nor_processes_matter() -> None:
    whole, first, second = filled(range(150)), filled(range(149, 69, -1)), filled(range(70))
    first.merge(second)
    assert np.array_equal(first.percent(), whole.percent())
    assert np.array_equal(filled(range(70)).percent(), second.percent())


def test_other_photos_draw_otherwise() -> None:
    assert not np.array_equal(filled(range(50)).percent(), filled(range(50, 100)).percent())


def test_bootstraps_of_other_kinds_do_not_merge() -> None:
    with pytest.raises(ProtocolError, match="merge"):
        Bootstrap(3, (1, 1)).merge(Bootstrap(4, (1, 1)))


def test_resamples_are_weighted_counts() -> None:
    """Against the draws of single photos, one bootstrap each."""
    hits = np.random.default_rng(1).random((80, 2, 3)) < 0.5
    together = Bootstrap(5, (2, 3))
    weights = []
    for index, photo in enumerate(hits):
        together.add(photo, str(index))
        alone = Bootstrap(5, (2, 3))
        alone.add(photo, str(index))
        alone.percent()
        weights.append(alone._totals)
    drawn = np.array(weights)
    expected = 100 * np.einsum("nr,nct->rct", drawn, hits) / drawn.sum(axis=0)[:, None, None]
    assert together.percent() == pytest.approx(expected, rel=1e-5)


def test_luck_of_the_threshold_is_not_counted_twice() -> None:
    """All thresholds are equally good, so the best one is luck; chosen anew in every resample it would be lucky again."""
    random = np.random.default_rng(2)
    bootstrap, count, thresholds = Bootstrap(300, (4, 60)), 60, 60
    hits = random.random((count, 4, thresholds)) < 0.5
    for index, photo in enumerate(hits):
        bootstrap.add(photo, str(index))
    v1, *v2 = 100 * hits.mean(axis=0)
    nothing = np.full(thresholds, np.nan)
    result = BoxResult(
        *(count, count, count, 0, 0, np.arange(thresholds) / thresholds, v1, np.array(v2)),
        *(nothing, nothing, np.zeros((6, thresholds)), np.nan, np.nan),
        resampled=bootstrap.percent(),
    )
    intervals, resampled = result.intervals, bootstrap.percent()
    assert intervals is not None
    low, high = intervals["max_box_acc"]
    assert (low + high) / 2 == pytest.approx(result.max_box_acc, abs=2)
    assert np.mean(resampled[:, 0].max(axis=1)) > result.max_box_acc + 3, "what is avoided"


def test_results_hold_their_intervals() -> None:
    random = np.random.default_rng(0)
    accumulator = BoxAccumulator(20, frame=None, replicates=200)
    for index in range(60):
        score_map = np.zeros((16, 16))
        score_map[4:12, 4:12] = 1
        x, y = random.integers(0, 8, 2)
        accumulator.add(score_map, [[x, y, x + 8, y + 8]], id=str(index))
    result = accumulator.result()
    intervals = result.intervals
    assert intervals is not None and (intervals["level"], intervals["replicates"]) == (95, 200)
    for name, value in {
        **result.max_box_acc_at,
        "max_box_acc": result.max_box_acc,
        "max_box_acc_v2": result.max_box_acc_v2,
    }.items():
        low, high = intervals[name]
        assert 0 <= low <= value <= high <= 100 and high > low, name
    chosen = result.at_tau(0.5)
    assert chosen.intervals is not None and chosen.intervals["50"][0] <= chosen.box_acc_at["50"] <= chosen.intervals["50"][1]
    assert "box_acc_v2" in chosen.intervals and "max_box_acc_v2" not in chosen.intervals
