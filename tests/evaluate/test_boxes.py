from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dips.errors import ProtocolError
from dips.evaluate import best_iou_curve, boxes_at_thresholds, iou, tau_grid, to_frame
from dips.scoremaps.levels import quantise

box = st.tuples(st.integers(-5, 40), st.integers(-5, 40), st.integers(0, 30), st.integers(0, 30)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
# few levels make plateaus, holes and touching corners likely
small_maps = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)).map(lambda m: m / 3)


def test_the_metrics_need_neither_torch_nor_numba() -> None:
    code = """
import sys
blocked = {"torch", "torchvision", "timm", "matplotlib", "PIL", "sklearn", "scipy", "rich", "cyclopts", "numba"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import numpy as np, dips.evaluate
curve = dips.evaluate.best_iou_curve(np.eye(9), [[0, 0, 8, 8]], multi_contour=True, thresholds=3)
assert curve.tolist() == [1, 1, 1], curve
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_iou_counts_edges_inclusively() -> None:
    assert iou([[0, 0, 1, 1]], [[1, 1, 2, 2]])[0, 0] == 1 / 7  # one shared pixel of 4 + 4 - 1
    assert iou([[0, 0, 0, 0]], [[0, 0, 0, 0]])[0, 0] == 1
    assert iou([[0, 0, 4, 4]], [[5, 0, 9, 4]])[0, 0] == 0


@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_iou_is_symmetric_and_within_0_and_1(a: list[list[int]], b: list[list[int]]) -> None:
    table = iou(a, b)
    assert np.array_equal(table, iou(b, a).T)
    assert ((table >= 0) & (table <= 1)).all()
    assert (np.diag(iou(a, a)) == 1).all()


def test_frame_coordinates_are_truncated_and_not_clamped() -> None:
    boxes = to_frame([[10.0, 20, 500, 375], [3.9, 1, 499, 374]], (500, 375))
    assert boxes.tolist() == [[4, 11, 224, 224], [1, 0, 223, 223]]
    assert boxes.dtype == np.int64
    assert to_frame(np.zeros((0, 4)), (10, 10)).shape == (0, 4)
    with pytest.raises(ProtocolError, match="0x5"):
        to_frame([[0, 0, 1, 1]], (0, 5))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_frame_is_plain_python_arithmetic(width: int, height: int, x: int, y: int) -> None:
    assert to_frame([[0, 0, x, y]], (width, height))[0].tolist() == [0, 0, int(x * 224 / width), int(y * 224 / height)]


def test_grid_is_the_protocols() -> None:
    assert np.array_equal(tau_grid(), np.arange(0, 1, 0.001)) and len(tau_grid()) == 1000
    for count in (1, 2, 3, 49, 255, 999):
        grid = tau_grid(count)
        assert len(grid) == count and grid[0] == 0 and grid[-1] < 1
    with pytest.raises(ProtocolError):
        tau_grid(0)


def test_a_flat_map_has_the_zero_box() -> None:
    levels = boxes_at_thresholds(np.zeros((5, 6)))
    assert levels.boxes.tolist() == [[0, 0, 0, 0]]
    ones = boxes_at_thresholds(np.ones((5, 6)))
    assert [ones.at(tau).tolist() for tau in (0, 0.5, 0.999)] == [[[0, 0, 5, 4]]] * 3


def test_hole_borders_are_boxes_one_pixel_larger() -> None:
    ring = np.ones((12, 12))
    ring[4:7, 5:9] = 0
    assert sorted(boxes_at_thresholds(ring, 2).at(0).tolist()) == [[0, 0, 11, 11], [4, 3, 10, 8]]
    # the hole's box fits a ground-truth box there, but only MaxBoxAccV2 looks at it
    assert best_iou_curve(ring, [[4, 3, 10, 8]], multi_contour=True).max() == 1
    assert best_iou_curve(ring, [[4, 3, 10, 8]], multi_contour=False).max() < 0.5


def test_ends_are_one_past_the_object_but_inside_the_map() -> None:
    score_map = np.zeros((8, 10))
    score_map[2:4, 3:6] = 1
    assert boxes_at_thresholds(score_map, 1).boxes.tolist() == [[3, 2, 6, 4]]
    score_map[:] = 0
    score_map[6:, 8:] = 1
    assert boxes_at_thresholds(score_map, 1).boxes.tolist() == [[8, 6, 9, 7]]


def test_of_equal_areas_the_first_contour_counts() -> None:
    score_map = np.zeros((9, 30))
    score_map[1:4, 2:5] = score_map[5:8, 12:15] = score_map[1:4, 20:23] = 1
    levels = boxes_at_thresholds(score_map, 1)
    assert levels.at(0, multi_contour=False).tolist() == [[12, 5, 15, 8]]  # the one that begins last in reading order
    # a component and its hole enclose the same area: the component comes first
    knot = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]], float)
    levels = boxes_at_thresholds(knot, 1)
    assert levels.at(0, multi_contour=False).tolist() == [[0, 1, 3, 3]]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "at least one ground-truth box"),
        ([1, 2, 3, 4], "single box"),
        ([[1, 2, 3]], "shape"),
        ([[5, 2, 3, 4]], "box 0"),
        ([[0, 0, np.nan, 4]], "finite"),
        ([["a", 0, 1, 1]], "four numbers"),
    ],
)
def test_boxes_outside_the_protocol_are_refused(boxes: list[object], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        best_iou_curve(np.ones((4, 4)), boxes, multi_contour=True)  # type: ignore[arg-type]


def test_maps_outside_the_protocol_are_refused() -> None:
    with pytest.raises(ProtocolError, match="without NaN"):
        best_iou_curve(np.full((4, 4), np.nan), [[0, 0, 1, 1]], multi_contour=True)
    with pytest.raises(ProtocolError, match="height, width"):
        best_iou_curve(np.ones((1, 4, 4)), [[0, 0, 1, 1]], multi_contour=True)


@settings(max_examples=60)
@given(small_maps, st.lists(box, min_size=1, max_size=3), st.sampled_from([1, 7, 100]))
def test_curves_keep_their_laws(score_map: np.ndarray, boxes: list[list[int]], thresholds: int) -> None:
    one = best_iou_curve(score_map, boxes, multi_contour=False, thresholds=thresholds)
    all_ = best_iou_curve(score_map, boxes, multi_contour=True, thresholds=thresholds)
    assert one.dtype == all_.dtype == np.float64 and one.shape == all_.shape == (thresholds,)
    assert ((one >= 0) & (one <= all_) & (all_ <= 1)).all()
    more = best_iou_curve(score_map, [*boxes, [0, 0, 3, 3]], multi_contour=True, thresholds=thresholds)
    assert (more >= all_).all()


@settings(max_examples=150)
@given(small_maps)
def test_boxes_are_those_of_the_protocols_words(score_map: np.ndarray) -> None:
    """Against flood fills written from the words of the protocol, without OpenCV."""
    levels = boxes_at_thresholds(score_map, 10)
    pixels = quantise(score_map)
    for tau in levels.taus:
        found = levels.at(tau).astype(int).tolist()
        assert sorted(found) == sorted(_boxes_by_hand(pixels > int(tau * int(pixels.max()))))


def _boxes_by_hand(foreground: np.ndarray) -> list[list[int]]:
    height, width = foreground.shape
    boxes = []
    for region in _regions(foreground, diagonal=True):
        ys, xs = zip(*region, strict=True)
        boxes.append([min(xs), min(ys), max(xs) + 1, max(ys) + 1])
    for region in _regions(~foreground, diagonal=False):
        ys, xs = zip(*region, strict=True)
        if min(ys) > 0 and min(xs) > 0 and max(ys) < height - 1 and max(xs) < width - 1:
            boxes.append([min(xs) - 1, min(ys) - 1, max(xs) + 2, max(ys) + 2])
    return [[x0, y0, min(x1, width - 1), min(y1, height - 1)] for x0, y0, x1, y1 in boxes] or [[0, 0, 0, 0]]


def _regions(mask: np.ndarray, *, diagonal: bool) -> list[list[tuple[int, ...]]]:
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)] + [(-1, -1), (-1, 1), (1, -1), (1, 1)] * diagonal
    left = set(map(tuple, np.argwhere(mask).tolist()))
    regions = []
    while left:
        queue = [left.pop()]
        region = list(queue)
        while queue:
            y, x = queue.pop()
            for dy, dx in steps:
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    queue.append((y + dy, x + dx))
                    region.append((y + dy, x + dx))
        regions.append(region)
    return regions
