"""The JSON about a photo: read as it was written, named where it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dips.data.camera import Camera
from dips.errors import RunError
from dips.formats.records import BoxRecord, PredictionRecord, read_prediction, skipped_records
from dips.predict.prediction import Prediction
from dips.system.records import parse_record, to_json, write_json
from dips.types import Problem

from .conftest import Item

MakePrediction = Callable[..., Prediction]


def write(top: Path, prediction: Prediction, **changed: Any) -> Path:
    record = {**json.loads(to_json(prediction.record())), **changed}
    path = top / "a.json"
    path.write_text(json.dumps({key: value for key, value in record.items() if value != "gone"}), encoding="utf-8")
    return path


def test_a_box_has_whole_corners_and_its_pixels(make_prediction: MakePrediction, tmp_path: Path) -> None:
    prediction = make_prediction()
    (entry,) = read_prediction(write(tmp_path, prediction)).boxes
    assert entry.corners == (30, 20, 80, 60) and entry.crop().shape == (40, 50)
    assert np.array_equal(entry.crop(), prediction.object_mask(0))


def test_keys_of_a_newer_version_are_ignored(make_prediction: MakePrediction, tmp_path: Path) -> None:
    path = write(tmp_path, make_prediction(), drone="Mavic 3")
    assert read_prediction(path) == make_prediction().record()


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "gone"), ("name", "gone"), ("folder", "gone"), ("background", "gone"), ("class_scores", "gone"),
     ("model", "gone"), ("width", "gone"), ("width", 0), ("width", 1.5), ("height", "x"), ("label", "other"),
     ("label_score", None), ("boxes", 3), ("boxes", [{"box": [1, 2, 3, 4], "score": 1}]),
     ("boxes", [{"box": [1, 2, 3], "score": 1, "mask": {"size": [90, 120], "counts": ""}}]),
     ("boxes", [{"box": [1, 2, 3, 4], "mask": {"size": [90, 120], "counts": ""}}]),
     ("boxes", [{"box": [1, 2, 3, 4], "score": 1, "mask": {"size": [90, 120], "counts": [5, 9]}}]), ("threshold", "0.5"),
     ("max_boxes", True), ("priority", None), ("priority", "high"), ("priority", 1.5), ("priority", -0.1)],
)  # fmt: skip
def test_a_damaged_record_is_named(make_prediction: MakePrediction, tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(RunError, match=r"a\.json is damaged .* predict the photo again"):
        read_prediction(write(tmp_path, make_prediction(), **{key: value}))


def test_another_version_and_a_missing_file_are_named(make_prediction: MakePrediction, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.json was written by another version of DiPS \(schema 2, this one reads 1\)"):
        read_prediction(write(tmp_path, make_prediction(), schema_version=2))
    with pytest.raises(RunError, match=r"cannot read .*b\.json"):
        read_prediction(tmp_path / "b.json")


def test_skipped_photos_have_names_that_are_text() -> None:
    (record,) = skipped_records([Problem(Path("a/\udcff.jpg"), "\udcff.jpg is not a photo")])
    assert json.loads(to_json(record)) == {"path": "a/%FF.jpg", "reason": "%FF.jpg is not a photo"}


@pytest.mark.parametrize(
    "changed",
    [
        {"width": 10**30},
        {"width": 1 << 20, "height": 1 << 20},
        {"label_score": 1e308},
        {"label_score": -0.1},
        {"threshold": 2},
        {"min_area": -1},
        {"min_score": 7},
        {"max_boxes": 0},
        {"class_scores": {"none": 0.5, "tower": 1.5}},
        {"height": 3},
    ],
)
def test_numbers_that_no_prediction_has_are_damage(make_prediction: Any, changed: dict[str, Any], tmp_path: Path) -> None:
    record = json.loads(to_json(make_prediction().record()))
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert read_prediction(tmp_path / "a.json").label == "tower"
    boxes = [
        {"boxes": [{**record["boxes"][0], **bad}]} for bad in ({"box": [0, 0, 1e9, 9]}, {"box": [5, 5, 5, 9]}, {"score": -1})
    ]
    for damage in (changed, *boxes):
        (tmp_path / "a.json").write_text(json.dumps({**record, **damage}))
        with pytest.raises(RunError, match=r"a\.json is damaged .*; remove it and predict the photo again"):
            read_prediction(tmp_path / "a.json")


def test_the_camera_of_a_photo_is_read_back(make_prediction: MakePrediction, tmp_path: Path) -> None:
    camera = Camera(latitude=-33.5, longitude=151.25, taken_at="2026-05-01T13:14:15")
    assert read_prediction(write(tmp_path, make_prediction(camera=camera))).camera == camera
    assert "camera" not in json.loads(to_json(make_prediction().record())), "nothing known, no key, as before"


@pytest.mark.parametrize("camera", [{"latitude": 100, "longitude": 1}, {"latitude": 1}, {"heading": "north"}, [], "Mavic 3"])
def test_a_damaged_camera_is_named(make_prediction: MakePrediction, tmp_path: Path, camera: object) -> None:
    with pytest.raises(RunError, match=r"a\.json is damaged .* predict the photo again"):
        read_prediction(write(tmp_path, make_prediction(), camera=camera))


def test_reviewed_photos_are_read_back(reviewed_items: list[Item], tmp_path: Path) -> None:
    for number, (record, _) in enumerate(reviewed_items):
        write_json(tmp_path / f"{number}.json", record, indent=1)
        assert read_prediction(tmp_path / f"{number}.json") == record
    assert set(json.loads((tmp_path / "2.json").read_text(encoding="utf-8"))["boxes"][0]) == {"box", "label", "review"}


@pytest.mark.parametrize("label", ["none", "mast"])
def test_a_box_of_an_impossible_class_is_damage(reviewed_items: list[Item], label: str) -> None:
    record = reviewed_items[2][0]
    with pytest.raises(ValueError, match="the class of a box"):
        replace(record, boxes=(BoxRecord(box=(3, 4, 40, 60), label=label, review="drawn"),))


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((1.4, 2.6, 5.5, 9.0), (1, 3, 6, 9)),
        ((5.0, 5.0, 5.01, 5.01), (5, 5, 6, 6)),
        ((199.6, 0.5, 200.0, 0.6), (199, 0, 200, 1)),
        ((0.5, 10.5, 1.5, 11.5), (1, 11, 2, 12)),
        ((1.5, 2.5, 3.5, 5.5), (2, 3, 4, 6)),
        ((198.5, 98.5, 199.5, 99.5), (199, 99, 200, 100)),
    ],
)
def test_a_box_has_at_least_a_pixel(box: tuple[float, float, float, float], corners: tuple[int, int, int, int]) -> None:
    entry = BoxRecord(box=box, review="drawn")
    assert entry.corners == corners and entry.crop().shape == (corners[3] - corners[1], corners[2] - corners[0])


def test_records_of_earlier_versions_have_no_priority(make_prediction: MakePrediction, tmp_path: Path) -> None:
    assert read_prediction(write(tmp_path, make_prediction())).priority == 0
    record = read_prediction(write(tmp_path, make_prediction(), priority="gone"))
    assert record.boxes == make_prediction().record().boxes and "priority" not in json.loads(to_json(record))


def test_the_state_follows_from_the_rest(items: list[Item], reviewed_items: list[Item]) -> None:
    """Also where a file says otherwise, and after a change."""
    assert [record.state for record, _ in items] == ["found", "found", "not looked at"]
    assert [record.state for record, _ in reviewed_items] == ["found", "nothing found", "found"]
    several, empty = items[0][0], items[2][0]
    assert replace(several, boxes=()).state == "nothing found"
    assert replace(empty, state="found").state == "not looked at" and replace(empty, reviewed=True).state == "nothing found"
    assert replace(several, boxes=(), background=several.label).state == "not looked at"
    text = to_json(several).replace('"state": "found"', '"state": "failed"')
    assert '"state": "failed"' in text
    assert parse_record(text, PredictionRecord, source="a.json", remedy="").state == "found"
