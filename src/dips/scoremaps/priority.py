"""Which photos to review first: how easily the object of a score map becomes another.

In: a score map in [0, 1] and the threshold that its object was found with. Out: a number in [0, 1]. NumPy only.
"""

from __future__ import annotations

import math

import numpy as np

from dips.types import FloatArray

__all__ = ["LOG_ODDS", "instability"]

LOG_ODDS = 0.5
"""How far the nearby thresholds are from the object's, in log odds of the score: this is 1 in the networks' logits, which are
tempered before they become scores."""


def instability(score_map: FloatArray, threshold: float) -> float:
    """Return how much the foreground changes at nearby thresholds: 1 minus its mean IoU with the foreground at each of the two.

    Training learned at least as much from reviews of the photos with the highest values as from those of any other photos.

    Args:
        score_map: ``(H, W)`` in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1]; foreground is strictly above it.

    Returns:
        A number in [0, 1]; 1 if there is no foreground, as an object was expected.

    >>> score_map = np.zeros((8, 8), np.float32)
    >>> score_map[2:6, 2:6] = 0.9
    >>> instability(score_map, 0.5)  # of a sharp object
    0.0
    >>> score_map[2:6, 6:8] = 0.4
    >>> round(instability(score_map, 0.5), 3)  # a lower threshold would add some pixels
    0.167
    """
    level = threshold * score_map.max()
    pixels = int(np.count_nonzero(score_map > level))
    if not pixels:
        return 1.0
    fewer, more = (int(np.count_nonzero(score_map > _moved(float(level), by))) for by in (LOG_ODDS, -LOG_ODDS))
    return 1 - (fewer / pixels + pixels / more) / 2  # the foregrounds are nested


def _moved(score: float, log_odds: float) -> float:
    odds = score * math.exp(log_odds)
    return odds / (1 - score + odds)
