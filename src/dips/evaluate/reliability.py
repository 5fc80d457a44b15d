"""Whether a box's score is the probability that the box is right: reliability curve and expected calibration error.

In: scores of boxes, and which of them are right. Out: counts in ten bins of equal width, and of the boxes above given scores.
Memory does not grow with the number of boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BINS", "Reliability", "wilson"]

BINS = 10
_SIGMAS = 1.96  # 95%


def wilson(right: ArrayLike, count: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds of Wilson's 95% interval of shares ``right`` ``(N,)``, each of ``count`` ``(N,)`` > 0 boxes.

    Unlike mean and standard deviation, it is meaningful for a single box, and if all or none are right.

    >>> low, high = wilson([1.0, 0.5], [1, 100])
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.21, 0.4], [1.0, 0.6])
    """
    share, boxes = np.asarray(right, np.float64), np.asarray(count, np.float64)
    extra = _SIGMAS**2 / boxes
    middle = (share + extra / 2) / (1 + extra)
    reach = _SIGMAS * np.sqrt(share * (1 - share) / boxes + extra / (4 * boxes)) / (1 + extra)
    return np.minimum(middle - reach, share).clip(0), np.maximum(middle + reach, share).clip(None, 1)


class Reliability:
    """Counts boxes by score.

    Args:
        limits: score limits by name; boxes at or above each are also counted.

    >>> reliability = Reliability({"cautious": 0.5})
    >>> reliability.add([0.95, 0.85, 0.25], [True, True, False])
    >>> round(reliability.ece, 3), reliability.record(objects=4)["cautious"]
    (0.15, {'score': 0.5, 'boxes': 2, 'precision': 100.0, 'recall': 50.0})
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)
        self._kept = {name: np.zeros(2, np.int64) for name in limits}  # boxes, and correct boxes
        self._boxes = np.zeros(BINS, np.int64)
        self._right = np.zeros(BINS, np.int64)
        self._scores = np.zeros(BINS)

    def add(self, scores: ArrayLike, right: ArrayLike) -> None:
        """Count boxes: scores ``(N,)`` in [0, 1], and whether each is right, ``(N,) bool``."""
        values, correct = np.asarray(scores, np.float64), np.asarray(right, np.bool_)
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        self._boxes += np.bincount(bins, minlength=BINS)
        self._right += np.bincount(bins[correct], minlength=BINS)
        self._scores += np.bincount(bins, weights=values, minlength=BINS)
        for name, limit in self._limits.items():
            self._kept[name] += [int((values >= limit).sum()), int((correct & (values >= limit)).sum())]

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]: the gap between mean score and share of right boxes, averaged over boxes."""
        return float(np.abs(self._scores - self._right).sum() / max(1, self._boxes.sum()))

    def curve(self) -> dict[str, NDArray[Any]]:
        """Return ``boxes``, mean ``score`` and the share that is ``right`` for each bin with boxes, in order."""
        filled = np.flatnonzero(self._boxes)
        boxes = self._boxes[filled]
        return {"boxes": boxes, "score": self._scores[filled] / boxes, "right": self._right[filled] / boxes}

    def record(self, *, objects: int) -> dict[str, Any]:
        """Return the numbers for JSON: ``ece``, the ``curve``, and per limit score, boxes, precision and recall in percent.

        Args:
            objects: number of ground-truth objects.
        """
        curve = {name: [round(float(value), 6) for value in values] for name, values in self.curve().items()}
        limits = {
            name: {
                "score": self._limits[name],
                "boxes": int(boxes),
                "precision": 100 * int(right) / max(1, int(boxes)),
                "recall": 100 * int(right) / max(1, objects),
            }
            for name, (boxes, right) in self._kept.items()
        }
        return {"ece": self.ece, "curve": curve, **limits}
