from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dips.errors import ProtocolError
from dips.scoremaps.levels import boxes_from_map, checked_map, components, otsu, quantise

maps = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


def two_objects() -> np.ndarray:
    score_map = np.zeros((20, 30), np.float32)
    score_map[2:6, 3:9] = 0.6  # 6 x 4
    score_map[10:18, 12:28] = 0.9  # 16 x 8
    score_map[0, 29] = 1.0  # a single pixel
    return score_map


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(3),
        np.zeros((0, 4)),
        np.full((2, 2), 1.01),
        np.full((2, 2), -0.01),
        np.array([[0.0, np.nan]]),
        np.array([[0.0, np.inf]]),
        np.array([["a", "b"]]),
        np.zeros((2, 2), bool),
    ],
)
def test_maps_outside_the_protocol_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ProtocolError):
        checked_map(bad)


def test_quantise_truncates_in_float64() -> None:
    assert quantise([[0.0, 0.999, 1.0, 0.5, 1 / 255]]).tolist() == [[0, 254, 255, 127, 1]]
    # in float32 the product would round up to 128
    just_below = np.nextafter(np.float32(128 / 255), np.float32(0))
    assert quantise(np.array([[just_below]], np.float32))[0, 0] == int(float(just_below) * 255)


def test_otsu_separates_two_levels_strictly() -> None:
    score_map = np.full((10, 10), 0.2)
    score_map[:3] = 0.8
    threshold = otsu(score_map)
    assert threshold is not None
    assert np.array_equal(quantise(score_map) > threshold, score_map > 0.5)


def test_otsu_finds_nothing_in_a_constant_map() -> None:
    assert otsu(np.full((4, 4), 0.7)) is None
    assert otsu(np.full((4, 4), 0.7) + np.linspace(0, 1e-4, 4)) is None  # constant on 8 bits


def test_components_touch_at_corners() -> None:
    mask = np.zeros((5, 6), bool)
    mask[0, 0] = mask[1, 1] = True  # one component through the corner
    mask[4, 3:6] = True
    labels, stats = components(mask)
    assert labels.dtype == np.int32 and labels[0, 0] == labels[1, 1] != labels[4, 3]
    assert stats[labels[0, 0]].tolist() == [0, 0, 2, 2, 2]
    assert stats[labels[4, 3]].tolist() == [3, 4, 3, 1, 3]


def test_boxes_are_end_exclusive_and_best_first() -> None:
    boxes, scores, regions = boxes_from_map(two_objects(), 0.5, min_area=0.01, max_boxes=9)
    assert boxes.tolist() == [[12, 10, 28, 18], [3, 2, 9, 6]]
    assert scores == pytest.approx([0.9, 0.6])
    assert np.bincount(regions.ravel()).tolist()[1:] == [16 * 8, 6 * 4] and not regions[0, 29]
    assert regions[10, 12] == 1 and regions[2, 3] == 2, "regions are numbered like their boxes"
    assert [array.dtype.name for array in (boxes, scores, regions)] == ["float32", "float32", "uint16"]


def test_the_threshold_is_a_share_of_the_maximum() -> None:
    half = two_objects() / 2
    assert np.array_equal(boxes_from_map(half, 0.5, min_area=0.01, max_boxes=9)[0], [[12, 10, 28, 18], [3, 2, 9, 6]])
    assert len(boxes_from_map(half, 0.7, min_area=0.01, max_boxes=9)[0]) == 1


def test_number_and_area_are_limited() -> None:
    boxes, _, mask = boxes_from_map(two_objects(), 0.5, min_area=0.0, max_boxes=1)
    assert boxes.tolist() == [[29, 0, 30, 1]] and mask.sum() == 1  # the single pixel has the highest mean
    boxes, _, _ = boxes_from_map(two_objects(), 0.5, min_area=0.9, max_boxes=5)
    assert boxes.tolist() == [[12, 10, 28, 18]]  # none is large enough: the largest


@pytest.mark.parametrize(("score_map", "threshold"), [(np.zeros((4, 5)), 0.0), (np.ones((4, 5)), 1.0)])
def test_no_foreground_gives_empty_arrays(score_map: np.ndarray, threshold: float) -> None:
    boxes, scores, mask = boxes_from_map(score_map, threshold, min_area=0.1, max_boxes=3)
    assert boxes.shape == (0, 4) and scores.shape == (0,) and mask.shape == (4, 5) and not mask.any()


@pytest.mark.parametrize("setting", [{"threshold": 1.5}, {"min_area": -0.1}, {"max_boxes": 0}, {"threshold": float("nan")}])
def test_settings_out_of_range_are_named(setting: dict[str, float]) -> None:
    arguments = {"threshold": 0.5, "min_area": 0.1, "max_boxes": 3, **setting}
    with pytest.raises(ProtocolError, match=next(iter(setting))):
        boxes_from_map(np.ones((3, 3)), **arguments)  # type: ignore[arg-type]


@settings(max_examples=60)
@given(maps, st.floats(0, 1), st.floats(0, 1), st.integers(1, 4))
def test_laws_of_boxes(score_map: np.ndarray, threshold: float, min_area: float, max_boxes: int) -> None:
    boxes, scores, regions = boxes_from_map(score_map, threshold, min_area=min_area, max_boxes=max_boxes)
    height, width = score_map.shape
    foreground = score_map > threshold * score_map.max()
    assert len(boxes) == len(scores) <= max_boxes and bool(len(boxes)) == bool(foreground.any())
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
    assert (np.diff(scores) <= 0).all()
    assert not (regions.astype(bool) & ~foreground).any() and regions.max() == len(boxes)
    for number, box in enumerate(boxes.astype(int), start=1):
        rows, columns = np.nonzero(regions == number)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box.tolist()


def test_what_rounding_leaves_beyond_the_range_is_put_back() -> None:
    for top, low in ((1.0000001, 0.0), (1.0, -1e-7), (np.float32(1) + np.finfo(np.float32).eps, 0.5)):
        mended = checked_map(np.array([[low, top]], np.float64))
        assert (mended.min(), mended.max()) == (max(low, 0), 1)
    with pytest.raises(ProtocolError, match=r"not in \[0, 1\.00001\]; divide it by its maximum"):
        checked_map(np.array([[0, 1.00001]]))
