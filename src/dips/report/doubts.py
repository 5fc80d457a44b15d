"""Find the photos to look at first, without any true box: what is suspicious about their predictions, in words and ranked.

In: the prediction for each photo, and its given class. Out: the kinds of doubt of each photo, and the photos in the order in
which a person should look at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dips.predict.low_scores import LEAST_PHOTOS, LowScores
from dips.scoremaps.calibration import Calibration
from dips.system.console import counted

__all__ = ["DOUBTS", "Predicted", "choose_doubtful", "doubts_of", "filling", "low_limit", "low_scores", "most_doubtful_first"]

FULL_SHARE = 0.8
UNSURE = 0.5
LOW_SHARE = 0.1
_FILLING = 0.5  # fraction of the photos that show an object

DOUBTS = {
    "class": ("another class", "the predicted class is not the one that the photo was given"),
    "far": ("far lower score", "its best box scores far below those of the other photos here"),
    "no_box": ("no box", "nothing was found, although the predicted class has an object"),
    "full": ("fills the photo", f"a box covers more than {FULL_SHARE:.0%} of the photo"),
    "unsure": ("unsure of the class", f"the probability of the predicted class is below {UNSURE}"),
    "low": ("low score", f"the best box is among the {LOW_SHARE:.0%} with the lowest scores here"),
}
"""Kinds of doubt, the most serious first: a short name, and the meaning."""

_WEIGHTS = {"class": 4, "far": 4, "no_box": 3, "full": 2, "unsure": 1, "low": 1}


class Predicted(NamedTuple):
    """The prediction for a photo; None for unknown values.

    Attributes:
        label: the given class, from its folder or a file; empty if unknown.
        predicted: the predicted class; empty if unknown.
        shows_nothing: whether the predicted class is the one without an object.
        probability: probability of the predicted class.
        boxes: number of boxes.
        score: score of the best box.
        share: fraction of the photo covered by the largest box.
        reviewed: whether a person reviewed it, so that nothing is in doubt, and its boxes say nothing about the model.
    """

    label: str = ""
    predicted: str = ""
    shows_nothing: bool = False
    probability: float | None = None
    boxes: int | None = None
    score: float | None = None
    share: float | None = None
    reviewed: bool = False


def doubts_of(photos: Sequence[Predicted], calibration: Calibration | None = None) -> list[tuple[str, ...]]:
    """Return the kinds of doubt (keys of :data:`DOUBTS`) of each photo, given the ``calibration`` of the scores.

    >>> doubts_of([Predicted("owl", "hawk", boxes=0), Predicted("owl", "owl", boxes=1, share=0.2)])
    [('class', 'no_box'), ()]
    """
    scores = sorted(photo.score for photo in photos if photo.score is not None and not photo.reviewed)
    low = scores[int(LOW_SHARE * len(scores))] if len(scores) >= LEAST_PHOTOS else 0.0
    far = low_limit(photos, calibration) or 0.0
    return [
        tuple(kind for kind, applies in zip(DOUBTS, _apply(photo, far, low), strict=True) if applies and not photo.reviewed)
        for photo in photos
    ]


def low_limit(photos: Sequence[Predicted], calibration: Calibration | None = None) -> float | None:
    """Return the score below which a photo's best score is far below the others, see :mod:`dips.predict.low_scores`."""
    return low_scores(photos, calibration).limit


def low_scores(photos: Sequence[Predicted], calibration: Calibration | None = None) -> LowScores:
    """Return the best scores of the photos that were not reviewed."""
    scores = LowScores()
    for photo in photos:
        if photo.score is not None and not photo.reviewed:
            scores.add([photo.score], label=photo.predicted, calibration=calibration)
    return scores


def filling(photos: Sequence[Predicted], background: str | None) -> str:
    """Return a warning if boxes fill most of the photos that show an object; empty otherwise.

    Args:
        background: name of the class without an object; None if there is none.

    >>> filling([Predicted("owl", "owl", boxes=1, share=0.95)] * 10, None).split(":")[0]
    'boxes cover more than 80% of the photo in 10 of 10 photos that show an object'
    """
    objects = [photo for photo in photos if not (photo.shows_nothing or photo.reviewed) and photo.boxes is not None]
    full = sum(photo.share is not None and photo.share > FULL_SHARE for photo in objects)
    if len(objects) < LEAST_PHOTOS or full <= _FILLING * len(objects):
        return ""
    return (
        f"boxes cover more than {FULL_SHARE:.0%} of the photo in {full} of {counted(len(objects), 'photo')} that show an "
        "object: either the objects fill their photos, or the map is inverted and marks what is around them. Look at the "
        "score maps in the report; at least 30 photos of the same places without the object, in a folder "
        f"{background or 'none'}/, teach what is background"
    )


def _apply(photo: Predicted, far: float, low: float) -> tuple[bool, ...]:
    """Return which of :data:`DOUBTS` apply; below ``far`` a score is far below the others, below ``low`` it is low."""
    return (
        bool(photo.label and photo.predicted) and photo.label != photo.predicted,
        photo.score is not None and photo.score < far,
        photo.boxes == 0 and not photo.shows_nothing,
        photo.share is not None and photo.share > FULL_SHARE,
        photo.probability is not None and photo.probability < UNSURE,
        photo.score is not None and far <= photo.score < low,
    )


def most_doubtful_first(photos: Sequence[Predicted], doubts: Sequence[Sequence[str]]) -> list[int]:
    """Return the photos' indices, the most serious doubts first; if equal, by ascending score with reviewed photos last."""

    def place(index: int) -> tuple[int, bool, float, int]:
        photo, score = photos[index], photos[index].score
        return -sum(_WEIGHTS[kind] for kind in doubts[index]), photo.reviewed, 1.0 if score is None else score, index

    return sorted(range(len(photos)), key=place)


def choose_doubtful(photos: Sequence[Predicted], count: int, calibration: Calibration | None = None) -> list[int]:
    """Choose the photos to show if no true box is known: doubtful ones, at most two thirds, and a sample of the others.

    Returns:
        Unique indices, the most doubtful ones first.

    >>> choose_doubtful([Predicted(), Predicted(boxes=0), Predicted(), Predicted()], 2)
    [1, 2]
    """
    doubts = doubts_of(photos, calibration)
    order = most_doubtful_first(photos, doubts)
    doubtful = sum(map(bool, doubts))
    first = min(doubtful, max(2 * count // 3, count - (len(photos) - doubtful)))
    others = sorted(order[doubtful:])  # there is room for all doubtful ones, or for none but these
    room = max(0, min(count - first, len(others)))
    return order[:first] + [others[int(at)] for at in (np.arange(room) + 0.5) * (len(others) / max(1, room))]
