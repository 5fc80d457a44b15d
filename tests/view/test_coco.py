"""The COCO file: what is in it, what is not, and that other programs read it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.data import load_data
from dips.errors import RunError
from dips.predict.results import REVIEWED
from dips.scoremaps.rle import decode
from dips.view.coco import Writer, write_reviewed
from dips.view.predictions import read_predictions
from dips.view.review import Review

FIRST = {"box": [20, 20, 60, 70], "label": "tower", "of": 0, "accepted": True}
MOVED = {"box": [101, 10, 180, 90.5], "label": "tower", "of": 1, "accepted": True}
DRAWN = {"box": [1, 2, 31, 42], "label": "mast", "of": None, "accepted": True}


def reviewed(review: Review) -> dict[str, Any]:
    path = review.predictions.folder / REVIEWED
    write_reviewed(review, path)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_accepted_moved_and_drawn_boxes(review: Review) -> None:
    review.change(0, {"reviewed": True, "boxes": [FIRST, MOVED, DRAWN]})
    review.change(2, {"reviewed": True, "boxes": []})
    coco = reviewed(review)
    assert coco["categories"] == [{"id": 1, "name": "none"}, {"id": 2, "name": "mast"}, {"id": 3, "name": "tower"}]
    assert coco["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100, "reviewed": True},
        {"id": 3, "file_name": "c.jpg", "width": 200, "height": 100, "reviewed": True},
    ]
    first, moved, drawn = coco["annotations"]
    mask = decode(first["segmentation"]["counts"], (200, 100))
    expected = np.zeros((100, 200), bool)
    expected[20:70, 20:40] = True
    assert (mask == expected).all()
    del first["segmentation"]
    both = {"image_id": 1, "iscrowd": 0}
    assert first == {
        **both,
        "id": 1,
        "category_id": 3,
        "bbox": [20, 20, 40, 50],
        "area": 1000,
        "score": 0.9,
        "review": "accepted",
    }
    assert moved.pop("segmentation") == [[101, 10, 180, 10, 180, 90.5, 101, 90.5]]
    assert drawn.pop("segmentation") == [[1, 2, 31, 2, 31, 42, 1, 42]]
    assert moved == {**both, "id": 2, "category_id": 3, "bbox": [101, 10, 79, 80.5], "area": 6359.5, "review": "adjusted"}
    assert drawn == {**both, "id": 3, "category_id": 2, "bbox": [1, 2, 30, 40], "area": 1200, "review": "drawn"}


def test_another_class_keeps_the_mask_but_not_the_score(review: Review) -> None:
    review.change(0, {"reviewed": True, "boxes": [{**FIRST, "label": "mast"}]})
    (annotation,) = reviewed(review)["annotations"]
    assert annotation["category_id"] == 2 and annotation["review"] == "adjusted"
    assert annotation["area"] == 1000 and "score" not in annotation


def test_photos_that_are_not_reviewed_are_left_out(review: Review) -> None:
    review.change(0, {"reviewed": False, "boxes": [FIRST]})
    assert reviewed(review)["images"] == []
    review.change(0, {"reviewed": True, "boxes": [FIRST]})
    assert len(reviewed(review)["images"]) == 1
    review.undo()
    empty = reviewed(review)
    assert empty["images"] == empty["annotations"] == []


def test_ids_stay_while_the_review_goes_on(review: Review) -> None:
    review.change(3, {"reviewed": True, "boxes": []})
    before = reviewed(review)["images"]
    review.change(0, {"reviewed": True, "boxes": []})
    assert reviewed(review)["images"][1:] == before


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_pycocotools_reads_it(review: Review, capsys: pytest.CaptureFixture[str]) -> None:
    coco_tools = pytest.importorskip("pycocotools.coco")
    review.change(0, {"reviewed": True, "boxes": [FIRST, MOVED]})
    reviewed(review)
    coco = coco_tools.COCO(str(review.predictions.folder / REVIEWED))
    first, moved = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert int(coco.annToMask(first).sum()) == first["area"] == 1000
    assert moved["bbox"] == [101, 10, 79, 80.5]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
@pytest.mark.parametrize(
    "box",
    [[1, 2, 31, 42], [0, 0, 200, 100], [199, 99, 200, 100], [0, 50, 200, 51], [10.25, 20.5, 60.75, 70], [5, 5, 5.01, 5.01]],
)
@pytest.mark.parametrize("of", [None, 1])
def test_pycocotools_makes_masks_of_drawn_and_moved_boxes(review: Review, box: list[float], of: int | None) -> None:
    coco_tools = pytest.importorskip("pycocotools.coco")
    review.change(0, {"reviewed": True, "boxes": [FIRST, {**DRAWN, "of": of, "box": box}]})
    reviewed(review)
    coco = coco_tools.COCO(str(review.predictions.folder / REVIEWED))
    mask = coco.annToMask(coco.loadAnns(coco.getAnnIds(imgIds=[1]))[1])
    assert mask.shape == (100, 200)
    x0, y0, x1, y1 = (round(value) for value in box)
    if all(value == int(value) for value in box):
        assert mask[y0:y1, x0:x1].all() and mask.sum() == (x1 - x0) * (y1 - y0)
    assert abs(int(mask.sum()) - (box[2] - box[0]) * (box[3] - box[1])) <= 2 * (x1 - x0 + y1 - y0 + 2)


def test_dips_itself_reads_it_beside_the_photos(review: Review, predicted: Path) -> None:
    review.change(0, {"reviewed": True, "boxes": [FIRST, MOVED]})
    review.change(2, {"reviewed": True, "boxes": []})
    reviewed(review)
    photos = predicted.parent / "photos"
    shutil.copy(predicted / REVIEWED, photos / "reviewed.coco.json")
    data = load_data(photos / "reviewed.coco.json", split="all")
    assert {sample.id: np.asarray(sample.boxes).tolist() for sample in data.samples} == {
        "a.jpg": [[20, 20, 60, 70], [101, 10, 180, 90.5]],
        "c.jpg": [],
    }


def test_the_writer_follows_and_ends_with_all_of_it(review: Review) -> None:
    writer = Writer(review, pause=0.02)
    path = review.predictions.folder / REVIEWED
    review.change(0, {"reviewed": True, "boxes": []})
    until = time.monotonic() + 10
    while not (path.exists() and len(json.loads(path.read_text())["images"]) == 1):
        assert time.monotonic() < until
        time.sleep(0.02)
    written = path.stat().st_mtime_ns
    time.sleep(0.2)
    assert path.stat().st_mtime_ns == written  # nothing changed
    review.change(1, {"reviewed": True, "boxes": []})
    writer.close()
    assert len(json.loads(path.read_text())["images"]) == 2


def test_a_file_that_cannot_be_written_is_told_and_the_review_goes_on(
    review: Review, capsys: pytest.CaptureFixture[str]
) -> None:
    path = review.predictions.folder / REVIEWED
    path.mkdir()
    writer = Writer(review, pause=0.02)
    until = time.monotonic() + 10
    while "cannot write" not in (said := capsys.readouterr().err):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert "the review itself is safe in" in said
    review.change(0, {"reviewed": True, "boxes": []})
    with pytest.raises(RunError, match="cannot write"):
        writer.close()
    path.rmdir()
    writer.close()
    assert path.is_file()


def test_a_reviewed_photo_still_says_where_it_was_taken(predicted: Path) -> None:
    file = predicted / "json" / "a.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**record, "camera": {"latitude": 10.5, "longitude": -3.0}}), encoding="utf-8")
    review = Review(read_predictions(predicted))
    review.change(0, {"reviewed": True, "boxes": [FIRST]})
    review.change(1, {"reviewed": True, "boxes": []})
    first, second = reviewed(review)["images"]
    assert (first["camera_latitude"], first["camera_longitude"]) == (10.5, -3.0) and "camera_latitude" not in second
    review.close()
