from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dips.errors import RunError
from dips.predict.objects import with_objects
from dips.predict.prediction import Prediction
from dips.predict.records import write_json, write_predictions
from dips.scoremaps.rle import encode

MakePrediction = Callable[..., Prediction]


def test_the_record_has_what_users_read(make_prediction: MakePrediction) -> None:
    record = json.loads(json.dumps(make_prediction().record(), allow_nan=False))
    assert record == {
        "schema_version": 1,
        "path": "photos/a b.jpg",
        "name": "a b.jpg",
        "folder": "",
        "width": 120,
        "height": 90,
        "label": "tower",
        "label_score": 0.9,
        "class_scores": {"none": 0.1, "tower": 0.9},
        "background": None,
        "boxes": [
            {
                "box": [30.0, 20.0, 80.0, 60.0],
                "score": 0.8,
                "mask": {"size": [90, 120], "counts": encode(make_prediction().mask)},
            }
        ],
        "threshold": 0.5,
        "min_area": 0.0,
        "min_score": 0.0,
        "max_boxes": 100,
        "model": "",
    }
    assert make_prediction().record(path="other.jpg")["path"] == "other.jpg"


def test_a_json_per_photo(make_prediction: MakePrediction, tmp_path: Path) -> None:
    record = make_prediction(path=Path("фото.jpg")).record()
    write_json(record, tmp_path / "sub" / "a.json")
    text = (tmp_path / "sub" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == record and "фото" in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_json_for_all(make_prediction: MakePrediction, tmp_path: Path, count: int) -> None:
    records = [make_prediction().record(path=f"{index}.jpg") for index in range(count)]
    write_predictions(iter(records), tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text()) == {"schema_version": 1, "predictions": records}


def test_a_failure_leaves_the_old_file(make_prediction: MakePrediction, tmp_path: Path) -> None:
    def records() -> Iterator[dict[str, Any]]:
        yield make_prediction().record()
        raise ValueError("broken off")

    (tmp_path / "all.json").write_text("old")
    with pytest.raises(ValueError, match="broken off"):
        write_predictions(records(), tmp_path / "all.json")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("all.json", "old")]


def test_masks_are_black_and_white(make_prediction: MakePrediction, tmp_path: Path) -> None:
    prediction = make_prediction()
    prediction.write_mask(tmp_path / "mask.png")
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(prediction.mask, 255, 0))


def test_record_and_map_make_the_prediction_again(make_prediction: MakePrediction, tmp_path: Path) -> None:
    """Within the 16 bits of the map, also for one that is coarser than the photo."""
    random = np.random.default_rng(0)
    grid = cv2.GaussianBlur(random.random((30, 40), np.float32), (0, 0), 3)
    grid = (grid - grid.min()) / np.ptp(grid)
    first = with_objects(make_prediction(size=(200, 90), grid=grid), threshold=0.5, min_area=0.001, min_score=0, max_boxes=9)
    assert len(first.boxes) > 1
    first.write_map(tmp_path / "map.png")
    record = json.loads(json.dumps(first.record()))
    again = with_objects(
        Prediction.from_record(record, tmp_path / "map.png"), threshold=0.5, min_area=0.001, min_score=0, max_boxes=9
    )
    np.testing.assert_allclose(again.grid, grid, atol=1 / 65535)
    assert np.abs(again.boxes - first.boxes).max() <= 1 and again.classes == first.classes and again.size == first.size
    assert (again.mask ^ first.mask).mean() < 1e-3


@pytest.mark.parametrize("damage", ["missing", "cut", "eight bits", "record"])
def test_a_damaged_map_is_named(make_prediction: MakePrediction, tmp_path: Path, damage: str) -> None:
    prediction, file = make_prediction(), tmp_path / "map.png"
    record = prediction.record()
    if damage == "eight bits":
        prediction.write_mask(file)
    elif damage != "missing":
        prediction.write_map(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:20])
    if damage == "record":
        del record["width"]
    with pytest.raises(RunError, match=r"map\.png.*predict the photos again"):
        Prediction.from_record(record, file)
