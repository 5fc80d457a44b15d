"""Precision, recall and F1 over *all* boxes: the quality of the boxes of ``dips predict``; MaxBoxAcc needs only one good box.

In: score maps and ground-truth boxes of one photo at a time. Out: the three numbers at every threshold. Matching is greedy: in
descending order of score, each box takes the unmatched ground-truth box with the highest IoU, if it is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.evaluate.reliability import Reliability
from dips.scoremaps.calibration import Calibration, scored_boxes

__all__ = ["DetectionCounter", "box_iou", "match_boxes"]

_MIN_IOU = 0.5


class DetectionCounter:
    """Counts boxes that match a ground-truth box, those that do not, and unmatched ground-truth boxes.

    Args:
        taus: thresholds, fractions of a map's maximum.
        min_area, min_score, max_boxes: as ``predict.min_area``, ``predict.min_score`` and ``predict.max_boxes``.
        calibration: converts scores to probabilities.
        reliability: counts the boxes of the first threshold by score.

    >>> counter = DetectionCounter([0.5], min_area=0, min_score=0, max_boxes=10)
    >>> score_map = np.zeros((8, 8))
    >>> score_map[2:6, 2:6] = 1
    >>> counter.add(score_map, [[2, 2, 6, 6], [0, 0, 1, 1]])
    >>> [round(float(values[0]), 2) for values in (counter.precision, counter.recall, counter.f1)]
    [1.0, 0.5, 0.67]
    """

    def __init__(
        self,
        taus: Sequence[float],
        *,
        min_area: float,
        min_score: float,
        max_boxes: int,
        calibration: Calibration | None = None,
        reliability: Reliability | None = None,
    ) -> None:
        self._calibration, self._reliability = calibration, reliability
        self.taus = np.asarray(taus, np.float64)
        self._options = {"min_area": min_area, "max_boxes": max_boxes, "min_score": min_score}
        self._right = np.zeros(len(self.taus), np.int64)
        self._boxes = np.zeros(len(self.taus), np.int64)
        self._objects = 0

    def add(
        self,
        score_map: ArrayLike | None,
        boxes: ArrayLike,
        *,
        on_found: Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]], None] | None = None,
    ) -> None:
        """Count one photo.

        Args:
            score_map: ``(H, W)`` in [0, 1]; None if the photo is predicted to show nothing.
            boxes: ground truth ``(K, 4)``, ``x0 y0 x1 y1`` in the map's pixels, end exclusive.
            on_found: called with the boxes of the first threshold, their scores and regions; without a map there are none.
        """
        true = np.asarray(boxes, np.float64).reshape(-1, 4)
        self._objects += len(true)
        if score_map is None:
            if on_found is not None:
                on_found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((1, 1), np.uint16))
            return
        for index, tau in enumerate(self.taus):
            found, scores, regions = scored_boxes(score_map, float(tau), self._calibration, **self._options)
            pairs = match_boxes(found, true)
            self._boxes[index] += len(found)
            self._right[index] += len(pairs)
            if index == 0 and on_found is not None:
                on_found(found, scores, regions)
            if index == 0 and self._reliability is not None:
                self._reliability.add(scores, np.isin(np.arange(len(found)), [position for position, _ in pairs]))

    @property
    def objects(self) -> int:
        """Number of ground-truth boxes."""
        return self._objects

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Number of boxes at each threshold, ``(T,)``."""
        return self._boxes

    @property
    def precision(self) -> NDArray[np.float64]:
        """Fraction of the boxes that are correct, ``(T,)``; 0 where there are none."""
        return np.asarray(self._right / np.maximum(1, self._boxes))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Fraction of the objects that are found, ``(T,)``."""
        return self._right / max(1, self._objects)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of both, ``(T,)``."""
        return np.asarray(2 * self._right / np.maximum(1, self._boxes + self._objects))

    @property
    def best_tau(self) -> float:
        """The threshold with the highest F1; if several are equal, the middle one."""
        best = np.flatnonzero(self.f1 == self.f1.max())
        return float(self.taus[best[len(best) // 2]])


def match_boxes(boxes: ArrayLike, true: ArrayLike) -> list[tuple[int, int]]:
    """Return pairs of positions: those of a box and of the ground-truth box that it matches.

    Args:
        boxes: ``(N, 4)``, by descending score.
        true: ``(K, 4)``; both ``x0 y0 x1 y1``, end exclusive.

    >>> match_boxes([[0, 0, 4, 4], [0, 0, 4, 5]], [[0, 0, 4, 4]])
    [(0, 0)]
    """
    overlaps = box_iou(np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(true, np.float64).reshape(-1, 4))
    pairs: list[tuple[int, int]] = []
    for position in range(len(overlaps)):
        if not overlaps.shape[1]:
            break
        best = int(overlaps[position].argmax())
        if overlaps[position, best] >= _MIN_IOU:
            pairs.append((position, best))
            overlaps[:, best] = 0
    return pairs


def box_iou(boxes: NDArray[Any], true: NDArray[Any]) -> NDArray[np.float64]:
    """Return the IoU ``(N, K)`` of boxes ``(N, 4)`` with boxes ``(K, 4)``, all ``x0 y0 x1 y1``, end exclusive."""
    low = np.maximum(boxes[:, None, :2], true[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], true[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(item[:, 2:] - item[:, :2], 0, None).prod(1) for item in (boxes, true)]
    return np.asarray(common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9))
