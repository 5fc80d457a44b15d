"""The metrics of a whole split as functions over iterables of maps; :class:`BoxAccumulator` does the same map by map.

In: score maps ``(H, W)`` in [0, 1] and as many arrays of ground-truth boxes ``(K, 4)`` in the maps' own pixels; any iterables,
which are read once. Out: percent. Photos without ground-truth boxes are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dips.errors import ProtocolError
from dips.evaluate.accumulate import BoxAccumulator
from dips.evaluate.boxes import BoxLevels
from dips.evaluate.result import BoxResult

__all__ = ["dissect_errors", "max_box_acc", "max_box_acc_v2", "top_k_localization"]

Maps = Iterable[ArrayLike | BoxLevels]
Boxes = Iterable[ArrayLike]


def max_box_acc(maps: Maps, boxes: Boxes, *, thresholds: int = 1000) -> float:
    """Return MaxBoxAcc in percent: IoU of at least 0.5 with the largest contour's box, at the best threshold for all photos.

    >>> max_box_acc([np.ones((8, 8))], [[[0, 0, 7, 7]]])
    100.0

    Raises:
        ProtocolError: numbers differ, no photo has a ground-truth box, or a map or a box is not what the protocol accepts.
    """
    return _result(maps, boxes, thresholds).max_box_acc


def max_box_acc_v2(maps: Maps, boxes: Boxes, *, thresholds: int = 1000) -> float:
    """Return MaxBoxAccV2 in percent: any box of the map; mean over the IoUs 0.3, 0.5 and 0.7, each at its own best threshold.

    Raises:
        ProtocolError: as for :func:`max_box_acc`.
    """
    return _result(maps, boxes, thresholds).max_box_acc_v2


def top_k_localization(
    maps: Maps,
    boxes: Boxes,
    labels: Iterable[int],
    predicted: Iterable[Sequence[int] | int],
    *,
    k: int = 1,
    thresholds: int = 1000,
) -> float:
    """Return top-1 or top-5 localization in percent: GT-known at its best threshold, and the label among the first ``k``.

    Args:
        labels: true class of each photo.
        predicted: classes of each photo in descending order of probability; for ``k=1`` the first is enough.
        k: 1 or 5.

    Raises:
        ProtocolError: as for :func:`max_box_acc`, or another ``k``, or fewer than five predictions for ``k=5``.
    """
    if k not in (1, 5):
        raise ProtocolError(f"top-k localization is defined for k = 1 and k = 5, not {k}")
    result = _result(maps, boxes, thresholds, labels, predicted)
    if k == 5 and np.isnan(result.top5_loc):
        raise ProtocolError("top-5 localization needs five predicted classes of each photo")
    return result.top1_loc if k == 1 else result.top5_loc


def dissect_errors(
    maps: Maps,
    boxes: Boxes,
    *,
    tau: float,
    labels: Iterable[int] | None = None,
    predicted: Iterable[Sequence[int] | int] | None = None,
    thresholds: int = 1000,
) -> dict[str, float]:
    """Return the percentage of photos by kind of error (:data:`~dips.evaluate.dissect.KINDS`) of the largest contour's box.

    Args:
        tau: one threshold for all photos, preferably chosen on validation; the nearest one of the grid is used.
        labels, predicted: true class, and predicted class or classes, of each photo; both or neither.

    Returns:
        Percentages by name, which add up to 100. ``class_wrong`` is included only with classes.

    Raises:
        ProtocolError: as for :func:`max_box_acc`, or labels without predictions, or a threshold outside [0, 1].
    """
    if (labels is None) != (predicted is None):
        raise ProtocolError("wrong classes are found by comparing labels with predicted; give both or neither")
    percent = _result(maps, boxes, thresholds, labels, predicted).dissected(tau)
    assert percent is not None  # there are ground-truth boxes
    return percent


def _result(
    maps: Maps,
    boxes: Boxes,
    thresholds: int,
    labels: Iterable[int] | None = None,
    predicted: Iterable[Sequence[int] | int] | None = None,
) -> BoxResult:
    accumulator = BoxAccumulator(thresholds, frame=None)
    try:
        if labels is None or predicted is None:
            for score_map, ground_truth in zip(maps, boxes, strict=True):
                accumulator.add(score_map, ground_truth)
        else:
            for score_map, ground_truth, label, classes in zip(maps, boxes, labels, predicted, strict=True):
                accumulator.add(score_map, ground_truth, label=label, predicted=np.atleast_1d(classes))
    except ValueError as error:
        raise ProtocolError("give ground-truth boxes, and classes if any, for each map: as many as there are maps") from error
    result = accumulator.result()
    if result.n_boxed == 0:
        raise ProtocolError("no photo has a ground-truth box; there is nothing to localize")
    return result
