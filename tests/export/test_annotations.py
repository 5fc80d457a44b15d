from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dips.errors import RunError
from dips.export.annotations import prediction_record, write_coco, write_json, write_mask, write_predictions
from dips.types import Prediction

MakePrediction = Callable[..., Prediction]


def test_the_record_has_what_users_read(make_prediction: MakePrediction) -> None:
    record = json.loads(json.dumps(prediction_record(make_prediction()), allow_nan=False))
    assert record == {
        "schema_version": 1,
        "path": "photos/a b.jpg",
        "width": 120,
        "height": 90,
        "label": "tower",
        "label_score": 0.9,
        "class_scores": {"none": 0.1, "tower": 0.9},
        "boxes": [{"box": [30.0, 20.0, 80.0, 60.0], "score": 0.8}],
        "threshold": 0.5,
    }
    assert prediction_record(make_prediction(), path="other.jpg")["path"] == "other.jpg"


def test_a_json_per_photo(make_prediction: MakePrediction, tmp_path: Path) -> None:
    record = prediction_record(make_prediction(path=Path("фото.jpg")))
    write_json(record, tmp_path / "sub" / "a.json")
    text = (tmp_path / "sub" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == record and "фото" in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_json_for_all(make_prediction: MakePrediction, tmp_path: Path, count: int) -> None:
    records = [prediction_record(make_prediction(), path=f"{index}.jpg") for index in range(count)]
    write_predictions(iter(records), tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text()) == {"schema_version": 1, "predictions": records}


def test_coco_counts_from_one_and_has_widths(make_prediction: MakePrediction, tmp_path: Path) -> None:
    records = [
        prediction_record(make_prediction(box=None), path="empty.jpg"),
        prediction_record(make_prediction(), path="full.jpg"),
        prediction_record(make_prediction((64, 32), (1, 2, 4, 8)), path="small.jpg"),
    ]
    write_coco(records, tmp_path / "coco.json")
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "none"}, {"id": 2, "name": "tower"}]
    assert coco["images"][2] == {"id": 3, "file_name": "small.jpg", "width": 64, "height": 32}
    assert [a["image_id"] for a in coco["annotations"]] == [2, 3]
    assert [a["id"] for a in coco["annotations"]] == [1, 2]
    assert coco["annotations"][1]["bbox"] == [1, 2, 3, 6] and coco["annotations"][1]["area"] == 18
    assert {a["category_id"] for a in coco["annotations"]} == {2}


def test_coco_refuses_records_of_two_models(make_prediction: MakePrediction, tmp_path: Path) -> None:
    other = prediction_record(make_prediction(classes=("none", "mast")))
    with pytest.raises(RunError, match="one COCO file per model"):
        write_coco([prediction_record(make_prediction()), other], tmp_path / "coco.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(make_prediction: MakePrediction, tmp_path: Path) -> None:
    def records() -> Iterator[dict[str, Any]]:
        yield prediction_record(make_prediction())
        raise ValueError("broken off")

    (tmp_path / "all.json").write_text("old")
    with pytest.raises(ValueError, match="broken off"):
        write_predictions(records(), tmp_path / "all.json")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("all.json", "old")]


def test_masks_are_black_and_white(make_prediction: MakePrediction, tmp_path: Path) -> None:
    prediction = make_prediction()
    write_mask(prediction, tmp_path / "mask.png")
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(prediction.mask, 255, 0))
