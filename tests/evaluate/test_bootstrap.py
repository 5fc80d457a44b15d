from __future__ import annotations

import numpy as np
import pytest

from dips.errors import ProtocolError
from dips.evaluate import BoxAccumulator
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


def test_it_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ProtocolError, match="an id"):
        Bootstrap(3, (1, 1)).add(np.array([[True]]), "")
    with pytest.raises(ProtocolError, match="merge"):
        Bootstrap(3, (1, 1)).merge(Bootstrap(4, (1, 1)))


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
