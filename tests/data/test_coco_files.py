"""Where a COCO json and its photos lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import available_splits, load_data, require_trainable
from dips.data.coco_files import annotation_files, find_coco
from dips.data.locate import photos_of, subset_name
from dips.errors import DataError

from .conftest import MakePhoto, class_names, write_coco

BOX = ("tower", (1, 2, 10, 8))


def make(top: Path, json: str, photos: str, make_photo: MakePhoto, *names: str) -> Path:
    """Write photos, every second one without object, and their COCO file, which names them bare."""
    names = names or ("a.jpg", "b.jpg")
    for name in names:
        make_photo(top / photos / name)
    (top / json).parent.mkdir(parents=True, exist_ok=True)
    return write_coco(top / json, {name: [BOX] * (number % 2 == 0) for number, name in enumerate(names)})


@pytest.mark.parametrize(
    ("json", "photos"),
    [
        ("annotations/instances_default.json", "images/default"),
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_default.json", "default"),
        ("annotations/instances_default.json", "."),
        ("annotations/anything.json", "images"),
        ("Annotations/coco.json", "images/coco/deep"),
        ("result.json", "images"),
        ("labels.json", "data"),
        ("_annotations.coco.json", "."),
    ],
)
def test_an_undivided_data_set(tmp_path: Path, make_photo: MakePhoto, json: str, photos: str) -> None:
    path = make(tmp_path, json, photos, make_photo)
    for data in (load_data(tmp_path), load_data(path)):
        assert {Path(id).name: name for id, name in class_names(data).items()} == {"a.jpg": "tower", "b.jpg": "none"}
        assert data.layout == "coco" and data.split == "all" and not data.problems
        assert require_trainable(data).classes == ("none", "tower")
    if "/" in json and photos.startswith("images"):
        assert set(class_names(load_data(tmp_path / "images")).values()) == {"tower", "none"}
    assert find_coco(tmp_path) == path and available_splits(tmp_path) == ("all",)


@pytest.mark.parametrize("photos", ["{}2017", "images/{}2017", "images/{}"])
def test_the_parts_of_coco_2017(tmp_path: Path, make_photo: MakePhoto, photos: str) -> None:
    for split in ("train", "val"):
        path = make(
            tmp_path, f"annotations/instances_{split}2017.json", photos.format(split), make_photo, "1.jpg", f"{split}.jpg"
        )
        (path.parent / f"captions_{split}2017.json").write_text('{"images": [{"file_name": "1.jpg"}], "annotations": []}')
    assert available_splits(tmp_path) == ("train", "val")
    for split in ("train", "val"):
        data = load_data(tmp_path, split=split)
        assert class_names(data) == {"1.jpg": "tower", f"{split}.jpg": "none"} and data.split == split and not data.problems
        folder = tmp_path / photos.format(split)
        assert class_names(load_data(folder)) == class_names(data), "the folder itself"
        assert class_names(load_data(tmp_path / f"annotations/instances_{split}2017.json")) == class_names(data)
    assert load_data(tmp_path).split == "train" and len(load_data(tmp_path, split="all")) == 4


def test_parts_in_one_folder_of_images(tmp_path: Path, make_photo: MakePhoto) -> None:
    make(tmp_path, "annotations/train.json", "images", make_photo, "a.jpg", "b.jpg")
    make(tmp_path, "annotations/test.json", "images", make_photo, "c.jpg", "d.jpg")
    assert class_names(load_data(tmp_path)) == {"a.jpg": "tower", "b.jpg": "none"}
    assert class_names(load_data(tmp_path, split="test")) == {"c.jpg": "tower", "d.jpg": "none"}


def test_subsets_of_other_names(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("first", "second"):
        make(tmp_path, f"annotations/instances_{name}.json", f"images/{name}", make_photo)
    assert available_splits(tmp_path) == ("first", "second")
    assert class_names(load_data(tmp_path, split="second")) == {"a.jpg": "tower", "b.jpg": "none"}
    with pytest.raises(DataError, match="no training split; choose one of first, second"):
        load_data(tmp_path)


def test_class_folders_beside_annotations(tmp_path: Path, make_photo: MakePhoto) -> None:
    make(tmp_path, "annotations/instances_default.json", ".", make_photo, "tower/1.jpg", "none/2.jpg")
    data = load_data(tmp_path)
    assert class_names(data) == {"tower/1.jpg": "tower", "none/2.jpg": "none"} and not data.problems
    assert [len(s.boxes) for s in data.samples if s.boxes is not None] == [0, 1]


def test_class_folders_beside_the_annotations_of_splits(tmp_path: Path, make_photo: MakePhoto) -> None:
    make(tmp_path, "annotations/instances_train.json", ".", make_photo, "tower/1.jpg", "none/2.jpg")
    make(tmp_path, "annotations/instances_test.json", ".", make_photo, "tower/3.jpg", "none/4.jpg")
    assert class_names(load_data(tmp_path, split="test")) == {"tower/3.jpg": "tower", "none/4.jpg": "none"}


def test_photos_that_the_annotations_do_not_list_have_no_class(tmp_path: Path, make_photo: MakePhoto) -> None:
    make(tmp_path, "annotations/instances_default.json", "images/default", make_photo)
    make_photo(tmp_path / "images" / "default" / "c.jpg")
    data = load_data(tmp_path)
    assert class_names(data) == {"a.jpg": "tower", "b.jpg": "none", "c.jpg": None} and "c.jpg" in data.problems[0].message


def test_a_file_that_is_not_used_is_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    make(tmp_path, "first.json", "images", make_photo)
    write_coco(tmp_path / "second.json", {"a.jpg": []})
    data = load_data(tmp_path)
    assert data.layout == "folder"
    message = data.problems[0].message
    assert "first.json, second.json: not used" in message and "give the file itself in place of its folder" in message
    with pytest.raises(DataError, match=r"all photos are of one class, 'images'(?s:.*)first\.json, second\.json: not used"):
        require_trainable(data)


def test_results_beside_photos_are_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "annotations.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    assert "annotations.json: not used" in load_data(tmp_path).problems[0].message
    with pytest.raises(DataError, match="is a list of results"):
        load_data(tmp_path / "annotations.json")


def test_annotations_without_photos(tmp_path: Path) -> None:
    path = tmp_path / "annotations" / "instances_val.json"
    path.parent.mkdir()
    write_coco(path, {"a.jpg": []})
    for data in (path, tmp_path):
        with pytest.raises(
            DataError,
            match=f"{tmp_path}: none of the photos(?s:.*)1 listed photo does not exist in {tmp_path}, left out: a.jpg; put it",
        ):
            load_data(data)


def test_annotations_that_are_not_coco(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "images" / "default" / "a.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "default.json").write_text('{"items": [], "categories": {}}')
    with pytest.raises(DataError, match=r"annotations: default\.json: not COCO.*export it as COCO"):
        require_trainable(load_data(tmp_path))


def test_a_list_beside_photos_without_class_is_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text("a.jpg,tower\n")
    with pytest.raises(DataError, match=r"none of the photos has a class(?s:.*)list\.csv: not used"):
        require_trainable(load_data(tmp_path))


def test_names_of_parts(tmp_path: Path) -> None:
    names = ("instances_train2014", "instances_val-2017", "person", "validation", "instances_minival2014", "test.coco")
    assert [subset_name(Path(f"{name}.json")) for name in names] == ["train", "val", "person", "val", "minival2014", "test"]
    (tmp_path / "annotations").mkdir()
    for year in (2014, 2017):
        write_coco(tmp_path / "annotations" / f"instances_train{year}.json", {"a.jpg": []})
    assert list(annotation_files(tmp_path)) == ["train2014", "train2017"], "not one name for two files"
    path = write_coco(tmp_path / "labels.json", {})
    assert photos_of(path) == tmp_path, "no photos anywhere"
