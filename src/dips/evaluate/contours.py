"""Boxes of a score map by OpenCV's contours, threshold by threshold: the protocol as originally defined.

In: an 8-bit map and the cuts to process. Out: the same as :mod:`dips.evaluate.trees`, much more slowly. It is used if numba is
not installed, and as an independent reference in tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["contour_boxes"]

Ints = NDArray[np.int32]


def contour_boxes(levels: NDArray[np.uint8], cuts: Iterable[int]) -> tuple[Ints, Ints, Ints]:
    """Return the inclusive boxes of the contours of ``levels > cut``, including hole borders.

    Args:
        levels: ``(H, W) uint8``, not all zero.
        cuts: each below the maximum of ``levels``.

    Returns:
        As for :func:`dips.evaluate.trees.tree_boxes`; each range is a single cut, and the other rows of ``largest`` are 0.
    """
    boxes, ranges = [], []
    largest = np.zeros((int(levels.max()), 4), np.int32)
    for cut in cuts:
        # RETR_TREE although the hierarchy is unused: the order of the contours decides which of equal areas is the largest
        contours, _ = cv2.findContours((levels > cut).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        cut_boxes = np.array([_ends(cv2.boundingRect(contour)) for contour in contours], np.int32)
        largest[cut] = cut_boxes[int(np.argmax([cv2.contourArea(contour) for contour in contours]))]
        boxes.append(cut_boxes)
        ranges.append(np.full((len(cut_boxes), 2), cut, np.int32))
    return np.concatenate(boxes), np.concatenate(ranges), largest


def _ends(rectangle: Any) -> tuple[int, int, int, int]:
    x, y, width, height = rectangle
    return x, y, x + width - 1, y + height - 1
