"""The kind of error of a box: the dissection from the paper's supplement, exclusive and in a fixed order.

In: the box of the largest contour at one threshold, the ground-truth boxes and the classes. Out: one of :data:`KINDS`. One
threshold is used for the whole split; the best one of each photo would hide the errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import checked_boxes, overlap

__all__ = ["KINDS", "error_kinds"]

KINDS = ("class_wrong", "correct", "several_objects", "part", "more", "other")
"""Kinds of errors, in the order in which they are tested:

- ``class_wrong``: the predicted class is not the true one (not tested if a class is unknown);
- ``correct``: IoU above 0.5;
- ``several_objects``: more than 0.3 of each of several ground-truth boxes lies inside the predicted one;
- ``part``: more than half of the predicted box lies inside the true one;
- ``more``: at least 0.7 of the ground-truth box lies inside the predicted one;
- ``other``.
"""


def error_kinds(predicted: ArrayLike, true_boxes: ArrayLike) -> NDArray[np.int8]:
    """Return the kind of error of each of several alternative boxes of one photo, assuming that its class is right.

    >>> KINDS[error_kinds([[0, 0, 9, 9]], [[0, 0, 9, 8]])[0]]
    'correct'

    Args:
        predicted: ``(N, 4)`` inclusive boxes.
        true_boxes: ``(K, 4)``, K > 0. ``correct``, ``part`` and ``more`` use the one with the best IoU.

    Returns:
        ``(N,)`` indices into :data:`KINDS`.

    Raises:
        ProtocolError: there is no ground-truth box, or an array does not contain boxes.
    """
    ground_truth = checked_boxes(true_boxes)
    if len(ground_truth) == 0:
        raise ProtocolError("errors are dissected on photos with at least one ground-truth box")
    shared, area, true_area = overlap(checked_boxes(predicted).T[:, :, None], ground_truth.T[:, None, :])
    iou = shared / (area + true_area - shared)
    best = iou.argmax(axis=1)[:, None]

    def at_best(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.take_along_axis(values, best, axis=1)[:, 0]

    tests = [
        at_best(iou) > 0.5,
        (shared / true_area > 0.3).sum(axis=1) > 1,
        at_best(shared / area) > 0.5,
        at_best(shared / true_area) >= 0.7,
    ]
    return np.select(tests, [1, 2, 3, 4], 5).astype(np.int8)
