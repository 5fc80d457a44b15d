from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.scoremaps import boxes_from_map
from dips.types import Prediction

MakePrediction = Callable[..., Prediction]


@pytest.fixture
def make_prediction() -> MakePrediction:
    """``make_prediction(size=(w, h), box=(x0, y0, x1, y1) | None, **fields)``: one bright rectangle, or no object."""

    def make(
        size: tuple[int, int] = (120, 90), box: tuple[int, int, int, int] | None = (30, 20, 80, 60), **fields: Any
    ) -> Prediction:
        width, height = size
        score_map = np.zeros((height, width), np.float32)
        if box is not None:
            score_map[box[1] : box[3], box[0] : box[2]] = 0.8
        boxes, scores, mask = boxes_from_map(score_map, 0.5, min_area=0.0, max_boxes=5)
        values: dict[str, Any] = {
            "path": Path("photos") / "a b.jpg",
            "label": "tower" if box else "none",
            "label_score": 0.9,
            "class_scores": np.array([0.1, 0.9] if box else [0.9, 0.1], np.float32),
            "classes": ("none", "tower"),
            "boxes": boxes,
            "box_scores": scores,
            "mask": mask,
            "score_map": score_map,
            "threshold": 0.5,
            **fields,
        }
        return Prediction(**values)

    return make
