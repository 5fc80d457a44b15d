"""What ``dips check`` finds."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dips.data import check_data
from dips.errors import DataError

from .conftest import MakePhoto, write_tiff


def fill(top: Path, make_photo: MakePhoto, counts: dict[str, int]) -> Path:
    """Class folders with so many photos."""
    for name, count in counts.items():
        for number in range(count):
            make_photo(top / name / f"{number}.jpg", seed=len(list(top.rglob("*.jpg"))) + 1000)
    return top


def test_clean_data(class_folders: Path, make_photo: MakePhoto) -> None:
    for name, count in (("none", 3), ("tower", 4)):
        for number in range(count, 10):
            make_photo(class_folders / "train" / name / f"{number}.jpg", seed=100 * count + number)
    report = check_data(class_folders, workers=2)
    assert report.usable and not report.problems and not report.untrainable
    train, test = report.splits
    assert train.classes == {"none": 10, "tower": 10} and test.photos == test.readable == 3 and train.background == "none"
    assert train.sizes == ((32, 24),) * 3 and train.boxed == 0
    text = report.render()
    assert "train: 20 photos, 2 classes" in text and "tower      10" in text and text.endswith("usable for training")


def test_finds_unreadable_files_copies_and_leaks(class_folders: Path, make_photo: MakePhoto) -> None:
    train, test = class_folders / "train", class_folders / "test"
    shutil.copy(train / "tower" / "1.jpg", test / "tower" / "leak.jpg")
    shutil.copy(train / "tower" / "2.jpg", train / "none" / "other class.jpg")
    shutil.copy(train / "tower" / "3.jpg", train / "tower" / "again.jpg")
    (train / "none" / "0.jpg").write_text("text")
    cut = train / "none" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    make_photo(train / "none" / "small.png", (9, 5), seed=99)
    make_photo(train / "none" / "large.png", (90, 50), seed=98)
    report = check_data(class_folders)
    found = [(p.path.name, p.message) for p in report.problems]
    assert [name for name, _ in found] == ["leak.jpg", "2.jpg", "again.jpg", "0.jpg", "1.jpg", "small.png", "train"]
    for (_, message), words in zip(
        found,
        (
            "same photo as .*1.jpg of the split train: a leak",
            "in another class",
            "the same photo as",
            "left out, as it is not a photo",
            "left out, as it cannot be read: image file is truncated",
            "has only 9 x 5 pixels",
            r"fewer than 10 training photos, .*'none' \(4\), 'tower' \(5\)",  # readable ones
        ),
        strict=True,
    ):
        assert re.search(words, message), message
    assert report.usable and report.splits[0].photos == 11 and report.splits[0].readable == 9
    assert report.splits[0].sizes == ((9, 5), (32, 24), (90, 50))
    assert "unreadable: 2" in report.render() and "and 5 more problems" in report.render(most=2)
    assert report.render().splitlines()[-1] == "usable, without 2 photos that cannot be read, for training"


def test_boxes_that_do_not_fit(class_folders: Path) -> None:
    def image(number: int, width: int, height: int) -> dict[str, object]:
        return {"id": number, "file_name": f"test/tower/{number}.jpg", "width": width, "height": height}

    tree = {
        "images": [image(0, 24, 32), image(1, 320, 240)],
        "categories": [{"id": 1, "name": "tower"}],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": [0, 0, 20 + n * 400, 20]} for n in (0, 1)],
    }
    (class_folders / "test.coco.json").write_text(json.dumps(tree))
    messages = [p.message for p in check_data(class_folders).problems if "training photos" not in p.message]
    assert len(messages) == 2
    assert "width and height are exchanged" in messages[0] and "its only box reaches beyond" in messages[1]


def test_a_class_of_which_no_photo_can_be_read_is_none(class_folders: Path) -> None:
    for photo in (class_folders / "train" / "none").iterdir():
        photo.write_text("no photo")
    report = check_data(class_folders)
    assert report.usable and "all photos are of one class, 'tower'" in report.untrainable
    assert "usable, without 3 photos that cannot be read, for prediction" in report.render()


def test_values_that_use_a_small_part_of_their_type(class_folders: Path) -> None:
    noise = np.random.default_rng(0).uniform(0, 1, (4, 20, 30))
    tower, none = class_folders / "train" / "tower", class_folders / "train" / "none"
    for number, values in enumerate(noise):
        write_tiff(tower / f"t{number}.tif", (7000 + 900 * values).astype(np.uint16))
    write_tiff(none / "dem.tif", (1200 + 900 * noise[0]).astype(np.float32))
    write_tiff(none / "whole.tif", (65535 * noise[0]).astype(np.uint16))
    report = check_data(class_folders)
    found = [(problem.path.name, problem.message) for problem in report.problems if "data.depth" in problem.message]
    assert report.usable and [name for name, _ in found] == ["train", "dem.tif"]
    assert "uses a small part of 32-bit float, values 1200" in found[1][1]
    assert "4 photos (the first is t0.tif) use a small part of 16-bit grey, values 700" in found[0][1]
    assert "become black to white (data.depth" in found[0][1] and "each is stretched by its own range (data" in found[1][1]
    write_tiff(tower / "hot.tif", (28000 + 900 * noise[0]).astype(np.uint16))
    messages = [problem.message for problem in check_data(class_folders).problems]
    assert "become black to white, each of 1 others is stretched by its own range" in messages[0]


def test_what_is_not_usable(tmp_path: Path, make_photo: MakePhoto) -> None:
    (tmp_path / "a").mkdir()
    report = check_data(tmp_path)
    assert not report.usable and "no photos found" in report.errors[0] and "ERROR" in report.render()
    (tmp_path / "a" / "x.jpg").write_text("")
    assert "none of its photos can be read" in check_data(tmp_path).errors[0]
    make_photo(tmp_path / "a" / "y.jpg")
    report = check_data(tmp_path)
    assert report.usable and "all photos are of one class" in report.untrainable and "not for training" in report.render()
    with pytest.raises(DataError, match="does not exist"):
        check_data(tmp_path / "gone")


def test_classes_that_training_would_not_learn(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = fill(tmp_path / "cut", make_photo, {"owl": 12, "wren": 1, "tit": 2})
    shutil.copy(data / "tit" / "0.jpg", data / "tit" / "again.jpg")
    (data / "tit" / "1.jpg").write_text("no photo")
    text = check_data(data).render()
    assert "2 classes have fewer than 10 training photos, too few to be recognized well: 'wren' (1), 'tit' (2);" in text
    assert "no validation photo shows 'tit', 'wren', so nothing tells" in text, "a copy is no second photo"
    data = fill(tmp_path / "split", make_photo, {"train/owl": 10, "train/none": 211, "val/owl": 1, "val/wren": 1})
    text = check_data(data).render()
    assert "more than 20 photos of 'none' (211) for each of 'owl' (10)" in text and "fewer than" not in text
    assert "no validation photo shows 'none', " in text and f"add different photos of it to {data / 'val'}" in text


def test_photos_of_which_none_can_validate_are_not_for_training(tmp_path: Path, make_photo: MakePhoto) -> None:
    report = check_data(fill(tmp_path, make_photo, {"owl": 1, "wren": 1}))
    assert report.usable and "no class has two different photos" in report.untrainable


def test_many_classes_are_cut_short(tmp_path: Path, make_photo: MakePhoto) -> None:
    for number in range(25):
        make_photo(tmp_path / f"class {number:02d}" / "1.jpg", seed=number)
    assert "and 5 more classes of 1 photo" in check_data(tmp_path).render()


def test_real_photos(real_data: Path) -> None:
    report = check_data(real_data / "insulators" / "test")
    assert report.usable and report.splits[0].readable == 353 and report.splits[0].boxes == 230
    assert not [p for p in report.problems if "turned" in p.message or "cannot" in p.message]


@pytest.mark.parametrize("size", [(9, 7), (300, 12), (1, 1)])
def test_photos_too_small_to_show_anything(class_folders: Path, make_photo: MakePhoto, size: tuple[int, int]) -> None:
    make_photo(class_folders / "train" / "tower" / "icon.png", size)
    (problem,) = (found for found in check_data(class_folders).problems if "training photos" not in found.message)
    assert problem.path.name == "icon.png" and f"has only {size[0]} x {size[1]} pixels" in problem.message
