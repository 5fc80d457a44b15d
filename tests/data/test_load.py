"""Which description of DATA counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import load_data
from dips.errors import DataError

from .conftest import MakePhoto, write_coco, write_metadata


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photos found"):
        load_data(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_data(tmp_path / "gone")
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(DataError, match="neither a folder nor"):
        load_data(tmp_path / "a.pdf")


def test_no_training_split(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "val" / "a" / "1.jpg")
    assert load_data(tmp_path).split == "val", "the only one"
    make_photo(tmp_path / "test" / "a" / "1.jpg")
    with pytest.raises(DataError, match="no training split; choose one of val, test"):
        load_data(tmp_path)


def test_metadata_of_other_photos_is_not_used(class_folders: Path) -> None:
    write_metadata(class_folders / "metadata" / "train", {"elsewhere/1.jpg": (0, (9, 9), [])})
    data = load_data(class_folders / "train")
    assert data.layout == "folder" and len(data) == 7 and "lists no photo" in data.problems[0].message


@pytest.mark.parametrize("name", ["x.coco.json", "list.csv"])
def test_a_file_has_no_other_splits(tmp_path: Path, make_photo: MakePhoto, name: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text("a.jpg,x\n")
    write_coco(tmp_path / "x.coco.json", {"a.jpg": []})
    with pytest.raises(
        DataError, match=rf"{name} has no split 'photos'; it is not divided into train/, test/ ...: take all of it, --split all"
    ):
        load_data(tmp_path / name, split="photos")


@pytest.mark.parametrize("table", ["photos/labels.csv", "photos.csv", "photos/_classes.csv"])
def test_a_csv_that_coco_replaces_is_named(tmp_path: Path, make_photo: MakePhoto, table: str) -> None:
    make_photo(tmp_path / "photos" / "a.jpg")
    write_coco(tmp_path / "photos.coco.json", {"photos/a.jpg": [("tower", [1, 2, 3, 4])]})
    (tmp_path / table).write_text("path,label\na.jpg,bird\n")
    data = load_data(tmp_path / "photos")
    assert data.classes == ("tower",)
    (problem,) = data.problems
    assert problem.path == tmp_path / table and "not used, as photos.coco.json" in problem.message
