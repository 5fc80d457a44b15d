"""Find photos whose best box scores far below those of other photos: a sign, without true boxes, of a photo of another kind.

A model gives similar scores to the boxes of photos like those it was trained on. Unless a background class rules it out, the
model also finds something in other photos, but with a lower score. In: the scores of each photo's boxes. Out: a limit, and a
line for the user. Memory does not grow with the number of photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dips.scoremaps.calibration import Calibration
from dips.system.console import counted

__all__ = ["LEAST_PHOTOS", "LowScores"]

LEAST_PHOTOS = 10
"""With fewer photos that have a box, no limit is computed."""

# Chosen so that photos of something else, mixed with photos of the model's kind, lie below, and the latter alone do not.
# A limit for each predicted class finds fewer: photos of something else are spread over the classes, or are most of one.
_GAP, _SPREADS = 0.2, 8
_LEVELS = 1000  # scores are counted to this precision
_NAMED = 3
_MOST = 0.75  # of the photos of a class


class LowScores:
    """The distribution of the scores of many photos' boxes, of which only counts are stored.

    >>> scores = LowScores()
    >>> for number in range(20):
    ...     scores.add([0.9 + number / 1000], f"{number}.jpg")
    >>> scores.limit, scores.remark()
    (None, '')
    >>> scores.add([0.4, 0.3], "cat.jpg")
    >>> scores.limit
    0.71
    """

    def __init__(self) -> None:
        self._photos = np.zeros(_LEVELS + 1, np.int64)  # by their best score
        self._boxes = np.zeros(_LEVELS + 1, np.int64)  # by their own score
        self._boxes_of = np.zeros(_LEVELS + 1, np.int64)  # by the best score of their photo
        self._classes: dict[str, NDArray[np.int64]] = {}  # as _photos, by the predicted class
        self._lowest: list[tuple[float, str]] = []
        self._calibration: Calibration | None = None

    def add(self, scores: Sequence[float], name: str = "", *, label: str = "", calibration: Calibration | None = None) -> None:
        """Count a photo with its boxes' scores, in [0, 1], and its predicted class; one without boxes is ignored.

        Probabilities, which cluster near 1, are compared by the means of the score map that ``calibration`` derived them from.
        """
        if not scores:
            return
        self._calibration = calibration
        scores = scores if calibration is None else [calibration.mean(score) for score in scores]
        best = max(scores)
        self._photos[_level(best)] += 1
        self._classes.setdefault(label, np.zeros(_LEVELS + 1, np.int64))[_level(best)] += 1
        self._boxes_of[_level(best)] += len(scores)
        for score in scores:
            self._boxes[_level(score)] += 1
        self._lowest = sorted([*self._lowest, (best, name)])[:_NAMED]

    @property
    def limit(self) -> float | None:
        """The score below which a photo's best score is far below those of the others; None if there is no such photo."""
        limit = self._limit()
        return None if limit is None else self._shown(limit)

    def _limit(self) -> float | None:
        """Return the limit as a mean of the score map, rounded to hundredths."""
        photos = int(self._photos.sum())
        if photos < LEAST_PHOTOS:
            return None
        middle, upper = self._quantile(0.5), self._quantile(0.75)  # low outliers affect these the least
        limit = round(middle - max(_GAP, _SPREADS * (upper - middle)), 2)
        return limit if limit > 0 and self._photos[: _level(limit)].any() else None

    def classes(self) -> str:
        """Describe the classes with most of their photos below the limit; empty if no class of ten or more photos has.

        Such a class may score lower than the others, or photos of something else may be predicted as that class.
        """
        below = _level(self._limit() or 0.0)
        counts = {label: (int(photos[:below].sum()), int(photos.sum())) for label, photos in self._classes.items()}
        low = [(label, *count) for label, count in counts.items() if count[1] >= LEAST_PHOTOS and count[0] >= _MOST * count[1]]
        if not low:
            return ""
        shares = ", ".join(f"{few} of {of} of class {label}" for label, few, of in sorted(low))
        one = len(low) == 1
        return (
            f"among them {shares}; perhaps {'that class scores' if one else 'those classes score'} lower as a whole, and the "
            f"limit would leave {'it' if one else 'them'} out"
        )

    def remark(self, noun: str = "photo") -> str:
        """Return a line that names photos below the limit, and the option that excludes their boxes; empty if there are none.

        Args:
            noun: the word for a photo.
        """
        limit = self._limit()
        if limit is None:
            return ""
        shown = f"{self._shown(limit):g}"
        below = _level(limit)
        low, own = int(self._photos[:below].sum()), int(self._boxes_of[:below].sum())
        others = int(self._boxes[:below].sum()) - own
        names = ", ".join(name for score, name in self._lowest if _level(score) < below)
        names += f" and {low - _NAMED} more" if low > _NAMED else ""
        return (
            f"{counted(low, noun, 'has')} no box that scores {shown} or more, far below the other {noun}s (about "
            f"{self._shown(self._quantile(0.5)):.2f}): {names}. Look at them first; where they show no "
            f"object, --min-score {shown} leaves out their {counted(own, 'box')}"
            + (f", and {counted(others, 'box')} of other {noun}s" if others else "")
            + (f" ({classes})" if (classes := self.classes()) else "")
        )

    def _shown(self, mean: float) -> float:
        """Return the score that is written to files for a mean of the score map."""
        return mean if self._calibration is None else float(f"{float(self._calibration.chance(mean)):.3g}")

    def _quantile(self, share: float) -> float:
        """Return the best score that this share of the photos does not exceed (a quantile)."""
        total = np.cumsum(self._photos)
        return int(np.searchsorted(total, share * total[-1])) / _LEVELS


def _level(score: float) -> int:
    return int(score * _LEVELS + 1e-6)  # 0.29 is level 290, though the product is slightly below
