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
from dips.types import Severity

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
    assert "train: 20 photos, 2 classes" in text and "tower      10" in text
    assert text.endswith("usable for training: 20 photos, for evaluation: 3")


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
    assert [name for name, _ in found] == ["leak.jpg", "2.jpg", "train", "0.jpg", "1.jpg", "again.jpg", "small.png"]
    for (_, message), words in zip(
        found,
        (
            "same photo as .*1.jpg of the split train: a leak",
            "in another class",
            r"fewer than 10 training photos: 'none' \(4\), 'tower' \(5\)",  # readable ones
            "left out, as it is not a photo",
            "left out, as it cannot be read: the file is incomplete",
            "the same photo as",
            "has only 9 x 5 pixels",
        ),
        strict=True,
    ):
        assert re.search(words, message), message
    assert report.usable and report.splits[0].photos == 11 and report.splits[0].readable == 9
    assert report.splits[0].sizes == ((9, 5), (32, 24), (90, 50))
    text = report.render()
    assert (
        "train: 11 photos found, 9 used, 2 cannot be read" in text and "none        4  and 2 that cannot be read  (back" in text
    )
    assert "and 5 more problems" in report.render(most=2) and "--problems FILE writes all" in report.render(most=2)
    assert "--problems" not in text and "!! test/tower/leak.jpg: is the same photo as train/tower/1.jpg of the split" in text
    use, left_out, first = text.splitlines()[-1].split("; ")
    assert use == "usable for training: 9 photos, for evaluation: 4" and left_out == "left out: 2 photos that cannot be read"
    assert first == "first look at what is marked !!"


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
    assert "usable for prediction and evaluation: 7 photos; left out: 3 photos that cannot be read" in report.render()
    assert report.render().splitlines()[-1].startswith("not for training: ")


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
    assert "is used: its 32-bit float values 1200" in found[1][1] and "are stretched from black to white; other" in found[1][1]
    assert "4 photos (the first is t0.tif) are used: their 16-bit grey values 70" in found[0][1]
    assert "are stretched from black to white, the same for all; other limits: --set data.depth=BLACK..WHITE" in found[0][1]
    write_tiff(tower / "hot.tif", (28000 + 900 * noise[0]).astype(np.uint16))
    messages = [problem.message for problem in check_data(class_folders).problems]
    assert any("are stretched from black to white, 1 other each by its own range;" in message for message in messages)


def test_what_is_not_usable(tmp_path: Path, make_photo: MakePhoto) -> None:
    (tmp_path / "a").mkdir()
    report = check_data(tmp_path)
    assert not report.usable and "no photos found" in report.errors[0] and "ERROR no photos found" in report.render()
    for name in ("a/1.heic", "b/2.heic", "b/3.nef"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = check_data(tmp_path).render()
    assert text.count("3 files are left out") == text.count("magick IN OUT.jpg") == 1 and "\\n" not in text
    shutil.rmtree(tmp_path / "b")
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
    assert "2 classes have fewer than 10 training photos: 'wren' (1), 'tit' (2), too few to be recognized well, " in text
    assert "and none to validate with for 'tit', 'wren' (validation photos are " in text, "copies don't count"
    data = fill(tmp_path / "split", make_photo, {"train/owl": 10, "train/none": 211, "val/owl": 1, "val/wren": 1})
    text = check_data(data).render()
    assert "more than 20 photos of 'none' (211) for each of 'owl' (10)" in text and "fewer than" not in text
    assert (
        "no validation photo (validation photos are set aside to choose and test with) shows 'none', " in text
        and "; add different photos of it to val" in text
    )


@pytest.mark.parametrize(
    ("counts", "background", "told"),
    [
        ({"owl": 10, "wren": 10}, "auto", True),
        ({"train/owl": 10, "train/wren": 10, "val/owl": 2, "val/wren": 2}, "auto", True),
        ({"owl": 10, "Background": 10}, "auto", False),
        ({"owl": 10, "sky": 10}, "sky", False),
        ({"owl": 10}, "auto", False),  # what training needs is said instead
    ],
)
def test_no_photos_without_an_object_are_a_note(
    tmp_path: Path, make_photo: MakePhoto, counts: dict[str, int], background: str, told: bool
) -> None:
    report = check_data(fill(tmp_path, make_photo, counts), background_class=background)
    notes = [problem for problem in report.problems if "such photos teach what is background" in problem.message]
    assert len(notes) == told and all(problem.severity is Severity.NOTE for problem in notes)


@pytest.mark.parametrize("name", ["1.heic", "1.NEF", "1.jxl"])
def test_a_class_that_cannot_be_read_hides_nothing_else(class_folders: Path, name: str) -> None:
    (class_folders / "train" / "turbine").mkdir()
    (class_folders / "train" / "turbine" / name).touch()
    (class_folders / "train" / "none" / "0.jpg").write_text("no photo")
    report = check_data(class_folders)
    text = report.render()
    assert not report.usable and f"ERROR train/turbine: class 'turbine' has no photo that can be read ({name}); " in text
    assert "! train/none/0.jpg: is left out" in text and text.count(name) == 1
    assert text.endswith("left out: 1 photo that cannot be read, 1 other file; first mend what is marked ERROR")


def test_what_spoils_the_result_comes_first_and_notes_last(class_folders: Path, make_photo: MakePhoto) -> None:
    train = class_folders / "train"
    (train / "empty").mkdir()
    shutil.copy(train / "tower" / "1.jpg", train / "none" / "again.jpg")
    shutil.copy(train / "tower" / "2.jpg", train / "tower" / "again.jpg")
    (train / "tower" / "x.jpg").symlink_to(class_folders / "gone.jpg")
    make_photo(train / "loose.jpg")
    for name in ("a.heic", "b.mp4"):
        (train / "tower" / name).touch()
    lines = check_data(class_folders).render().splitlines()
    start = next(number for number, line in enumerate(lines) if "problems (ERROR must be mended first; " in line)
    marks = [line.split()[0] for line in lines[start + 1 : -1]]
    assert marks == ["!!", "!!", "!", "!", "!", "!", "-"] and "7 problems" in lines[start]
    assert "loose.jpg; move it into the folder of its class" in "".join(lines)
    assert "; left out: 1 photo that cannot be read, 3 other files; " in lines[-1]


@pytest.mark.parametrize("place", ["annotations/instances_default.json", "list.json", "images/x.coco.json"])
def test_a_list_and_its_photos_have_short_paths(tmp_path: Path, make_photo: MakePhoto, place: str) -> None:
    for number in range(3):
        make_photo(tmp_path / "images" / f"{number}.jpg", seed=number)
    (tmp_path / "images" / "2.jpg").write_text("no photo")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    box = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]}
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)]
    path.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "tower"}], "annotations": [box]}))
    first, *lines = check_data(path).render().splitlines()
    assert first == str(path) and not any(str(tmp_path) in line for line in lines)
    inside = "" if "x.coco" in place else "images/"
    assert any(line.startswith(f"  ! {inside}2.jpg: ") for line in lines)
    assert any(line.startswith(f"  ! {place.removeprefix('images/')}: 1 listed photo does not exist in ") for line in lines)


def test_why_training_is_impossible_is_one_line(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "train" / "none")
    (class_folders / "train" / "none").mkdir()
    *_, problem, _, last = check_data(class_folders).render().splitlines()
    assert problem == "  - train/none: no photos in this folder; it is not a class"
    assert last.startswith("not for training: ") and last.endswith("for example none/")


def test_what_is_known_of_boxes(class_folders: Path) -> None:
    assert "boxes: none (not needed to train; without them nothing is measured)" in check_data(class_folders).render()
    tree = {
        "images": [{"id": n, "file_name": f"test/tower/{n}.jpg", "width": 32, "height": 24} for n in (0, 1)],
        "categories": [{"id": 1, "name": "tower"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]}, {"image_id": 1, "category_id": 1}],
    }
    (class_folders / "test.coco.json").write_text(json.dumps(tree))
    assert "boxes: known for 2 photos: 1 box, 1 photo without object; unknown for 1" in check_data(class_folders).render()


def test_photos_of_which_none_can_validate_are_not_for_training(tmp_path: Path, make_photo: MakePhoto) -> None:
    report = check_data(fill(tmp_path, make_photo, {"owl": 1, "wren": 1}))
    assert report.usable and "no class has two different photos" in report.untrainable


@pytest.mark.parametrize(
    ("copied", "other", "words"),
    [
        ({"owl": 3, "none": 3}, {}, "all 6 validation photos are copies of training photos; put other photos there"),
        ({"owl": 1}, {}, "the only validation photo is a copy of training photos; put"),
        ({}, {"wren": 2}, "the classes wren are none of the model's (none, owl)"),
        ({"owl": 2}, {"none": 1}, ""),
        ({"owl": 1, "none": 2}, {"none": 1, "wren": 1}, ""),
    ],
)
def test_validation_is_what_training_makes_of_it(
    tmp_path: Path, make_photo: MakePhoto, copied: dict[str, int], other: dict[str, int], words: str
) -> None:
    data = fill(tmp_path, make_photo, {"train/owl": 10, "train/none": 10, **{f"val/{k}": n for k, n in other.items()}})
    for name, count in copied.items():
        for number in range(count):
            copy = data / "val" / name / f"again {number}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / "train" / name / f"{number}.jpg", copy)
    report = check_data(data)
    assert report.usable and words in report.untrainable and bool(report.untrainable) == bool(words), report.untrainable
    messages = [problem.message for problem in report.problems]
    assert any("no validation photo (" in text and "shows 'owl'" in text for text in messages) == (not words)
    assert any("validation photo has no class of the training photos" in text for text in messages) == (
        "wren" in other and not words
    )


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


@pytest.mark.parametrize(("name", "option"), [("no tower", "--set data.background_class='no tower'"), ("Empty", "=Empty")])
def test_a_class_that_looks_like_the_background_is_told_in_place_of_the_note(
    tmp_path: Path, make_photo: MakePhoto, name: str, option: str
) -> None:
    for number in range(24):
        make_photo(tmp_path / ("tower" if number % 2 else name) / f"{number}.jpg", seed=number)
    told = [problem for problem in check_data(tmp_path).problems if "no object" in problem.message]
    assert [problem.severity for problem in told] == [Severity.SPOILS] and option in told[0].message
    assert "teach what is background" not in check_data(tmp_path).render()
    for known in (name, ""):
        assert "no object," not in check_data(tmp_path, background_class=known).render()


def test_photos_with_several_labels_are_counted(tmp_path: Path, make_photo: MakePhoto) -> None:
    for number in range(6):
        make_photo(tmp_path / f"{number}.jpg", seed=number)
    lines = [f"{number}.jpg,{label}" for number, label in enumerate(("x|y", "x", "y", "y|x", "none", ""))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    report = check_data(tmp_path)
    (split,) = report.splits
    assert split.classes == {"none": 1, "x": 3, "y": 3} and (split.several, split.unlabelled) == (2, 1)
    assert "    2 photos have several labels and count in each of their classes\n    without a class: 1\n" in report.render()


@pytest.mark.parametrize(("classless", "words"), [(1, "1 photo without a class"), (3, "3 photos without a class")])
def test_photos_without_a_class_are_not_usable_for_training(
    tmp_path: Path, make_photo: MakePhoto, classless: int, words: str
) -> None:
    lines = [f"{number}.jpg,{'' if number < classless else 'tower' if number % 2 else 'none'}" for number in range(9)]
    for number in range(9):
        make_photo(tmp_path / f"{number}.jpg", seed=number)
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    assert f"usable for training: {9 - classless} photos; left out: {words}" in check_data(tmp_path).render()
