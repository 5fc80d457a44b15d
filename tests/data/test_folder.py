"""One folder per class, or all photos in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import available_splits, class_counts, load_data, require_trainable
from dips.errors import DataError
from dips.types import Severity

from .conftest import MakePhoto, class_names


def test_folder_per_class_and_splits(class_folders: Path) -> None:
    train = load_data(class_folders)
    assert train.split == "train" and train.classes == ("none", "tower") and train.background == 0 and train.layout == "folder"
    assert [s.id for s in train.samples] == [*(f"none/{n}.jpg" for n in range(3)), *(f"tower/{n}.jpg" for n in range(4))]
    assert all(s.boxes is None and s.path.is_file() for s in train.samples)
    assert load_data(class_folders / "train") == load_data(class_folders, split="train") == train
    test = load_data(class_folders, split="TEST")
    assert class_counts(test) == {0: 1, 1: 2} and test == load_data(class_folders / "test")
    everything = load_data(class_folders, split="all")
    assert len(everything) == 10 and everything.samples[0].id == "test/none/0.jpg" and everything.background == 0
    assert available_splits(class_folders) == ("train", "test") and available_splits(class_folders / "train") == ("all",)
    with pytest.raises(DataError, match=r"no split 'val'; there are train, test"):
        load_data(class_folders, split="val")
    with pytest.raises(DataError, match="not divided"):
        load_data(class_folders / "train", split="test")


def test_labels_of_test_follow_training(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("train/b", "train/d", "validation/d", "validation/a", "validation/c"):
        make_photo(tmp_path / name / "1.jpg")
    val = load_data(tmp_path, split="val")
    assert val.classes == ("b", "d", "a", "c") and available_splits(tmp_path) == ("train", "val")
    assert sorted(p.path.name for p in val.problems) == ["a", "c"]
    assert load_data(tmp_path / "validation").classes == val.classes


def test_a_class_called_train(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("train", "car"):
        make_photo(tmp_path / name / "1.jpg")
    assert load_data(tmp_path).classes == ("car", "train")


def test_names_with_spaces_and_unicode(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("Ümläut, 名前/a b,c.jpg", "x y/sub folder/é.PNG"):
        make_photo(tmp_path / name)
    assert class_names(load_data(tmp_path)) == {"Ümläut, 名前/a b,c.jpg": "Ümläut, 名前", "x y/sub folder/é.PNG": "x y"}


def test_flat_folder_has_no_labels(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "b.jpg")
    make_photo(tmp_path / "a.jpg")
    data = load_data(tmp_path)
    assert class_names(data) == {"a.jpg": None, "b.jpg": None} and data.classes == () and data.split == "all"
    with pytest.raises(DataError, match="none of the photos has a class"):
        require_trainable(data)


def test_empty_and_single_classes(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "tower" / "1.jpg")
    make_photo(tmp_path / "loose.jpg")
    (tmp_path / "none").mkdir()
    data = load_data(tmp_path)
    assert data.classes == ("tower",) and len(data) == 1
    assert {p.path.name for p in data.problems} == {"none", tmp_path.name}
    with pytest.raises(
        DataError, match=r"all photos are of one class, 'tower'.*for example none/(?s:.*)no photos in this folder"
    ):
        require_trainable(data)
    make_photo(tmp_path / "other" / "1.jpg")
    assert require_trainable(load_data(tmp_path)).classes == ("other", "tower")


def test_classes_one_folder_further_down(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "photos" / "a" / "1.jpg")
    make_photo(tmp_path / "photos" / "b" / "1.jpg")
    with pytest.raises(DataError, match=f"beside photos/, called none/, or, .*, give {tmp_path / 'photos'}"):
        require_trainable(load_data(tmp_path))


def test_one_class_with_a_folder_in_it_may_lack_its_background(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "tower" / "1.jpg")
    make_photo(tmp_path / "tower" / "second day" / "2.jpg")
    with pytest.raises(DataError, match=f"without it beside tower/, called none/, or, .* give {tmp_path / 'tower'}"):
        require_trainable(load_data(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"), [("1.heic", b""), ("1.NEF", b"II*\x00"), ("1", b"\x00\x00\x00\x18ftypavif"), ("1.lossy", b"\x01\x80")]
)
def test_a_class_without_a_photo_that_can_be_read(tmp_path: Path, make_photo: MakePhoto, name: str, content: bytes) -> None:
    for folder in ("none", "pole"):
        make_photo(tmp_path / folder / "1.jpg")
    (tmp_path / "tower" / "deep").mkdir(parents=True)
    (tmp_path / "tower" / "deep" / name).write_bytes(content)
    with pytest.raises(
        DataError, match=rf"tower: class 'tower' has no photo that can be read \({name}.*\); convert these .*magick IN OUT"
    ):
        load_data(tmp_path)
    (problem,) = load_data(tmp_path, strict=False).problems
    assert (problem.path, problem.severity, problem.files) == (tmp_path / "tower", Severity.STOPS, 1)
    make_photo(tmp_path / "tower" / "1.jpg")
    assert [problem.path.name for problem in load_data(tmp_path).problems] == ["tower"]


def test_a_training_split_without_a_photo_that_can_be_read(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "test" / "tower" / "1.jpg")
    (tmp_path / "train" / "tower").mkdir(parents=True)
    (tmp_path / "train" / "tower" / "1.cr2").touch()
    with pytest.raises(DataError, match=r"train: no photos found (?s:.*)1 file is left out; 1\.cr2: convert to JPEG"):
        load_data(tmp_path)


def test_results_inside_the_photos_are_no_class(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("none/1.jpg", "tower/1.jpg", "boxes/overlays/1.jpg", "boxes/maps/1.png"):
        make_photo(tmp_path / name)
    (tmp_path / "boxes" / "json").mkdir()
    (tmp_path / "boxes" / "predictions.json").touch()
    data = load_data(tmp_path)
    assert data.classes == ("none", "tower") and len(data) == 2
    assert [(problem.path.name, problem.message[:13]) for problem in data.problems] == [("boxes", "holds results")]
