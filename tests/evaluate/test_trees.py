"""The trees against OpenCV's contours: the same boxes at every cut, the same largest one, whatever the map looks like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dips.evaluate import best_iou_curve, boxes, boxes_at_thresholds
from dips.evaluate.contours import contour_boxes
from dips.evaluate.trees import tree_boxes

Levels = np.ndarray
sides = st.integers(1, 14)
few_values = arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 3))
any_values = arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 255))


@st.composite
def shapes(draw: st.DrawFn) -> Levels:
    """Plateaus, stripes, rings and noise on top of each other: nested holes, components of equal area, odd sides."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    levels = np.full((height, width), draw(st.sampled_from([0, 1, 100, 255])), np.uint8)
    for _ in range(draw(st.integers(0, 8))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        part = levels[y : y + draw(st.integers(1, 20)), x : x + draw(st.integers(1, 20))]
        value = draw(st.sampled_from([0, 1, 2, 100, 101, 254, 255]))
        kind = draw(st.sampled_from(["plateau", "rows", "columns", "board", "ring", "noise"]))
        if kind == "plateau":
            part[:] = value
        elif kind == "rows":
            part[::2] = value
        elif kind == "columns":
            part[:, ::3] = value
        elif kind == "board":
            part[::2, ::2] = part[1::2, 1::2] = value
        elif kind == "ring":
            part[[0, -1]] = part[:, [0, -1]] = value
        else:
            part[:] = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, part.shape)
    return levels


def by_cut(found: tuple[np.ndarray, np.ndarray, np.ndarray], cuts: range) -> Iterator[tuple[list[list[int]], list[int]]]:
    boxes, ranges, largest = found
    for cut in cuts:
        at = (ranges[:, 0] <= cut) & (cut <= ranges[:, 1])
        yield sorted(boxes[at].tolist()), largest[cut].tolist()


def check(levels: Levels) -> None:
    if levels.max() == 0:
        return
    cuts = range(int(levels.max()))
    trees, contours = tree_boxes(levels), contour_boxes(levels, cuts)
    for cut, (ours, theirs) in enumerate(zip(by_cut(trees, cuts), by_cut(contours, cuts), strict=True)):
        assert ours == theirs, cut
    assert np.array_equal(tree_boxes(levels, multiple=False)[2], trees[2])
    assert sorted(map(tuple, tree_boxes(levels, single=False)[0])) == sorted(map(tuple, trees[0]))


@settings(max_examples=300)
@given(few_values)
def test_few_values(levels: Levels) -> None:
    check(levels)


@settings(max_examples=150)
@given(any_values)
def test_any_values(levels: Levels) -> None:
    check(levels)


@settings(max_examples=300)
@given(shapes())
def test_shapes(levels: Levels) -> None:
    check(levels)


@pytest.mark.parametrize("seed", range(4))
def test_large_maps(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = random.random((90, 131))
    smooth = np.cumsum(np.cumsum(noise - 0.5, 0), 1)
    for levels in (noise, smooth - smooth.min(), np.abs(smooth), noise * np.abs(smooth)):
        check((levels / levels.max() * 255).astype(np.uint8))


def test_one_pixel_wide() -> None:
    check(np.array([[3, 0, 3, 1, 0, 2, 2]], np.uint8))
    check(np.array([[3], [0], [3], [1]], np.uint8))
    check(np.array([[7]], np.uint8))


score_maps = arrays(np.float32, st.tuples(sides, sides), elements=st.floats(0, 1, width=32))
truths = st.lists(
    st.tuples(st.integers(-9, 30), st.integers(-9, 30), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=3
).map(lambda rows: [[x, y, x + w, y + h] for x, y, w, h in rows])


@settings(max_examples=150)
@given(score_maps, truths, st.sampled_from([1, 3, 100, 1000]))
def test_curves_do_not_differ_without_numba(score_map: np.ndarray, truth: list[list[int]], thresholds: int) -> None:
    """The whole way, ground-truth boxes outside the map among them."""
    for multi_contour in (True, False):
        fast = best_iou_curve(score_map, truth, multi_contour=multi_contour, thresholds=thresholds)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boxes, "_trees", lambda: None)
            slow = best_iou_curve(score_map, truth, multi_contour=multi_contour, thresholds=thresholds)
        assert np.array_equal(fast, slow)


@pytest.mark.slow
def test_nowhere_to_keep_what_was_compiled() -> None:
    code = """
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []
import numpy as np
from dips.evaluate import best_iou_curve, boxes
assert best_iou_curve(np.eye(9), [[0, 0, 8, 8]], multi_contour=True, thresholds=3).tolist() == [1, 1, 1]
assert boxes._trees()._COMPILED == {"nogil": True}
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_zero_maps_have_the_zero_box() -> None:
    levels = boxes_at_thresholds(np.zeros((3, 4)))
    assert levels.at(0.5).tolist() == levels.at(0.5, multi_contour=False).tolist() == [[0, 0, 0, 0]]
