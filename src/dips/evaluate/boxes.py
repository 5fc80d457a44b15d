"""Boxes of a score map at every threshold, and how well they meet the true ones (Choe et al., CVPR 2020, TPAMI 2022).

In: a score map ``(H, W)`` in [0, 1] and true boxes ``(K, 4)`` in the map's own pixels. Out: for each threshold of the
grid the best inclusive IoU of predicted and true boxes. The numbers equal those of the field's evaluator to the last
digit; NumPy and OpenCV only. At most 255 of the thresholds differ on an 8-bit map, so only these are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.scoremaps import quantise

__all__ = ["FRAME", "BoxLevels", "best_iou_curve", "boxes_at_thresholds", "iou", "tau_grid", "to_frame"]

FRAME = 224
"""Side in pixels of the square in which the protocol compares maps with boxes and masks."""


@dataclass(frozen=True, slots=True)
class BoxLevels:
    """The boxes of one score map at every threshold.

    Attributes:
        taus: ``(T,)`` thresholds, shares of the map's maximum.
        level_of_tau: ``(T,)`` the row of ``starts`` that a threshold belongs to.
        boxes: ``(M, 4)`` boxes of all levels, one level after the other; inclusive ``x0 y0 x1 y1``.
        starts: ``(L,)`` the first box of every level; each has at least one.
        largest: ``(L,)`` for every level the box whose contour encloses the largest area.
        shape: height and width of the score map.
    """

    taus: NDArray[np.float64]
    level_of_tau: NDArray[np.int64]
    boxes: NDArray[np.float64]
    starts: NDArray[np.int64]
    largest: NDArray[np.int64]
    shape: tuple[int, int]

    def best_iou(self, true_boxes: ArrayLike, *, multi_contour: bool) -> NDArray[np.float64]:
        """``(T,)`` best IoU over predicted x true boxes at each threshold.

        Args:
            true_boxes: ``(K, 4)``, K > 0, in the map's pixels.
            multi_contour: all boxes of a level (MaxBoxAccV2), or only that of its largest contour (MaxBoxAcc).

        Raises:
            ProtocolError: no boxes, or not boxes.
        """
        truth = checked_boxes(true_boxes)
        if len(truth) == 0:
            raise ProtocolError("at least one true box is needed; photos without an object have no localization numbers")
        boxes = self.boxes if multi_contour else self.boxes[self.largest]
        best = np.zeros(len(boxes))
        for box in truth:  # one by one: noisy maps have hundreds of thousands of boxes over all levels
            np.maximum(best, iou(boxes, box[None])[:, 0], out=best)
        per_level = np.maximum.reduceat(best, self.starts) if multi_contour else best
        return np.asarray(per_level[self.level_of_tau], dtype=np.float64)


def tau_grid(thresholds: int = 1000) -> NDArray[np.float64]:
    """The protocol's thresholds ``arange(0, 1, 1 / thresholds)``.

    Raises:
        ProtocolError: ``thresholds`` is not positive.
    """
    if thresholds < 1:
        raise ProtocolError(f"thresholds must be at least 1, not {thresholds}")
    return np.arange(0, 1, 1 / thresholds)[:thresholds]  # rounding may add one at the end


def boxes_at_thresholds(score_map: ArrayLike, thresholds: int = 1000) -> BoxLevels:
    """The boxes of a score map at every threshold of the grid.

    Compute them once where one map is compared with many photos' boxes, as with the centred Gaussian.

    Args:
        score_map: ``(H, W)`` in [0, 1].
        thresholds: length of the grid; the protocol's is 1000.

    Raises:
        ProtocolError: the map is not two-dimensional, not finite or leaves [0, 1].
    """
    levels = quantise(score_map)
    taus = tau_grid(thresholds)
    cuts, level_of_tau = np.unique((taus * int(levels.max())).astype(np.int64), return_inverse=True)
    boxes, largest, starts, total = [], [], [], 0
    for cut in cuts:
        found, index = _boxes_above(levels, int(cut))
        starts.append(total)
        largest.append(total + index)
        boxes.append(found)
        total += len(found)
    return BoxLevels(
        taus=taus,
        level_of_tau=level_of_tau.reshape(-1).astype(np.int64),
        boxes=np.concatenate(boxes).astype(np.float64),
        starts=np.array(starts, np.int64),
        largest=np.array(largest, np.int64),
        shape=(levels.shape[0], levels.shape[1]),
    )


def best_iou_curve(
    score_map: ArrayLike, boxes: ArrayLike, *, multi_contour: bool, thresholds: int = 1000
) -> NDArray[np.float64]:
    """``(T,)`` best inclusive IoU over predicted x true boxes at each of ``thresholds`` thresholds in [0, 1).

    Args:
        score_map: ``(H, W)`` in [0, 1].
        boxes: true boxes ``(K, 4)``, K > 0, ``x0 y0 x1 y1`` in the map's pixels; see :func:`to_frame`.
        multi_contour: True for MaxBoxAccV2 (a box per contour), False for MaxBoxAcc (the largest contour's).
        thresholds: length of the grid; the protocol's is 1000.

    Raises:
        ProtocolError: the map or the boxes are not what the protocol accepts.
    """
    return boxes_at_thresholds(score_map, thresholds).best_iou(boxes, multi_contour=multi_contour)


def iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """``(N, M)`` inclusive IoU of boxes ``(N, 4)`` and ``(M, 4)``: widths, heights and intersections count one more.

    Raises:
        ProtocolError: an array does not hold boxes.
    """
    a, b = checked_boxes(first)[:, None, :], checked_boxes(second)[None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2] + 1).prod(axis=-1) + (b[..., 2:] - b[..., :2] + 1).prod(axis=-1) - shared
    return np.asarray(shared / union, dtype=np.float64)


def to_frame(boxes: ArrayLike, size: Sequence[int], frame: int = FRAME) -> NDArray[np.int64]:
    """Boxes in a photo's pixels as boxes in the square frame of the protocol: ``int(coordinate * frame / size)``.

    Args:
        boxes: ``(K, 4)``, ``x0 y0 x1 y1`` in pixels of a photo of this size.
        size: width and height of the photo that the boxes were drawn on.
        frame: side of the square frame.

    Returns:
        ``(K, 4) int64``, not clamped: a box that ends at the photo's edge ends at ``frame``.

    Raises:
        ProtocolError: not boxes, or a size that is not positive.
    """
    width, height = size
    if not (width > 0 and height > 0):
        raise ProtocolError(f"a photo's width and height are positive, not {width}x{height}")
    scaled = checked_boxes(boxes) * frame / np.array([width, height, width, height], np.float64)
    return np.trunc(scaled).astype(np.int64)


def checked_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Boxes as ``(K, 4) float64``.

    Raises:
        ProtocolError: another shape, values that are not finite, or an end before its start.
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


def _boxes_above(levels: NDArray[np.uint8], cut: int) -> tuple[NDArray[Any], int]:
    """Inclusive boxes ``(M, 4)`` of the contours of ``levels > cut``, hole borders too, and the index of the largest."""
    height, width = levels.shape
    # RETR_TREE although the hierarchy is not used: the order of the contours decides which of equal areas is the largest
    contours, _ = cv2.findContours((levels > cut).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) == 0:
        return np.zeros((1, 4)), 0
    found = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64)
    found[:, 2] = np.minimum(found[:, 0] + found[:, 2], width - 1)
    found[:, 3] = np.minimum(found[:, 1] + found[:, 3], height - 1)
    return found, int(np.argmax([cv2.contourArea(contour) for contour in contours]))
