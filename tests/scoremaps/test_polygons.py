"""Polygons of masks: valid, exact, and equal after a reader that rounds."""

from __future__ import annotations

import cv2
import hypothesis.strategies as st
import numpy as np
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from dips.scoremaps.polygons import outline, polygons

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=10)).filter(lambda mask: bool(mask.any()))
corners = st.tuples(st.integers(0, 50), st.integers(0, 50))


@settings(max_examples=400)
@given(masks, corners)
def test_polygons_are_valid_and_exact(mask: np.ndarray, corner: tuple[int, int]) -> None:
    shape = shapely.geometry.MultiPolygon(polygons(mask, corner))
    assert shape.is_valid, shapely.is_valid_reason(shape)
    assert shape.area == mask.sum()
    rows, columns = np.nonzero(mask)
    x, y = corner
    assert shape.bounds == (x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    assert np.array_equal(shapely.contains_xy(shape, columns + x, rows + y), mask), "the middle of a pixel tells"
    for part in shape.geoms:
        assert part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)


@settings(max_examples=400)
@given(masks, corners)
def test_an_outline_survives_rounding(mask: np.ndarray, corner: tuple[int, int]) -> None:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    one = labels == 1  # objects are 8-connected
    ring = outline(one, corner)
    frame = (corner[1] + mask.shape[0], corner[0] + mask.shape[1])
    drawn = cv2.fillPoly(np.zeros(frame, np.uint8), [ring.astype(np.int32)], 1)
    filled = np.zeros(frame, np.uint8)
    contours, _ = cv2.findContours(one.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    assert np.array_equal(drawn, filled)
    x, y, width, height, _ = stats[1]
    left, top = corner[0] + x, corner[1] + y
    assert ring.min(0).tolist() == [left + 0.25, top + 0.25]
    assert ring.max(0).tolist() == [left + width - 0.25, top + height - 0.25]


def test_a_ring_of_pixels() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    ((outer, holes),) = polygons(mask, (10, 20))
    assert set(outer) == {(10, 20), (13, 20), (13, 23), (10, 23)}
    assert [set(hole) for hole in holes] == [{(11, 21), (12, 21), (12, 22), (11, 22)}]


def test_a_ring_that_closes_over_a_corner_has_a_hole() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)  # inside and outside touch at one corner
    ((outer, holes),) = polygons(mask, (0, 0))
    assert (2, 2) in outer and [set(hole) for hole in holes] == [{(1, 1), (2, 1), (2, 2), (1, 2)}]


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    assert len(polygons(np.eye(2, dtype=bool), (0, 0))) == 2
    assert polygons(np.zeros((3, 3), bool), (0, 0)) == []


def test_the_largest_part_is_outlined() -> None:
    mask = np.zeros((9, 20), bool)
    mask[1:8, 1:5] = True
    mask[0, 8::2] = mask[1, 7::2] = True  # many corners, little area
    assert outline(mask, (0, 0)).max(0).tolist() == [4.75, 7.75]
