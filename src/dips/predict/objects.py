"""From a score map to the objects of a photo, again and again with other thresholds; no network runs.

In: a :class:`~dips.predict.prediction.Prediction` with its score map. Out: the same with the boxes and regions that a threshold
and a least
area give (:func:`dips.scoremaps.levels.boxes_from_map`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from dips.predict.prediction import Prediction
from dips.scoremaps.levels import boxes_from_map, stretched

__all__ = ["with_objects"]

_PIXELS = 12_000_000
"""Objects of larger photos are found on a score map of this many pixels, so that memory does not grow with the photo."""


def with_objects(prediction: Prediction, *, threshold: float, min_area: float, min_score: float, max_boxes: int) -> Prediction:
    """The objects of ``prediction.grid``; none in a photo of the background class.

    Args:
        threshold: share of the map's maximum, in [0, 1].
        min_area: least area of a box as a share of the photo; if no box is that large, the largest one is kept.
        min_score: least score of a box.
        max_boxes: boxes at most.
    """
    if prediction.label == prediction.background:
        regions = np.zeros(prediction.grid.shape, np.uint16)
        boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    else:
        frame = _frame(prediction.size)
        boxes, scores, regions = boxes_from_map(
            stretched(prediction.grid, frame), threshold, min_area=min_area, min_score=min_score, max_boxes=max_boxes
        )
        if frame != prediction.size:
            scale = np.array([prediction.size[0] / frame[0], prediction.size[1] / frame[1]] * 2, np.float32)
            boxes = np.rint(boxes * scale)
    found = replace(prediction, boxes=boxes, box_scores=scores, regions=regions)
    return replace(found, threshold=threshold, min_area=min_area, min_score=min_score, max_boxes=max_boxes)


def _frame(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    scale = math.sqrt(_PIXELS / (width * height))
    return size if scale >= 1 else (max(1, round(width * scale)), max(1, round(height * scale)))
