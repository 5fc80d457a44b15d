from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.errors import ProtocolError
from dips.evaluate import KINDS
from dips.evaluate.dissect import error_kinds


@pytest.mark.parametrize(
    ("predicted", "truth", "kind"),
    [
        ([0, 0, 9, 9], [[0, 0, 9, 9]], "correct"),
        ([0, 0, 9, 9], [[0, 0, 9, 4]], "more"),  # IoU exactly 0.5 is not above it
        ([0, 0, 9, 9], [[0, 0, 4, 4], [5, 5, 9, 9]], "several_objects"),
        ([0, 0, 9, 9], [[0, 0, 9, 7], [5, 8, 9, 9]], "correct"),  # tried before several objects
        ([2, 2, 4, 4], [[0, 0, 9, 9]], "part"),
        ([0, 0, 9, 9], [[2, 2, 4, 4]], "more"),
        ([0, 0, 9, 9], [[30, 30, 39, 39]], "other"),
        ([0, 0, 9, 9], [[5, 5, 24, 24]], "other"),
    ],
)
def test_kinds_by_hand(predicted: list[int], truth: list[list[int]], kind: str) -> None:
    assert KINDS[error_kinds([predicted], truth)[0]] == kind


box = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20), st.integers(0, 20)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(st.lists(box, min_size=1, max_size=3), st.lists(box, min_size=1, max_size=3))
def test_kinds_are_those_of_the_words(predicted: list[list[int]], truth: list[list[int]]) -> None:
    """Against pixels counted one by one."""
    for row, kind in zip(predicted, error_kinds(predicted, truth), strict=True):
        mine, theirs = _pixels(row), [_pixels(one) for one in truth]
        ious = [len(mine & one) / len(mine | one) for one in theirs]
        best = theirs[int(np.argmax(ious))]
        if max(ious) > 0.5:
            expected = "correct"
        elif sum(len(mine & one) / len(one) > 0.3 for one in theirs) > 1:
            expected = "several_objects"
        elif len(mine & best) / len(mine) > 0.5:
            expected = "part"
        elif len(mine & best) / len(best) >= 0.7:
            expected = "more"
        else:
            expected = "other"
        assert KINDS[kind] == expected


def _pixels(box: list[int]) -> set[tuple[int, int]]:
    x0, y0, x1, y1 = box
    return {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}


def test_a_true_box_is_needed() -> None:
    with pytest.raises(ProtocolError, match="at least one ground-truth box"):
        error_kinds([[0, 0, 1, 1]], np.zeros((0, 4)))
