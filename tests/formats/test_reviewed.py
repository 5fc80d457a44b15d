"""Reviewed photos in every format: the boxes of a person, and photos that show nothing told from those nobody looked at."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from dips.formats.records import BoxRecord, read_prediction
from dips.system.records import write_json

from .conftest import CLASSES, Item, write

LABELS = [CLASSES[1], CLASSES[2], CLASSES[1], CLASSES[2]]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_records_are_read_back(reviewed_items: list[Item], tmp_path: Path) -> None:
    for number, (record, _) in enumerate(reviewed_items):
        write_json(tmp_path / f"{number}.json", record, indent=1)
        assert read_prediction(tmp_path / f"{number}.json") == record
    assert set(read_json(tmp_path / "2.json")["boxes"][0]) == {"box", "label", "review"}


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
    ],
)
def test_a_box_has_at_least_a_pixel(box: tuple[float, float, float, float], corners: tuple[int, int, int, int]) -> None:
    entry = BoxRecord(box=box, review="drawn")
    assert entry.corners == corners and entry.crop().shape == (corners[3] - corners[1], corners[2] - corners[0])


def test_coco(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    coco = read_json(write("coco", [reviewed_items[0], reviewed_items[1], items[2]], tmp_path) / "coco.json")
    assert [image.get("reviewed", False) for image in coco["images"]] == [True, True, False]
    accepted, moved, tiny, changed = coco["annotations"]
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [names[each["category_id"]] for each in coco["annotations"]] == LABELS
    assert [each["review"] for each in coco["annotations"]] == ["accepted", "adjusted", "drawn", "adjusted"]
    assert "score" in accepted and not any("score" in each for each in (moved, tiny, changed))
    assert moved["segmentation"] == [[0, 0, 31.5, 0, 31.5, 40.25, 0, 40.25]] and moved["area"] == pytest.approx(1267.88)
    assert set(changed["segmentation"]) == {"size", "counts"} and tiny["bbox"] == [159.6, 119.7, 0.4, 0.3]


def test_csv(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    with (write("csv", [*reviewed_items, items[1]], tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*LABELS, "none", CLASSES[2], CLASSES[2]]
    assert [row["reviewed"] for row in rows] == ["1"] * 6 + ["0"]
    assert [bool(row["score"]) for row in rows] == [True, *[False] * 5, True]
    assert [bool(row["mask_pixels"]) for row in rows] == [True, False, False, True, False, False, True]
    assert rows[4]["x0"] == "" and rows[5]["label_score"] == "0.1" and rows[5]["x1"] == "40"


@pytest.mark.parametrize("name", ["yolo", "yolo-seg"])
def test_yolo(reviewed_items: list[Item], tmp_path: Path, name: str) -> None:
    labels = write(name, reviewed_items, tmp_path) / name / "labels"
    lines = (labels / "a b" / "ü.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == [CLASSES[1:].index(label) for label in LABELS]
    assert (labels / "ring.txt").read_text() == ""
    number, *values = (labels / "none" / "empty.txt").read_text().split()
    assert number == "1" and all(0 <= float(value) <= 1 for value in values)


def test_voc(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    folder = write("voc", [*reviewed_items[:2], items[2]], tmp_path) / "voc"
    several, ring, empty = (ElementTree.parse(folder / f"{stem}.xml").getroot() for _, stem in items)
    assert [top.get("verified") for top in (several, ring, empty)] == ["yes", "yes", None]
    assert [element.findtext("name") for element in several.iter("object")] == LABELS
    assert [element.find("score") is not None for element in several.iter("object")] == [True, False, False, False]
    for box in several.iter("bndbox"):
        x0, y0, x1, y1 = (int(box.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax"))
        assert 1 <= x0 <= x1 <= 160 and 1 <= y0 <= y1 <= 120
    assert not list(ring.iter("object"))


def test_labelstudio(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    tasks = read_json(write("labelstudio", [*reviewed_items[:2], items[2]], tmp_path) / "labelstudio.json")
    assert [sorted(task) for task in tasks] == [["annotations", "data"], ["annotations", "data"], ["data", "predictions"]]
    (done,), (empty,) = (task["annotations"] for task in tasks[:2])
    assert empty == {"result": []}
    kinds = [part["id"] for part in done["result"]]
    assert kinds == ["box0", "mask0", "box1", "box2", "box3", "mask3"], "nobody drew the mask of a drawn box"
    boxes = [part for part in done["result"] if part["type"] == "rectanglelabels"]
    assert [part["value"]["rectanglelabels"] for part in boxes] == [[label] for label in LABELS]
    assert boxes[1]["value"]["width"] == 100 * 31.5 / 160 and "score" not in boxes[1] and "score" in boxes[0]


def test_geojson(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    folder = write("geojson", [*reviewed_items[:2], items[2]], tmp_path) / "geojson"
    several, ring, empty = (read_json(folder / f"{stem}.geojson") for _, stem in items)
    assert [each.get("reviewed", False) for each in (several, ring, empty)] == [True, True, False]
    assert ring["features"] == empty["features"] == []
    assert [feature["properties"]["classification"]["name"] for feature in several["features"]] == LABELS
    assert [bool(feature["properties"]["measurements"]) for feature in several["features"]] == [True, False, False, False]
    assert several["features"][2]["geometry"]["coordinates"] == [[[159, 119], [160, 119], [160, 120], [159, 120], [159, 119]]]


def test_predictions(reviewed_items: list[Item], tmp_path: Path) -> None:
    several, ring, empty = read_json(write("json", reviewed_items, tmp_path) / "predictions.json")["predictions"]
    assert several["reviewed"] and ring["reviewed"] and ring["boxes"] == [] and empty["boxes"][0]["review"] == "drawn"
