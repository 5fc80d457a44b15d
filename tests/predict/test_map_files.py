"""A prediction again from its record and its score map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dips.errors import RunError
from dips.predict.map_files import restore_prediction, write_map
from dips.predict.prediction import Prediction

MakePrediction = Callable[..., Prediction]


def test_record_and_map_make_the_prediction_again(make_prediction: MakePrediction, tmp_path: Path) -> None:
    """Within the 16 bits of the map, also for one that is coarser than the photo."""
    random = np.random.default_rng(0)
    grid = cv2.GaussianBlur(random.random((30, 40), np.float32), (0, 0), 3)
    grid = (grid - grid.min()) / np.ptp(grid)
    first = make_prediction(size=(200, 90), grid=grid).with_objects(threshold=0.5, min_area=0.001, min_score=0, max_boxes=9)
    assert len(first.boxes) > 1
    write_map(first, tmp_path / "map.png")
    again = restore_prediction(first.record(), tmp_path / "map.png").with_objects(
        threshold=0.5, min_area=0.001, min_score=0, max_boxes=9
    )
    np.testing.assert_allclose(again.grid, grid, atol=1 / 65535)
    assert np.abs(again.boxes - first.boxes).max() <= 1 and again.classes == first.classes and again.size == first.size
    assert (again.mask ^ first.mask).mean() < 1e-3


@pytest.mark.parametrize("damage", ["missing", "cut", "eight bits"])
def test_a_damaged_map_is_named(make_prediction: MakePrediction, tmp_path: Path, damage: str) -> None:
    prediction, file = make_prediction(), tmp_path / "map.png"
    if damage == "eight bits":
        prediction.write_mask(file)
    elif damage != "missing":
        write_map(prediction, file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(RunError, match=r"map\.png.*predict the photos again"):
        restore_prediction(prediction.record(), file)
