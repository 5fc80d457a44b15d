"""Points on the globe: where the cameras were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely.geometry
from msgspec.structs import replace

from dips.data.camera import Camera
from dips.formats.records import BoxRecord

from .conftest import CAMERA, Item, write


def test_a_point_per_photo(drone_items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((write("camera-points", drone_items, tmp_path) / "camera-points.geojson").read_text(encoding="utf-8"))
    assert found["type"] == "FeatureCollection" and "not the objects" in found["description"]
    first, second, last = found["features"]
    point = shapely.geometry.shape(first["geometry"])
    assert (point.x, point.y) == (CAMERA.longitude, CAMERA.latitude) and not point.has_z
    for feature, (record, _) in zip(found["features"], drone_items, strict=True):
        properties = feature["properties"]
        assert feature["type"] == "Feature" and properties["photo"] == record.name
        assert (properties["label"], properties["boxes"]) == (record.label, len(record.boxes))
        assert properties["score"] == (record.boxes[0].score if record.boxes else None)
        assert (record.camera or Camera()).columns().items() <= properties.items()
    assert second["geometry"] is last["geometry"] is None and second["properties"]["taken_at"]
    assert "camera-points: 2 of 3 photos do not say where they were taken" in capsys.readouterr().err


def test_all_are_known(drone_items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("camera-points", drone_items[:1], tmp_path)
    assert capsys.readouterr().err == ""


def test_points_of_nothing(tmp_path: Path) -> None:
    assert json.loads((write("camera-points", [], tmp_path) / "camera-points.geojson").read_text())["features"] == []


def test_boxes_of_a_person(drone_items: list[Item], tmp_path: Path) -> None:
    """The first one need not be the best, and a drawn one has no score."""
    record, stem = drone_items[0]
    drawn = BoxRecord(box=(1, 2, 30, 40), label=record.label, review="drawn")
    weak, strong = (replace(record.boxes[0], score=score, review="accepted") for score in (0.25, 0.75))
    cases: list[tuple[tuple[BoxRecord, ...], float | None]] = [
        ((drawn,), None),
        ((drawn, weak), 0.25),
        ((weak, strong, drawn), 0.75),
        ((), None),
    ]
    for number, (boxes, score) in enumerate(cases):
        item = replace(record, boxes=boxes, reviewed=True), stem
        file = write("camera-points", [item], tmp_path / str(number)) / "camera-points.geojson"
        properties = json.loads(file.read_text(encoding="utf-8"))["features"][0]["properties"]
        assert (properties["boxes"], properties["score"]) == (len(boxes), score)
