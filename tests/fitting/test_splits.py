"""Which photos are for what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dips.config import Config
from dips.errors import ConfigError, DataError
from dips.fitting.splits import read_splits

MakePhoto = Callable[..., Path]


def folders(top: Path, make_photo: MakePhoto, layout: dict[str, dict[str, int]]) -> Path:
    for split, classes in layout.items():
        for name, count in classes.items():
            for number in range(count):
                make_photo(top / split / name / f"{number}.png", seed=len(list(top.rglob("*.png"))))
    return top


def test_validation_photos_have_the_training_photos_classes(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 2, "none": 2}, "val": {"a": 2, "b": 1, "none": 1}})
    train_set, val_set = read_splits(data, Config())
    assert train_set.classes == val_set.classes == ("b", "none") and val_set.background == train_set.background == 1
    assert [(s.id, s.label) for s in val_set.samples] == [("b/0.png", 0), ("none/0.png", 1)]


def test_the_column_of_the_class_is_a_setting(tmp_path: Path, make_photo: MakePhoto) -> None:
    names = [f"{n}.png" for n in range(8)]
    for seed, name in enumerate(names):
        make_photo(tmp_path / name, seed=seed)
    lines = [f"{name},{n},{'ab'[n % 2]},{'train' if n < 4 else 'val'}" for n, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["photo,number,kind,split", *lines]))
    train_set, val_set = read_splits(tmp_path / "list.csv", Config().replace(**{"data.label_column": "kind"}))
    assert train_set.classes == val_set.classes == ("a", "b") and len(train_set) == len(val_set) == 4
    with pytest.raises(DataError, match="columns are photo, number, kind, split"):
        read_splits(tmp_path / "list.csv", Config())


def test_the_validation_part_is_cut_from_train_and_never_from_test(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 6, "none": 6}, "test": {"b": 2, "none": 2}})
    cuts = [read_splits(data, Config().replace(**{"train.seed": seed})) for seed in (0, 0, 1)]
    ids = [{s.id for s in val.samples} for _, val in cuts]
    assert ids[0] == ids[1] != ids[2]
    for train_set, val_set in cuts:
        assert len(train_set) + len(val_set) == 12
        assert not {s.path for s in train_set.samples} & {s.path for s in val_set.samples}
        assert all("test" not in s.path.relative_to(data).parts for s in (*train_set.samples, *val_set.samples))


def test_boxes_cannot_choose_where_there_are_none(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 3, "none": 3}})
    with pytest.raises(ConfigError, match=r"train\.select_on=boxes.*set it to auto"):
        read_splits(data, Config().replace(**{"train.select_on": "boxes"}))


def test_copies_stay_on_one_side_of_the_cut_and_are_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 8, "none": 8}})
    for photo in sorted(data.rglob("*.png")):
        shutil.copy(photo, photo.with_name(f"copy of {photo.name}"))
    train_set, val_set = read_splits(data, Config())
    contents = [{sample.path.read_bytes() for sample in part.samples} for part in (train_set, val_set)]
    assert len(val_set) == 4 and len(train_set) == 28 and not contents[0] & contents[1]
    assert sum("is the same photo as" in problem.message for problem in train_set.problems) == 16


def test_the_numbers_of_photos_are_those_before_the_cut(tmp_path: Path, make_photo: MakePhoto) -> None:
    train_set, val_set = read_splits(folders(tmp_path, make_photo, {"": {"b": 10, "none": 11}}), Config())
    assert len(val_set) == 4 and train_set.problems == ()
    (tmp_path / "b" / "9.png").unlink()
    (problem,) = read_splits(tmp_path, Config())[0].problems
    assert problem.path == tmp_path and "'b' (9), too few" in problem.message


def test_everything_that_is_wrong_is_among_the_problems(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 3, "none": 2}, "val": {"b": 2, "crane": 1, "none": 1}})
    shutil.copy(data / "train" / "b" / "0.png", data / "val" / "b" / "0.png")
    (data / "train" / "empty").mkdir()
    tree = {
        "images": [{"id": 1, "file_name": "b/1.png", "width": 24, "height": 32}, {"id": 2, "file_name": "b/gone.png"}],
        "categories": [{"id": 1, "name": "b"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [2, 2, 20, 20]}],
    }
    (data / "val.coco.json").write_text(json.dumps(tree))
    folders(data, make_photo, {"train": {"wren": 1}})
    train_set, val_set = read_splits(data, Config())
    text = "\n".join(f"{problem.path.name}: {problem.message}" for problem in train_set.problems)
    for words in (
        "empty: no photos in this folder",
        "0.png: is the same photo as",
        "of the split train: a leak, which training leaves out of val; remove one of the two",
        "val: 1 validation photo has no class of the training photos, left out: crane/0.png",
        "1.png: is 32 x 24, but its boxes were drawn on 24 x 32: width and height are exchanged",
        "1 listed photo does not exist",
        "train: 3 classes have fewer than 10 training photos",
        "'wren' (1), 'none' (2), 'b' (3)",
        "none to validate with for 'wren'",
    ):
        assert words in text, text
    assert [sample.id for sample in val_set.samples] == ["b/1.png", "none/0.png"], "crane has no class, b/0 is learned from"


@pytest.mark.parametrize("label", ["b", "none"])
def test_validation_on_nothing_but_training_photos_is_refused(tmp_path: Path, make_photo: MakePhoto, label: str) -> None:
    data = folders(tmp_path, make_photo, {"train": {"b": 2, "none": 2}})
    for number in range(2):
        copy = data / "val" / label / f"new name {number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "train" / "b" / f"{number}.png", copy)
    with pytest.raises(DataError, match=r"all 2 validation photos are copies of training photos; put other photos there"):
        read_splits(data, Config())
    make_photo(data / "val" / "b" / "other.png", seed=99)
    assert [sample.id for sample in read_splits(data, Config())[1].samples] == ["b/other.png"]
