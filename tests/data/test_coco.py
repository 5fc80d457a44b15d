"""COCO json beside photos."""

from __future__ import annotations

import json
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
    assert boxes_of(none) == [] and blank.boxes is None, "the folder says that there is a tower"
    assert "test/tower/7.jpg" in data.problems[0].message and "without a box of it" in data.problems[1].message
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
    assert [None if s.boxes is None else len(s.boxes) for s in data.samples] == [2, 0, 1, None]
    assert [s.labels for s in data.samples] == [(2, 0), (1,), (0,), ()]
    assert [s.box_labels for s in data.samples] == [(2, 0), (), (), ()]
    assert [p.path.name for p in data.problems] == ["photos.coco.json", "photos"]
    left_out, unlisted = (p.message for p in data.problems)
    assert "annotation with id 0 of photos/c.jpg: its bbox 1, 1, 0, 4 (x, y, width, height) has no area; it is" in left_out
    assert "d.jpg" in unlisted
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
        ("[]", "not COCO"),
        ('{"images": []}', "lists no images"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [],'
            ' "annotations": [{"image_id": 2, "bbox": [0, 0, 1, 1]}]}',
            r"none of its annotations is of an image that it lists: number 1 \(image_id 2\)",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "categories": []}',
            "two images with the id 1",
        ),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}], "categories": []}', "twice"),
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


@pytest.mark.parametrize("empty", [True, False])
def test_annotations_without_boxes_are_labels(tmp_path: Path, make_photo: MakePhoto, empty: bool) -> None:
    for name in "abc":
        make_photo(tmp_path / f"{name}.jpg")
    images: dict[str, list[tuple[str, list[float]]]] = {"a.jpg": [("x", [0]), ("y", [0])], "b.jpg": [("y", [0])], "c.jpg": []}
    tree = json.loads(write_coco(tmp_path / "x.coco.json", images).read_text())
    for number, item in enumerate(tree["annotations"]):
        item |= {"id": number}
        del item["bbox"]
        if not empty and number == 2:
            item |= {"bbox": [1, 1, 9, 9]}  # boxes, and some of them are missing
    (tmp_path / "x.coco.json").write_text(json.dumps(tree))
    data = load_data(tmp_path)
    assert [[data.classes[label] for label in s.labels] for s in data.samples] == [["x", "y"], ["y"], ["none"]]
    assert data.samples[0].boxes is None
    said = [problem.message for problem in data.problems]
    assert len(said) == (1 if empty else 2) and ("are labels of the photos" in said[0]) == empty


def test_a_category_for_nothing_beside_objects(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abc":
        make_photo(tmp_path / f"{name}.jpg")
    images = {
        "a.jpg": [("none", [0, 0, 20, 20]), ("tower", [1, 1, 5, 5]), ("crane", [2, 2, 3, 3])],
        "b.jpg": [("none", [0, 0, 20, 20]), ("tower", [1, 1, 5, 5])],
        "c.jpg": [("none", [0, 0, 20, 20])],
    }
    data = load_data(write_coco(tmp_path / "x.coco.json", images))
    assert data.classes == ("crane", "none", "tower") and data.background == 1
    assert [s.labels for s in data.samples] == [(2, 0), (2,), (1,)]
    assert [len(boxes_of(s)) for s in data.samples] == [2, 1, 1] and [s.box_labels for s in data.samples] == [(2, 0), (), ()]
    (problem,) = data.problems
    assert "2 photos are labelled 'none', as if there was no object, and with another class: a.jpg, b.jpg" in problem.message


def annotated(name: str, **changes: object) -> dict[str, object]:
    return {"id": 1, "image_id": 0, "category_id": 7, "bbox": [1, 2, 10, 8]} | changes


def test_a_photo_of_a_crowd_is_no_background(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abc":
        make_photo(tmp_path / f"{name}.jpg")
    images = {"a.jpg": [("tower", [1, 2, 10, 8])], "b.jpg": [], "c.jpg": []}
    write_coco(tmp_path / "x.coco.json", images, annotations=[annotated("a", iscrowd=1), annotated("c", image_id=2, bbox=[])])
    data = load_data(tmp_path)
    assert class_names(data) == {"a.jpg": "tower", "b.jpg": "none", "c.jpg": "tower"}
    assert [s.boxes is None for s in data.samples] == [True, False, True]
    assert "1 annotation is a crowd" in data.problems[-1].message


def test_what_is_left_out_is_unknown_in_class_folders(class_folders: Path) -> None:
    listed: dict[str, list[tuple[str, list[float]]]] = {
        "test/tower/0.jpg": [("tower", [1, 2, 3, 4])],
        "test/tower/1.jpg": [],
        "test/none/0.jpg": [],
    }
    left_out = [annotated("0", iscrowd=1), annotated("1", image_id=1, bbox=[3, 3, 0, 0]), annotated("2", image_id=2, bbox=None)]
    write_coco(class_folders / "test.coco.json", listed, annotations=left_out)
    data = load_data(class_folders, split="test")
    assert [s.boxes for s in data.samples] == [None, None, None], "not even that of the background class"
    assert len(data.problems) == 3


@pytest.mark.parametrize("sorted_by_class", [True, False])
def test_a_list_of_images_says_nothing_about_them(class_folders: Path, sorted_by_class: bool) -> None:
    folder = class_folders / "train" if sorted_by_class else class_folders / "train" / "tower"
    write_coco(folder / "annotations.json", {"1.jpg" if not sorted_by_class else "none/1.jpg": []}, annotations=None)
    data = load_data(folder)
    assert all(s.boxes is None for s in data.samples)
    assert set(class_names(data).values()) == ({"none", "tower"} if sorted_by_class else {None})
    assert "has no annotations" in data.problems[0].message


def test_photos_that_are_there_twice(class_folders: Path) -> None:
    write_coco(class_folders / "train.coco.json", {"0.jpg": [("tower", [1, 2, 3, 4])], "3.jpg": [("tower", [1, 2, 3, 4])]})
    data = load_data(class_folders)
    assert [s.id for s in data.samples if s.boxed] == ["tower/3.jpg"]
    assert "more than once" in data.problems[0].message and "0.jpg (none/0.jpg, tower/0.jpg)" in data.problems[0].message


def test_what_lies_beside_listed_photos_is_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("images/1.jpg", "images/2.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "images" / "3.heic").touch()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.dng").touch()
    write_coco(tmp_path / "_annotations.coco.json", {"images/1.jpg": [("tower", [1, 2, 3, 4])], "images/2.jpg": []})
    data = load_data(tmp_path)
    assert len(data) == 2 and [p.path.name for p in data.problems] == ["images", "raw"], "no class, as a file lists the photos"


@pytest.mark.parametrize("name", ["photos.coco.json", "instances_photos.json", "photos.json"])
def test_the_folder_of_the_same_name_decides_among_copies(tmp_path: Path, make_photo: MakePhoto, name: str) -> None:
    for folder in ("copies", "photos", "old/photos"):
        make_photo(tmp_path / folder / "a.jpg")
    path = write_coco(tmp_path / name, {"a.jpg": [("tower", [1, 2, 3, 4])]})
    assert class_names(load_data(path)) == {"photos/a.jpg": "tower"}
