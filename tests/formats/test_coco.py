"""COCO, as its own tools read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from msgspec.structs import replace
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dips.formats.coco import coco_file
from dips.scoremaps.calibration import Calibration, ScoreThresholds

from .conftest import CAMERA, CLASSES, LABELS, Item, mask_of, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def test_coco(items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("coco", items, tmp_path) / "coco.json"
    coco = COCO(str(path))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [record.name for record, _ in items]
    assert {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())} == dict(enumerate(CLASSES, 1))
    for number, (record, _) in enumerate(items, 1):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert len(found) == len(record.boxes)
        for index, annotation in enumerate(found):
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == list(record.boxes[index].box)
            mask = coco.annToMask(annotation)
            assert np.array_equal(mask, mask_of(record, index)) and annotation["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == list(record.boxes[index].box)
            assert CLASSES[annotation["category_id"] - 1] == record.label
    for kind in ("bbox", "segm"):
        results = coco.loadRes(json.loads(path.read_text())["annotations"])
        judged = COCOeval(coco, results, kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        assert judged.stats[0] == pytest.approx(1), "against itself everything is right"
    capsys.readouterr()


def test_categories_say_which_scores_are_worth_keeping(items: list[Item], tmp_path: Path) -> None:
    own = ScoreThresholds(typical=0.2, cautious=0.95)
    calibration = Calibration(slope=1.0, offset=0.0, gate=0.1, typical=0.3, cautious=0.8, classes={CLASSES[1]: own})
    calibrated = [(replace(record, calibration=calibration), stem) for record, stem in items]
    none, first, second = json.loads((write("coco", calibrated, tmp_path) / "coco.json").read_text())["categories"]
    assert set(none) == {"id", "name"}
    assert (first["typical_score"], first["cautious_score"]) == (0.2, 0.95)
    assert (second["typical_score"], second["cautious_score"]) == (0.3, 0.8)
    plain = json.loads((write("coco", items, tmp_path / "plain") / "coco.json").read_text())["categories"]
    assert all(set(category) == {"id", "name"} for category in plain)


def test_coco_of_nothing(tmp_path: Path) -> None:
    found = json.loads((write("coco", [], tmp_path) / "coco.json").read_text())
    assert found.pop("info") == {"description": "Predicted by DiPS"}
    assert found == {"licenses": [], "images": [], "categories": [], "annotations": []}


def test_what_is_known_about_the_camera(drone_items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(str(write("coco", drone_items, tmp_path) / "coco.json"))
    first, second, last = coco.loadImgs(coco.getImgIds())
    assert CAMERA.known().items() <= first.items() and first["camera_altitude"] == -410.25
    assert second["taken_at"] == "2026-05-01T13:14:16" and "camera_latitude" not in second
    assert set(last) == {"id", "file_name", "width", "height", "state"}
    capsys.readouterr()


def test_reviewed_photos(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    coco = json.loads(
        (write("coco", [reviewed_items[0], reviewed_items[1], items[2]], tmp_path) / "coco.json").read_text(encoding="utf-8")
    )
    assert [image.get("reviewed", False) for image in coco["images"]] == [True, True, False]
    assert [image["state"] for image in coco["images"]] == ["found", "nothing found", "not looked at"]
    accepted, moved, tiny, changed = coco["annotations"]
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [names[each["category_id"]] for each in coco["annotations"]] == LABELS
    assert [each["review"] for each in coco["annotations"]] == ["accepted", "adjusted", "drawn", "adjusted"]
    assert "score" in accepted and not any("score" in each for each in (moved, tiny, changed))
    assert moved["segmentation"] == [[0, 0, 31.5, 0, 31.5, 40.25, 0, 40.25]] and moved["area"] == 1267.875
    read = COCO(str(tmp_path / "coco.json"))
    areas = [int(read.annToMask(each).sum()) for each in read.loadAnns(read.getAnnIds(imgIds=[1]))]
    assert areas[0] == accepted["area"] and areas[3] == changed["area"] and abs(areas[1] - moved["area"]) < 75
    assert set(changed["segmentation"]) == {"size", "counts"} and tiny["bbox"] == [159.6, 119.7, 0.4, 0.3]


@pytest.mark.parametrize(
    ("box", "area"),
    [((0.0, 0.0, 0.03, 0.03), 0.0009), ((199.99, 99.0, 200.0, 99.01), 0.0001), ((1.25, 2.5, 4.75, 3.25), 2.625)],
)
def test_the_area_of_a_box_without_mask_is_exact(tmp_path: Path, box: tuple[float, ...], area: float) -> None:
    """And so never 0: a position has two digits, an area four."""
    with coco_file(tmp_path / "coco.json", "drawn") as coco:
        coco.classes = ["mast"]
        coco.image(1, "a.jpg", width=200, height=100)
        coco.annotation(1, "mast", box, UNSET, {"review": "drawn"})
    (annotation,) = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert annotation["area"] == area
