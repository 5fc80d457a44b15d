"""Calibrate the scores of boxes on validation photos whose boxes are known, from the data or from a review.

In: for each photo, the boxes that would be predicted, and whether they are right. Out: a
:class:`~dips.scoremaps.calibration.Calibration`, or none if there are too few boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.evaluate.detection import match_boxes
from dips.scoremaps.calibration import Calibration, ScoreThresholds, logit
from dips.scoremaps.levels import boxes_from_map

__all__ = ["LEAST_BOXES", "JudgedPhoto", "calibrate", "judge"]

LEAST_BOXES = 20
"""Minimum number of boxes, both for a calibration and for thresholds of a single class."""

_CAUTIOUS_PRECISION = 0.95
_GATE_SHARE = 0.01  # of the photos whose best box is right, which may lie below twice the gate


@dataclass(frozen=True)
class JudgedPhoto:
    """A photo whose objects are known, and what was found in it.

    Attributes:
        label: name of its class; empty if it is unknown, or if there are several.
        objects: number of objects that it shows.
        means: ``(N,)`` means of the score map over each box, descending.
        right: ``(N,) bool``, whether the box has an IoU of 0.5 with an object that no better box matches.
    """

    label: str
    objects: int
    means: NDArray[np.float32]
    right: NDArray[np.bool_]


def judge(
    label: str, score_map: ArrayLike, true: ArrayLike, threshold: float, *, min_area: float, max_boxes: int
) -> JudgedPhoto:
    """Find the boxes of a score map and compare them with the true ones ``(K, 4)``, in the map's pixels."""
    boxes, means, _ = boxes_from_map(score_map, threshold, min_area=min_area, max_boxes=max_boxes)
    right = np.zeros(len(boxes), np.bool_)
    right[[position for position, _ in match_boxes(boxes, true)]] = True
    return JudgedPhoto(label, len(np.asarray(true).reshape(-1, 4)), means, right)


def calibrate(photos: Sequence[JudgedPhoto]) -> Calibration | None:
    """Fit a calibration; return None if there are fewer than :data:`LEAST_BOXES` boxes, or if higher scores are no better.

    Photos of the class without object contribute all boxes that their maps yield: in tiles, no class would suppress these.
    """
    means, right, objects = _joined(photos)
    if len(means) < LEAST_BOXES or not right.any():
        return None
    slope, offset = _platt(means, right)
    if slope <= 0:
        return None
    unlimited = Calibration(slope=slope, offset=offset, gate=0.0, typical=0.0, cautious=1.0)
    best = [unlimited.chance(photo.means[0]) for photo in photos if len(photo.means) and photo.right[0]]
    every = _thresholds(unlimited.chance(means), right, objects)
    classes = {}
    for label in sorted({photo.label for photo in photos} - {""}):
        own_means, own_right, own_objects = _joined([photo for photo in photos if photo.label == label])
        if own_right.sum() >= LEAST_BOXES:
            classes[label] = _thresholds(unlimited.chance(own_means), own_right, own_objects)
    return Calibration(
        slope=slope,
        offset=offset,
        gate=float(np.quantile(best, _GATE_SHARE)) / 2 if best else 0.0,
        typical=every.typical,
        cautious=every.cautious,
        classes=classes if len({photo.label for photo in photos if photo.objects}) > 1 else {},  # a lone class needs none
    )


def _joined(photos: Sequence[JudgedPhoto]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    means = np.concatenate([np.zeros(0), *(photo.means for photo in photos)])
    right = np.concatenate([np.zeros(0, np.bool_), *(photo.right for photo in photos)])
    return means, right, sum(photo.objects for photo in photos)


def _platt(means: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of Platt scaling, whose targets keep a few boxes from implying certainty."""
    from sklearn.linear_model import LogisticRegression

    values = logit(means)
    wrong = len(right) - right.sum()
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / (wrong + 2))
    model = LogisticRegression(C=1e6, max_iter=1000)
    rows = np.concatenate([values, values])[:, None]
    kinds = np.repeat([True, False], len(values))
    model.fit(rows, kinds, sample_weight=np.concatenate([targets, 1 - targets]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _thresholds(chances: NDArray[np.float64], right: NDArray[np.bool_], objects: int) -> ScoreThresholds:
    order = np.argsort(-chances, kind="stable")
    chances, kept = chances[order], np.arange(1, len(chances) + 1)
    found = right[order].cumsum()
    last = np.append(chances[1:] < chances[:-1], True)  # boxes of the same score are kept together
    f1 = np.where(last, 2 * found / (kept + objects), 0)
    # by chances, not by counts: otherwise a few boxes near the top that are judged wrong would decide (docs/results.md)
    safe = np.flatnonzero(last & (chances.cumsum() >= _CAUTIOUS_PRECISION * kept))
    typical = chances[f1.argmax()]
    return ScoreThresholds(
        typical=_down(typical),
        cautious=max(_down(typical), _down(chances[safe[-1]])) if len(safe) else 1.0,
    )


def _down(chance: float) -> float:
    """Return the chance rounded down to thousandths, so that it reaches this threshold itself."""
    return float(np.floor(1000 * chance) / 1000)
