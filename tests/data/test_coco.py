"""COCO json beside photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import load_data
from dips.errors import DataError

from .conftest import MakePhoto, boxes_of, class_names, same, write_coco


def test_coco_beside_a_split_of_class_folders(class_folders: Path) -> None:
    listed = {
        "test/tower/0.jpg": [("tower", [1, 2, 3, 4]), ("bird", [0, 0, 9, 9])],
        "test/tower/1.jpg": [],
        "test/tower/7.jpg": [],
    }
    write_coco(class_folders / "test.coco.json", listed)
    data = load_data(class_folders, split="test")
    assert same(data, load_data(class_folders / "test")) and data.layout == "coco" and data.classes == ("none", "tower")
    none, tower, blank = data.samples
    assert boxes_of(tower) == [[1, 2, 4, 6]] and tower.frame == (32, 24), "boxes of the folder's category only"
    assert boxes_of(blank) == boxes_of(none) == []
    assert "test/tower/7.jpg" in data.problems[0].message
    assert load_data(class_folders).samples[0].boxes is None, "the training split has no annotations"


def test_coco_boxes_in_the_background_folder_are_reported(class_folders: Path) -> None:
    write_coco(class_folders / "test.coco.json", {"test/none/0.jpg": [("tower", [1, 2, 3, 4])]})
    data = load_data(class_folders, split="test")
    assert len(boxes_of(data.samples[0])) == 1 and data.samples[1].boxes is None
    assert "lies in the folder 'none'" in data.problems[0].message


def test_coco_of_a_flat_folder_gives_the_classes(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abcd":
        make_photo(tmp_path / "photos" / f"{name}.jpg")
    listed = {
        "photos/a.jpg": [("tower", [0, 0, 20, 20]), ("bird", [0, 0, 2, 2])],
        "photos/b.jpg": [],
        "photos/c.jpg": [("bird", [1, 1, 1, 1]), ("bird", [1, 1, 0, 4])],
    }
    path = write_coco(tmp_path / "photos.coco.json", listed)
    data = load_data(tmp_path / "photos")
    assert class_names(data) == {"a.jpg": "tower", "b.jpg": "none", "c.jpg": "bird", "d.jpg": None}
    assert data.classes == ("bird", "none", "tower") and data.background == 1
    assert [None if s.boxes is None else len(s.boxes) for s in data.samples] == [1, 0, 1, None]
    assert {p.path.name for p in data.problems} == {"c.jpg", "photos"}
    make_photo(tmp_path / "train" / "tower" / "1.jpg")
    assert same(load_data(tmp_path, split="photos").samples, data.samples)
    direct = load_data(path)
    assert [s.id for s in direct.samples] == ["photos/a.jpg", "photos/b.jpg", "photos/c.jpg"]


def test_coco_for_splits_of_a_shared_folder(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "ab":
        make_photo(tmp_path / "images" / f"{name}.jpg")
    write_coco(tmp_path / "train.coco.json", {"a.jpg": [("tower", [0, 0, 4, 4])]})  # the bare name is the only one of its kind
    write_coco(tmp_path / "test.coco.json", {"images\\b.jpg": [("tower", [0, 0, 4, 4])]})
    assert class_names(load_data(tmp_path)) == {"images/a.jpg": "tower"}
    assert class_names(load_data(tmp_path, split="test")) == {"images/b.jpg": "tower"}


def test_coco_for_splits_of_shared_class_folders(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("tower/1.jpg", "tower/2.jpg", "none/1.jpg", "none/2.jpg"):
        make_photo(tmp_path / name)
    write_coco(tmp_path / "train.coco.json", {"tower/1.jpg": [("tower", [0, 0, 4, 4])], "none/1.jpg": []})
    write_coco(tmp_path / "test.coco.json", {"tower/2.jpg": [("tower", [0, 0, 4, 4])], "none/2.jpg": []})
    assert class_names(load_data(tmp_path)) == {"tower/1.jpg": "tower", "none/1.jpg": "none"}
    assert class_names(load_data(tmp_path, split="test")) == {"tower/2.jpg": "tower", "none/2.jpg": "none"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[" * 200_000, r"x\.coco\.json is not readable as JSON"),
        ('{"images": ' + "[" * 200_000 + "]" * 200_000 + "}", r"x\.coco\.json is not readable as JSON"),
        ('{"categories": [], "images": [{"id": 1, "file_name": "a.jpg", "width": 1e999}]}', "not COCO as expected"),
        ("[]", "not COCO"),
        ('{"images": []}', "no entry 'categories'"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [],'
            ' "annotations": [{"image_id": 2, "bbox": [0, 0, 1, 1]}]}',
            "no entry 2",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "categories": []}',
            "two images with the id 1",
        ),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}], "categories": []}', "twice"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "x"}],'
            ' "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, NaN, 1]}]}',
            "not finite",
        ),
    ],
)
def test_malformed_coco(tmp_path: Path, make_photo: MakePhoto, content: str, message: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "x.coco.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_insulators(real_data: Path) -> None:
    tiles = real_data / "insulators"
    train, test = load_data(tiles), load_data(tiles, split="test")
    assert (len(train), len(test)) == (1616, 353) and train.classes == test.classes == ("insulator", "none")
    assert train.background == test.background == 1 and not test.problems
    assert sum(len(s.boxes) for s in train.samples if s.boxes is not None) == 1018
    assert all(s.boxes is not None and (len(s.boxes) == 0) == (s.label == 1) for s in test.samples)
    photos = load_data(tiles / "photos")
    assert photos.classes == ("insulator",) and all(boxes_of(s) and s.frame == (1152, 864) for s in photos.samples)


def test_what_lies_beside_listed_photos_is_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("images/1.jpg", "images/2.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "images" / "3.heic").touch()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.dng").touch()
    write_coco(tmp_path / "_annotations.coco.json", {"images/1.jpg": [("tower", [1, 2, 3, 4])], "images/2.jpg": []})
    data = load_data(tmp_path)
    assert len(data) == 2 and [p.path.name for p in data.problems] == ["images", "raw"], "no class, as a file lists the photos"
