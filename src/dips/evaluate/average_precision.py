"""Average precision of boxes with classes, per class, as computed by COCO's own evaluator (pycocotools).

In: boxes with scores and classes, and true boxes, of one photo at a time. Out: AP50 of each class, and AP, the mean over IoUs
from 0.5 to 0.95. A box takes the unmatched true box of its class with the highest IoU; precision is read at 101 values of
recall. For each box, only its score and the IoUs at which it is right are stored: ten bytes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.evaluate.detection import box_iou

__all__ = ["AveragePrecision", "ClassPrecision"]

_IOUS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST_BOXES = 100  # per class and photo, those with the highest scores


class ClassPrecision(NamedTuple):
    """The average precision of a class in percent, at IoU 0.5 and averaged over ten IoUs; and the number of true boxes, > 0."""

    ap50: float
    ap: float
    objects: int


@dataclass(slots=True)
class _Seen:
    """The counts of a class: true boxes, and for each predicted box its score and the IoUs at which it is right, as bits."""

    objects: int = 0
    scores: array[float] = field(default_factory=lambda: array("d"))
    right: array[int] = field(default_factory=lambda: array("H"))


class AveragePrecision:
    """Counts boxes of several classes.

    >>> precision = AveragePrecision()
    >>> precision.add([[0, 0, 4, 4], [8, 8, 12, 12]], [0.9, 0.8], [0, 1], [[0, 0, 4, 4], [8, 8, 12, 12]], [0, 0])
    >>> {label: round(found.ap50, 1) for label, found in precision.classes().items()}
    {0: 50.5}
    """

    def __init__(self) -> None:
        self._seen: defaultdict[int, _Seen] = defaultdict(_Seen)

    def add(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        labels: Sequence[int],
        true_boxes: ArrayLike,
        true_labels: Sequence[int],
    ) -> None:
        """Count one photo.

        Args:
            boxes, scores, labels: ``(N, 4)``, ``x0 y0 x1 y1``, end exclusive; ``(N,)``; and N classes.
            true_boxes, true_labels: ``(K, 4)`` and K classes.
        """
        found, true = (np.asarray(item, np.float64).reshape(-1, 4) for item in (boxes, true_boxes))
        certain, own, theirs = np.asarray(scores, np.float64), np.asarray(labels, np.int64), np.asarray(true_labels, np.int64)
        for label in sorted({*own.tolist(), *theirs.tolist()}):
            best_first = np.flatnonzero(own == label)
            best_first = best_first[np.argsort(-certain[best_first], kind="stable")][:_MOST_BOXES]
            seen = self._seen[label]
            seen.objects += int((theirs == label).sum())
            seen.scores.extend(certain[best_first].tolist())
            seen.right.extend(_right(box_iou(found[best_first], true[theirs == label])).tolist())

    def classes(self) -> dict[int, ClassPrecision]:
        """Return the precision of each class that has a true box, by label."""
        return {label: _precision(seen) for label, seen in sorted(self._seen.items()) if seen.objects}


def _right(overlaps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the IoUs at which boxes are right, as bits ``(N,)``, given overlaps with true boxes ``(N, K)``, best box first."""
    bits = np.zeros(len(overlaps), np.int64)
    if not overlaps.size:
        return bits
    for level, least in enumerate(_IOUS):
        free = overlaps.copy()
        for row in range(len(free)):
            # the last of equally good ones, like COCO's loop
            best = free.shape[1] - 1 - int(free[row, ::-1].argmax())
            if free[row, best] >= least - 1e-10:
                bits[row] |= 1 << level
                free[:, best] = -1
    return bits


def _precision(seen: _Seen) -> ClassPrecision:
    order = np.argsort(-np.asarray(seen.scores), kind="stable")
    right = np.asarray(seen.right, np.int64)[order]
    values = []
    for level in range(len(_IOUS)):
        hits = np.cumsum(right >> level & 1)
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        reached = np.searchsorted(hits / seen.objects, _RECALLS)  # where each recall is reached, if at all
        values.append(float(np.append(precision, 0)[reached].mean()))
    return ClassPrecision(100 * values[0], 100 * float(np.mean(values)), seen.objects)
