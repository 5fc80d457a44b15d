"""Calibrated scores of boxes: the chance that a box is right, and which boxes are worth keeping.

In: the mean of the score map over a box's component, which ranks boxes and has no other meaning. Out: the chance that the box
has an IoU of 0.5 or more with an object, as measured on a run's validation photos (Platt scaling: a sigmoid with two
parameters). Both rank boxes in the same order.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.scoremaps.levels import boxes_from_map

__all__ = ["Calibration", "ScoreThresholds", "logit", "scored_boxes", "ungated"]

_MARGIN = 1e-4  # of a score from 0 and 1, whose logits are infinite; the report's page uses it, too
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ScoreThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest chances at which boxes are worth keeping.

    Attributes:
        typical: the one with the highest F1 on validation.
        cautious: the one from which on 95% of validation's boxes are right by their chances; 1 if no chance is that safe.
    """

    typical: _Fraction
    cautious: _Fraction


class Calibration(ScoreThresholds, frozen=True, kw_only=True):
    """From the mean of the score map over a box to the chance that the box is right.

    Attributes:
        slope, offset: the chance is the sigmoid of ``slope * logit(mean) + offset``.
        gate: a photo whose best box has a lower chance shows nothing: hardly any validation photo with a right box lay below.
        typical, cautious: thresholds for all classes.
        classes: thresholds of the classes that had enough boxes in validation for their own.

    >>> calibration = Calibration(slope=2.0, offset=-2.0, gate=0.1, typical=0.3, cautious=0.7)
    >>> calibration.chance(0.9).round(3).tolist(), round(calibration.mean(0.916), 2)
    (0.916, 0.9)
    """

    slope: Annotated[float, msgspec.Meta(gt=0, le=1e3)]
    offset: Annotated[float, msgspec.Meta(ge=-1e4, le=1e4)]
    gate: _Fraction
    classes: dict[str, ScoreThresholds] = msgspec.field(default_factory=dict)

    def chance(self, means: ArrayLike) -> NDArray[np.float64]:
        """Return the chance in [0, 1] that boxes are right, given means of the score map, of any shape."""
        return np.asarray(1 / (1 + np.exp(np.clip(-self.slope * logit(means) - self.offset, -700, 700))))

    def mean(self, chance: float) -> float:
        """Return the mean of the score map that has this chance; 0 keeps all boxes, 1 keeps none."""
        if not 0 < chance < 1:
            return chance
        return float(1 / (1 + np.exp(np.clip((self.offset - np.log(chance / (1 - chance))) / self.slope, -700, 700))))

    def of(self, label: str) -> ScoreThresholds:
        """Return the thresholds of a class."""
        return self.classes.get(label, self)


def logit(values: ArrayLike) -> NDArray[np.float64]:
    """Return ``log(p / (1 - p))`` of values in [0, 1], clipped slightly away from both ends."""
    inside = np.clip(np.asarray(values, np.float64), _MARGIN, 1 - _MARGIN)
    return np.asarray(np.log(inside / (1 - inside)))


def ungated(calibration: Calibration | None) -> Calibration | None:
    """Return the calibration without its gate, for a person who asks for boxes of any score."""
    return None if calibration is None else msgspec.structs.replace(calibration, gate=0.0)


def scored_boxes(
    score_map: ArrayLike, threshold: float, calibration: Calibration | None, *, min_score: float, **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Find the objects of a score map as :func:`~dips.scoremaps.levels.boxes_from_map` does, with chances as their scores.

    Without a calibration, the scores are means of the map. A map whose best box lies below the calibration's gate has none.

    Args:
        min_score: lowest score of a box, on the same scale as the scores.
        options: ``min_area`` and ``max_boxes``.
    """
    if calibration is None:
        return boxes_from_map(score_map, threshold, min_score=min_score, **options)
    boxes, means, regions = boxes_from_map(score_map, threshold, **options)
    scores = calibration.chance(means).astype(np.float32)
    count = int((scores >= np.float32(min_score)).sum()) if len(scores) and scores[0] >= np.float32(calibration.gate) else 0
    return boxes[:count], scores[:count], np.where(regions <= count, regions, np.uint16(0))
