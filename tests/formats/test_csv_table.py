"""CSV, a line per box."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from dips.data.camera import CAMERA_COLUMNS, Camera

from .conftest import CAMERA, CLASSES, LABELS, Item, mask_of, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def test_csv(items: list[Item], tmp_path: Path) -> None:
    with (write("csv", items, tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [record.name for record, _ in items for _ in record.boxes or [None]]
    assert [float(rows[0][name]) for name in ("x0", "y0", "x1", "y1")] == list(items[0][0].boxes[0].box)
    assert rows[0]["label"] == CLASSES[1] and int(rows[0]["mask_pixels"]) == mask_of(items[0][0], 0).sum()
    priorities = {record.name: record.priority for record, _ in items}
    assert len(set(priorities.values())) == 3 and all(float(row["priority"]) == priorities[row["photo"]] for row in rows)
    assert rows[-1]["label"] == "none" and rows[-1]["x0"] == rows[-1]["score"] == "" and rows[-1]["state"] == "not looked at"


@pytest.mark.parametrize("name", ["=HYPERLINK(0)", "@SUM(1)", "+1", "-2", "\uff1d3", "a;=4"])
def test_a_name_is_no_formula(items: list[Item], tmp_path: Path, name: str) -> None:
    record, stem = items[1]
    scores = {name: 0.9, "none": 0.1}
    record = replace(record, name=f"{name}.jpg", label=name, class_scores=scores, background="none")
    with (write("csv", [(record, stem)], tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["photo"] == name.replace(name.lstrip("a;"), f"'{name.lstrip('a;')}") + ".jpg"
    assert row["label"] + ".jpg" == row["photo"]


def test_what_is_known_about_the_camera(items: list[Item], drone_items: list[Item], tmp_path: Path) -> None:
    with (write("csv", drone_items, tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        record = next(record for record, _ in drone_items if record.name == row["photo"])
        expected = (record.camera or Camera()).columns()
        assert {name: row[name] for name in CAMERA_COLUMNS} == {
            name: "" if value is None else str(value) for name, value in expected.items()
        }
    assert float(rows[0]["camera_longitude"]) == CAMERA.longitude and rows[-1]["taken_at"] == rows[-1]["score"] == ""
    with (write("csv", items, tmp_path / "plain") / "boxes.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == list(rows[0]), "the columns are those of every folder"


def test_reviewed_photos(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    with (write("csv", [*reviewed_items, items[1]], tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*LABELS, "none", CLASSES[2], CLASSES[2]]
    assert [row["reviewed"] for row in rows] == ["1"] * 6 + ["0"]
    assert [bool(row["score"]) for row in rows] == [True, *[False] * 5, True]
    assert [bool(row["mask_pixels"]) for row in rows] == [True, False, False, True, False, False, True]
    assert [row["state"] for row in rows] == [*["found"] * 4, "nothing found", "found", "found"], "a person looked"
    assert rows[4]["x0"] == "" and rows[5]["label_score"] == "0.1" and rows[5]["x1"] == "40"


@pytest.mark.parametrize("index", [0, 2])
def test_what_an_earlier_version_predicted_has_no_priority(items: list[Item], tmp_path: Path, index: int) -> None:
    record, stem = items[index]
    with (write("csv", [(replace(record, priority=UNSET), stem)], tmp_path) / "boxes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(row["priority"] == "" and row["label"] == record.label for row in rows)
