"""Precision, recall and F1 over all boxes: by hand, by their laws, and against a matching by brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dips.evaluate.detection import DetectionCounter, match_boxes
from dips.scoremaps.levels import boxes_from_map


def counter(taus: list[float], **options: Any) -> DetectionCounter:
    return DetectionCounter(taus, **({"min_area": 0.0, "min_score": 0.0, "max_boxes": 100} | options))


def blocks(*boxes: tuple[int, int, int, int], value: float = 1.0, side: int = 32) -> NDArray[np.float32]:
    """A map that is ``value`` in boxes and 0 elsewhere."""
    score_map = np.zeros((side, side), np.float32)
    for x0, y0, x1, y1 in boxes:
        score_map[y0:y1, x0:x1] = value
    return score_map


def iou(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(common / (sum(areas) - common))


def test_by_hand() -> None:
    """Two of three boxes are right, of four objects two have one."""
    found = [(1, 1, 9, 9), (12, 1, 20, 9), (1, 20, 9, 28)]
    made = counter([0.5])
    made.add(blocks(*found), [(1, 1, 9, 9), (12, 3, 20, 11), (22, 22, 30, 30), (12, 20, 16, 24)])
    assert (made.objects, made.boxes.tolist()) == (4, [3])
    assert made.precision.tolist() == [2 / 3] and made.recall.tolist() == [0.5]
    assert made.f1[0] == pytest.approx(4 / 7) and made.best_tau == 0.5


def test_photos_add_up() -> None:
    made = counter([0.5])
    box = (4, 4, 12, 12)
    made.add(blocks(box), [box])
    made.add(blocks(box), np.zeros((0, 4)))  # a box where there is nothing
    made.add(None, [box])  # the photo is said to show nothing
    made.add(None, [])
    assert (made.objects, made.boxes.tolist()) == (2, [1 + 1])
    assert made.precision.tolist() == [0.5] and made.recall.tolist() == [0.5] and made.f1.tolist() == [0.5]


def test_nothing_counted() -> None:
    made = counter([0.2, 0.4, 0.6])
    assert made.precision.tolist() == made.recall.tolist() == made.f1.tolist() == [0, 0, 0]
    assert made.best_tau == 0.4
    made.add(np.zeros((8, 8)), [])
    assert made.boxes.tolist() == [0, 0, 0]


def test_the_best_threshold_separates_object_and_halo() -> None:
    """An object of 1 in a halo of 0.5, four times as large; a distant speck of 0.7 makes a wrong box below that."""
    score_map = blocks((4, 4, 20, 20), value=0.5)
    score_map[8:16, 8:16] = 1
    score_map[26:30, 26:30] = 0.7
    taus = [round(tau, 2) for tau in np.arange(0.05, 1, 0.05)]
    made = counter(taus)
    made.add(score_map, [(8, 8, 16, 16)])
    by_tau = dict(zip(taus, made.f1.tolist(), strict=True))
    assert by_tau[0.4] == 0 and by_tau[0.6] == pytest.approx(2 / 3) and by_tau[0.75] == by_tau[0.95] == 1
    good = [tau for tau in taus if by_tau[tau] == 1]
    assert made.best_tau == good[len(good) // 2]


def test_boxes_are_those_of_prediction() -> None:
    score_map = blocks((2, 2, 10, 10), (20, 2, 28, 10), value=0.9) + blocks((2, 20, 4, 22), value=0.3)
    true = [(2, 2, 10, 10), (20, 2, 28, 10), (2, 20, 4, 22)]
    cases: list[tuple[dict[str, Any], int]] = [({}, 3), ({"max_boxes": 1}, 1), ({"min_area": 0.01}, 2), ({"min_score": 0.5}, 2)]
    for options, count in cases:
        made = counter([0.1], **options)
        made.add(score_map, true)
        boxes, _, _ = boxes_from_map(score_map, 0.1, **({"min_area": 0.0, "min_score": 0.0, "max_boxes": 100} | options))
        assert made.boxes.tolist() == [len(boxes)] == [count] and made.precision.tolist() == [1]


def test_matching_by_hand() -> None:
    true = [(0, 0, 10, 10), (0, 0, 10, 8)]
    assert match_boxes([(0, 0, 10, 8), (0, 0, 10, 10)], true) == [(0, 1), (1, 0)]
    assert match_boxes([(0, 0, 10, 9)] * 3, true) == [(0, 0), (1, 1)], "each is taken once"
    assert match_boxes([(0, 0, 10, 5)], [(0, 0, 10, 10)]) == [(0, 0)], "an IoU of 0.5 is enough"
    assert match_boxes([(0, 0, 10, 4.9)], [(0, 0, 10, 10)]) == []
    assert match_boxes([], true) == match_boxes(true, []) == match_boxes([], []) == []
    assert match_boxes([(3, 3, 3, 9)], [(3, 3, 3, 9)]) == [], "an empty box finds nothing"


box = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@settings(max_examples=200)
@given(found=st.lists(box, max_size=5), true=st.lists(box, max_size=5))
def test_matching_is_greedy(found: list[tuple[int, ...]], true: list[tuple[int, ...]]) -> None:
    pairs = match_boxes(found, true)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    free = set(range(len(true)))
    for position, one in enumerate(found):
        best = max((iou(one, true[j]) for j in free), default=0.0)
        partner = dict(pairs).get(position)
        assert (partner is not None) == (best >= 0.5)
        if partner is not None:
            assert partner in free and iou(one, true[partner]) == pytest.approx(best)
            free.remove(partner)


@settings(max_examples=100)
@given(found=st.lists(box, max_size=4), true=st.lists(box, max_size=4))
def test_matching_is_at_least_half_of_the_best(found: list[tuple[int, ...]], true: list[tuple[int, ...]]) -> None:
    """As every greedy matching that cannot be extended is."""
    good = {(i, j) for i, one in enumerate(found) for j, other in enumerate(true) if iou(one, other) >= 0.5}
    best = 0
    for order in itertools.permutations(range(len(true))):
        best = max(best, sum((i, j) in good for i, j in zip(range(len(found)), order, strict=False)))
    for skipped in itertools.permutations(range(len(found)), min(len(found), len(true))):
        best = max(best, sum((i, j) in good for i, j in zip(skipped, range(len(true)), strict=False)))
    assert best / 2 <= len(match_boxes(found, true)) <= best


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), photos=st.integers(1, 4))
def test_laws_of_the_three_numbers(seed: int, photos: int) -> None:
    rng = np.random.default_rng(seed)
    taus = [0.1, 0.4, 0.7]
    together, alone = counter(taus), []
    for _ in range(photos):
        score_map = np.kron(rng.random((4, 4)), np.ones((4, 4))).astype(np.float32)
        true = np.sort(rng.integers(0, 17, (rng.integers(0, 4), 2, 2)), axis=1).reshape(-1, 4)
        together.add(score_map, true)
        single = counter(taus)
        single.add(score_map, true)
        alone.append(single)
    assert together.objects == sum(item.objects for item in alone)
    assert together.boxes.tolist() == np.sum([item.boxes for item in alone], axis=0).tolist()
    right = np.sum([item.recall * item.objects for item in alone], axis=0)
    np.testing.assert_allclose(together.recall * together.objects, right)
    np.testing.assert_allclose(together.precision * together.boxes, right)
    precision, recall = together.precision, together.recall
    harmonic = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    np.testing.assert_allclose(together.f1, harmonic, atol=1e-9)
    assert ((together.f1 >= 0) & (together.f1 <= 1)).all()
    assert together.f1[taus.index(together.best_tau)] == together.f1.max()
