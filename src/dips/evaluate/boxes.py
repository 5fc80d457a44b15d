"""Boxes of a score map at every threshold, and how well they match ground-truth ones (Choe et al., CVPR 2020, TPAMI 2022).

In: a score map ``(H, W)`` in [0, 1] and ground-truth boxes ``(K, 4)`` in the map's own pixels. Out: for each threshold of the
grid the best inclusive IoU of predicted and ground-truth boxes. The numbers equal those of the field's evaluator to the last
digit. An 8-bit map has at most 255 different foregrounds, one per *cut*: ``map > cut``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.contours import contour_boxes
from dips.scoremaps.levels import quantise

__all__ = ["FRAME", "BoxLevels", "best_iou_curve", "boxes_at_thresholds", "iou", "tau_grid", "to_frame"]

FRAME = 224
"""Side in pixels of the square frame in which the protocol compares maps with boxes and masks."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoxLevels:
    """The boxes of one score map at every threshold.

    >>> score_map = np.zeros((8, 8))
    >>> score_map[2:6, 2:6] = 1
    >>> levels = boxes_at_thresholds(score_map)
    >>> levels.at(0.5).tolist(), levels.best_iou([[2, 2, 6, 6]], multi_contour=True).min().item()
    ([[2.0, 2.0, 6.0, 6.0]], 1.0)

    Attributes:
        taus: ``(T,)`` thresholds, fractions of the map's maximum.
        cut_of_tau: ``(T,)`` the cut of the 8-bit map that each threshold corresponds to.
        boxes: ``(M, 4)`` boxes of all cuts; inclusive ``x0 y0 x1 y1``.
        cuts: ``(M, 2)`` first and last cut of each box.
        largest: ``(L, 4)`` for every cut below the map's maximum, the box whose contour encloses the largest area.
        peak: the maximum of the 8-bit map.
        shape: height and width of the score map.
    """

    taus: Floats
    cut_of_tau: NDArray[np.int64]
    boxes: Floats
    cuts: NDArray[np.int32]
    largest: Floats
    peak: int
    shape: tuple[int, int]

    def at(self, tau: float, *, multi_contour: bool = True) -> Floats:
        """Return the boxes ``(N, 4)`` at the threshold of the grid nearest to ``tau``."""
        cut = self.cut_of_tau[nearest(self.taus, tau)]
        held = (self.cuts[:, 0] <= cut) & (cut <= self.cuts[:, 1])
        return np.asarray(self.boxes[held] if multi_contour else self.largest[cut][None])

    def best_iou(self, true_boxes: ArrayLike, *, multi_contour: bool) -> Floats:
        """Return the best IoU ``(T,)`` over predicted x ground-truth boxes at each threshold.

        Args:
            true_boxes: ``(K, 4)``, K > 0, in the map's pixels.
            multi_contour: use all boxes of a cut (MaxBoxAccV2), or only that of its largest contour (MaxBoxAcc).

        Raises:
            ProtocolError: there are no boxes, or the array does not contain boxes.
        """
        return np.asarray(self.best_iou_of_cuts(true_boxes, multi_contour=multi_contour)[self.cut_of_tau])

    def best_iou_of_cuts(self, true_boxes: ArrayLike, *, multi_contour: bool) -> Floats:
        """Return the same for each cut, ``(max(peak, 1),)``; 0 for cuts that no threshold corresponds to."""
        ground_truth = checked_boxes(true_boxes)
        if len(ground_truth) == 0:
            raise ProtocolError("at least one ground-truth box is needed; leave photos without an object out of localization")
        columns = (self.boxes if multi_contour else self.largest).T
        best = np.zeros(columns.shape[1])
        for box in ground_truth:
            shared, area, true_area = overlap(columns, box)
            np.maximum(best, shared / (area + true_area - shared), out=best)
        return _greatest(best, self.cuts, max(self.peak, 1)) if multi_contour else best


def tau_grid(thresholds: int = 1000) -> Floats:
    """Return the protocol's thresholds ``arange(0, 1, 1 / thresholds)``.

    Raises:
        ProtocolError: ``thresholds`` is not positive.
    """
    if thresholds < 1:
        raise ProtocolError(f"thresholds must be at least 1, not {thresholds}")
    return np.arange(0, 1, 1 / thresholds)[:thresholds]  # rounding may add one at the end


def boxes_at_thresholds(score_map: ArrayLike, thresholds: int = 1000) -> BoxLevels:
    """Return the boxes of a score map at every threshold of the grid.

    Compute them once if one map is compared with the boxes of many photos, as with the centred Gaussian.

    Args:
        score_map: ``(H, W)`` in [0, 1].
        thresholds: length of the grid; the protocol's is 1000.

    Raises:
        ProtocolError: the map is not two-dimensional, not finite or outside [0, 1].
    """
    return _levels(score_map, thresholds, single=True, multiple=True)


def best_iou_curve(score_map: ArrayLike, boxes: ArrayLike, *, multi_contour: bool, thresholds: int = 1000) -> Floats:
    """Return the best inclusive IoU ``(T,)`` over predicted x ground-truth boxes at each threshold in [0, 1).

    Args:
        score_map: ``(H, W)`` in [0, 1].
        boxes: ground-truth boxes ``(K, 4)``, K > 0, ``x0 y0 x1 y1`` in the map's pixels; see :func:`to_frame`.
        multi_contour: True for MaxBoxAccV2 (a box per contour), False for MaxBoxAcc (the largest contour's).
        thresholds: length of the grid; the protocol's is 1000.

    Raises:
        ProtocolError: the map or the boxes are not what the protocol accepts.
    """
    levels = _levels(score_map, thresholds, single=not multi_contour, multiple=multi_contour)
    return levels.best_iou(boxes, multi_contour=multi_contour)


def overlap(first: Sequence[Any] | NDArray[Any], second: Sequence[Any] | NDArray[Any]) -> tuple[Any, Any, Any]:
    """Return the inclusive areas of the intersection and of both boxes, each ``x0, y0, x1, y1``, with broadcasting."""
    x0, y0, x1, y1 = first
    u0, v0, u1, v1 = second
    width = np.minimum(x1, u1) - np.maximum(x0, u0) + 1
    height = np.minimum(y1, v1) - np.maximum(y0, v0) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return shared, (x1 - x0 + 1) * (y1 - y0 + 1), (u1 - u0 + 1) * (v1 - v0 + 1)


def iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the inclusive IoU ``(N, M)`` of boxes ``(N, 4)`` and ``(M, 4)``: widths and heights, also of overlaps, are + 1.

    Raises:
        ProtocolError: an array does not contain boxes.
    """
    shared, a, b = overlap(checked_boxes(first).T[:, :, None], checked_boxes(second).T[:, None, :])
    return np.asarray(shared / (a + b - shared), dtype=np.float64)


def to_frame(boxes: ArrayLike, size: Sequence[int], frame: int = FRAME) -> NDArray[np.int64]:
    """Convert boxes from a photo's pixels to the square frame of the protocol: ``int(coordinate * frame / size)``.

    Args:
        boxes: ``(K, 4)``, ``x0 y0 x1 y1`` in pixels of a photo of this size.
        size: width and height of the photo that the boxes were drawn on.
        frame: side of the square frame.

    Returns:
        ``(K, 4) int64``, not clamped: a box that ends at the photo's edge ends at ``frame``.

    Raises:
        ProtocolError: the array does not contain boxes, or a size is not positive.
    """
    width, height = size
    if not (width > 0 and height > 0):
        raise ProtocolError(f"a photo's width and height are positive, not {width}x{height}")
    scaled = checked_boxes(boxes) * frame / np.array([width, height, width, height], np.float64)
    return np.trunc(scaled).astype(np.int64)


def checked_boxes(boxes: ArrayLike) -> Floats:
    """Return boxes as ``(K, 4) float64``.

    Raises:
        ProtocolError: the shape is different, values are not finite, or a box ends before its start.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"boxes are rows of four numbers x0 y0 x1 y1 ({error})") from error
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ProtocolError(f"boxes have the shape (K, 4), not {array.shape}; a single box goes into a list")
    if not np.isfinite(array).all():
        raise ProtocolError("boxes hold finite numbers; remove rows with NaN or infinity")
    wrong = np.flatnonzero((array[:, 2:] < array[:, :2]).any(axis=1))
    if len(wrong):
        raise ProtocolError(f"box {wrong[0]} is {array[wrong[0]].tolist()}; boxes are x0 y0 x1 y1 with x0 <= x1, y0 <= y1")
    return array


def nearest(taus: Floats, tau: float) -> int:
    """Return the index in the grid of the threshold nearest to ``tau``.

    Raises:
        ProtocolError: ``tau`` is outside [0, 1].
    """
    if not 0.0 <= tau <= 1.0:
        raise ProtocolError(f"a threshold lies between 0 and 1, not {tau}")
    return int(np.abs(taus - tau).argmin())


def cuts_of(taus: Floats, peak: int) -> NDArray[np.int64]:
    """Return the cut ``(T,)`` that each threshold corresponds to on an 8-bit map with this maximum."""
    return (taus * peak).astype(np.int64)


def engine() -> str:
    """Describe how boxes are found in this process."""
    return "component trees" if _trees() is not None else "contours, slowly: numba cannot be imported"


def _levels(score_map: ArrayLike, thresholds: int, *, single: bool, multiple: bool) -> BoxLevels:
    levels = quantise(score_map)
    height, width = levels.shape
    taus, peak = tau_grid(thresholds), int(levels.max())
    cut_of_tau = cuts_of(taus, peak)
    if peak == 0:  # no foreground at all: the protocol defines one box for it
        return BoxLevels(
            taus, cut_of_tau, np.zeros((1, 4)), np.zeros((1, 2), np.int32), np.zeros((1, 4)), peak, (height, width)
        )
    trees = _trees()
    if trees is not None:
        boxes, cuts, largest = trees.tree_boxes(levels, single=single, multiple=multiple)
    else:
        boxes, cuts, largest = contour_boxes(levels, np.unique(cut_of_tau).tolist())
    shape = (height, width)
    return BoxLevels(taus, cut_of_tau, _ends(boxes, shape), cuts, _ends(largest, shape), peak, shape)


def _ends(boxes: NDArray[np.int32], shape: tuple[int, int]) -> Floats:
    """Return the protocol's boxes: they end one pixel beyond their last pixel, but inside the map."""
    ends = np.minimum(boxes[:, 2:] + 1, np.array(shape[::-1]) - 1)
    return np.concatenate([boxes[:, :2], ends], axis=1).astype(np.float64)


@cache
def _trees() -> Any:
    """Return the module with the fast algorithm, or None if numba is missing; importing it takes half a second."""
    try:
        from dips.evaluate import trees
    except ImportError:
        return None
    return trees


_POWERS = np.array([0, *(length.bit_length() - 1 for length in range(1, 257))])


def _greatest(values: Floats, ranges: NDArray[np.int32], count: int) -> Floats:
    """Return the greatest value ``(count,)`` of the ranges that contain a position: each is two overlapping powers of two."""
    first, last = ranges.T.astype(np.int64)
    powers = _POWERS[last - first + 1]
    table = np.zeros((int(powers.max()) + 1, count))
    flat = table.reshape(-1)  # ufunc.at is fast with a single index only
    np.maximum.at(flat, powers * count + first, values)
    np.maximum.at(flat, powers * count + last + 1 - (1 << powers), values)
    for power in range(len(table) - 1, 0, -1):
        half = 1 << (power - 1)
        np.maximum(table[power - 1], table[power], out=table[power - 1])
        np.maximum(table[power - 1, half:], table[power, :-half], out=table[power - 1, half:])
    return np.asarray(table[0])
