"""What a prediction says of itself: its record and its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from dips.errors import RunError
from dips.formats.records import BoxRecord, read_prediction
from dips.predict.map_files import restore_prediction, write_map
from dips.predict.prediction import Prediction
from dips.scoremaps.rle import encode
from dips.system.records import to_json, write_json

MakePhoto = Callable[..., Path]
MakePrediction = Callable[..., Prediction]


def test_the_record_has_what_users_read(make_prediction: MakePrediction) -> None:
    record = json.loads(to_json(make_prediction().record()))
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
        "priority": 0.0,
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
        "state": "found",
    }
    assert make_prediction().record(path="other.jpg").path == "other.jpg"


def test_a_json_per_photo(make_prediction: MakePrediction, tmp_path: Path) -> None:
    record = make_prediction(path=Path("фото.jpg")).record()
    write_json(tmp_path / "sub" / "a.json", record, indent=1)
    text = (tmp_path / "sub" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(to_json(record)) and "фото" in text
    assert read_prediction(tmp_path / "sub" / "a.json") == record


def test_masks_are_black_and_white(make_prediction: MakePrediction, tmp_path: Path) -> None:
    prediction = make_prediction()
    prediction.write_mask(tmp_path / "mask.png")
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(prediction.mask, 255, 0))


@pytest.mark.parametrize("stem", ["n" * 251, "ä" * 125, "n" * 181])
def test_long_names_are_shortened(tmp_path: Path, make_photo: MakePhoto, make_prediction: MakePrediction, stem: str) -> None:
    photo = make_photo(tmp_path / f"{stem}.jpg", (120, 90))
    make_prediction(path=photo).save(tmp_path / "out")
    ends = sorted(path.name.removeprefix(stem[:40]) for path in (tmp_path / "out").iterdir())
    assert [end.partition(".")[2] for end in ends] == ["json", "mask.png", "overlay.jpg"]
    with pytest.raises(RunError, match="already exists"):
        make_prediction(path=photo).save(tmp_path / "out")


def test_a_review_takes_the_place_of_what_was_found(make_prediction: MakePrediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of several classes that overlap, on a photo whose map shows something else."""
    found = make_prediction((64, 48), (10, 10, 30, 30))
    boxes = (
        BoxRecord(box=(40, 0, 60.5, 20), label="none", review="drawn"),
        BoxRecord(box=(50, 10, 64, 48), label="tower", review="adjusted"),
    )
    record = replace(found.record(), boxes=boxes, reviewed=True)
    reviewed = found.with_review(record)
    assert reviewed.boxes.tolist() == [[40, 0, 60.5, 20], [50, 10, 64, 48]] and reviewed.box_scores.tolist() == [1, 1]
    expected = np.zeros((48, 64), bool)
    expected[0:20, 40:61] = expected[10:48, 50:64] = True
    assert (reviewed.mask == expected).all() and reviewed.regions[15, 55] == 1
    assert reviewed.record(path="p", name="n", folder="f", model="m") == replace(
        record, path="p", name="n", folder="f", model="m"
    )
    none = found.with_review(replace(record, boxes=()))
    assert none.boxes.shape == (0, 4) and not none.mask.any()
    monkeypatch.setattr("dips.predict.prediction.overlay", lambda photo, **drawn: drawn)
    pixels = np.full((48, 64, 3), 120, np.uint8)
    words = [(each["tags"], each["reviewed"]) for each in map(dict, (found.overlay(pixels), reviewed.overlay(pixels)))]
    assert words == [(["tower 0.80"], False), (["none", "tower"], True)]
    assert dict(none.overlay(pixels))["caption"] == "reviewed: no object"


@pytest.mark.parametrize("box", [(0, 0, 500, 400), (499.2, 399.1, 500, 400), (17, 0, 18, 400)])
def test_a_reviewed_box_of_a_large_photo_has_pixels(
    make_prediction: MakePrediction, monkeypatch: pytest.MonkeyPatch, box: tuple[float, float, float, float]
) -> None:
    monkeypatch.setattr("dips.predict.prediction.MAX_FRAME_PIXELS", 2000)
    found = make_prediction((500, 400), None)
    reviewed = found.with_review(replace(found.record(), boxes=(BoxRecord(box=box, review="drawn"),), reviewed=True))
    assert reviewed.regions.shape == (40, 50) and reviewed.object_mask(0).any()


def blurred(seed: int) -> np.ndarray:
    grid = cv2.GaussianBlur(np.random.default_rng(seed).random((30, 40), np.float32), (0, 0), 3)
    return np.asarray((grid - grid.min()) / np.ptp(grid), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_an_object_that_nearby_thresholds_change_is_to_be_reviewed_first(
    make_prediction: MakePrediction, tmp_path: Path, seed: int
) -> None:
    sharp, soft = make_prediction(), make_prediction(grid=blurred(seed), size=(40, 30))
    assert sharp.priority == 0 < soft.priority < 1
    other = soft.with_objects(threshold=0.8, min_area=0, min_score=0, max_boxes=9)
    assert other.priority != soft.priority, "it is that of the threshold"
    soft = soft.with_objects(threshold=0.4, min_area=0, min_score=0, max_boxes=9)
    write_map(soft, tmp_path / "map.png")
    again = restore_prediction(soft.record(), tmp_path / "map.png")
    assert again.record().priority == soft.record().priority == round(soft.priority, 4)


@pytest.mark.parametrize(("score", "expected"), [(0.55, 0.45), (0.99999, 0.0), (1.0000002, 0.0)])
def test_a_photo_without_object_is_to_be_reviewed_where_that_is_doubtful(
    make_prediction: MakePrediction, score: float, expected: float
) -> None:
    prediction = make_prediction(box=None, background="none", label_score=score, grid=blurred(0))
    assert prediction.priority == pytest.approx(expected, abs=1e-4) and prediction.priority >= 0
    assert f'"priority": {expected}' in to_json(prediction.record())
