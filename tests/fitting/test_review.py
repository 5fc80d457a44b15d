"""What a person reviewed, in the parts of a training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dips
from dips.cli.app import main
from dips.config import Config
from dips.data.outlines import coverage
from dips.errors import DataError
from dips.fitting.calibrate import LEAST_BOXES
from dips.fitting.review import add_review
from dips.fitting.splits import read_splits
from dips.formats.records import PredictionRecord
from dips.predict.results import REVIEWED
from dips.scoremaps.rle import encode
from dips.system.records import write_json
from dips.types import DataSet, Sample

MakePhoto = Callable[..., Path]
Found = Mapping[str, Sequence[tuple[str, Sequence[float]]]]
Parts = tuple[DataSet, DataSet, tuple[Sample, ...]]
SIZE = (32, 24)
BOX = [4, 6, 10, 12]  # x, y, width, height


def folders(top: Path, make_photo: MakePhoto, layout: Mapping[str, int]) -> Path:
    for name, count in layout.items():
        for number in range(count):
            make_photo(top / name / f"{number}.png", SIZE, seed=len(list(top.rglob("*.png"))))
    return top


def review(path: Path, found: Found, **image: Any) -> Path:
    """Write boxes ``x y width height`` of photos, each with the name of its class."""
    names = sorted({name for boxes in found.values() for name, _ in boxes} | {"none"})
    size = {"width": SIZE[0], "height": SIZE[1]} | image
    images = [{"id": number, "file_name": name} | size for number, name in enumerate(found, 1)]
    annotations = [
        {"id": 100 * number + k, "image_id": number, "category_id": names.index(name), "bbox": list(box)}
        for number, boxes in enumerate(found.values(), 1)
        for k, (name, box) in enumerate(boxes)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def parts(data: Path, path: Path) -> Parts:
    return add_review(path, data, *read_splits(data, Config()))


def by_id(dataset: DataSet) -> dict[str, Sample]:
    return {sample.id: sample for sample in dataset.samples}


def test_reviewed_photos_are_trained_on_with_their_boxes(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    _, before = read_splits(data, Config())
    held = next(sample.id for sample in before.samples if sample.label == 1)
    found: Found = {held: [("tower", BOX), ("tower", [0, 0, 4, 4])], "none/0.png": [], "tower/7.png": []}
    train, val, blank = parts(data, review(tmp_path / "boxes.json", found))
    assert blank == () and len(train) + len(val) == 16 and held in by_id(train) and held not in by_id(val)
    marked = {id: sample for id, sample in by_id(train).items() if sample.reviewed}
    assert set(marked) == set(found) and not any(sample.reviewed for sample in val.samples)
    np.testing.assert_allclose(marked[held].fractions, np.array([[4, 6, 14, 18], [0, 0, 4, 4]]) / [32, 24, 32, 24])
    assert [marked[id].label for id in (held, "none/0.png", "tower/7.png")] == [1, 0, 0], "nothing is there: background"
    assert all(sample.boxes is None for sample in train.samples if not sample.reviewed)


def test_photos_without_object_where_no_class_is_for_them(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"a": 8, "b": 8})
    train, _, blank = parts(data, review(tmp_path / "boxes.json", {"a/1.png": [], "b/2.png": [("a", BOX)]}))
    assert [sample.id for sample in blank] == ["a/1.png"] and blank[0].reviewed and "a/1.png" not in by_id(train)
    assert by_id(train)["b/2.png"].label == 0, "a person knows better than the folder"


def test_a_tool_may_call_the_object_otherwise(tmp_path: Path, make_photo: MakePhoto) -> None:
    """In a class folder the photo's class stays; elsewhere only a single class of objects is not asked back."""
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    new = make_photo(tmp_path / "more" / "new.png", SIZE, seed=99)
    found = {"tower/3.png": [("Object", BOX)], str(new): [("thing", BOX)]}
    train, _, _ = parts(data, review(tmp_path / "boxes.json", found))
    added = by_id(train)[new.resolve().as_posix()]
    assert by_id(train)["tower/3.png"].label == added.label == 1 and added.reviewed
    data = folders(tmp_path / "two", make_photo, {"a": 8, "b": 8})
    train, _, _ = parts(data, review(tmp_path / "boxes.json", {"b/3.png": [("Object", BOX)], str(new): [("thing", BOX)]}))
    assert by_id(train)["b/3.png"].label == 1 and new.resolve().as_posix() not in by_id(train)
    assert any("'thing' is no class of objects, left out" in problem.message for problem in train.problems)


def test_boxes_of_several_classes(tmp_path: Path, make_photo: MakePhoto) -> None:
    """Each box keeps its class, and the photo has all of them, the largest first; a name that is no class is the largest's."""
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8, "crane": 8})
    found: Found = {
        "tower/3.png": [("tower", [0, 0, 4, 4]), ("crane", BOX), ("tower", [20, 2, 3, 3])],
        "tower/4.png": [("tower", BOX), ("tower", [0, 0, 4, 4])],
        "tower/5.png": [("thing", BOX), ("crane", [0, 0, 4, 4])],
        "none/6.png": [("tower", [0, 0, 4, 4]), ("none", BOX)],
    }
    train, _, _ = parts(data, review(tmp_path / "boxes.json", found))
    names = {id: tuple(train.classes[label] for label in s.labels) for id, s in by_id(train).items() if s.reviewed}
    assert names == {
        "tower/3.png": ("crane", "tower"),
        "tower/4.png": ("tower",),
        "tower/5.png": ("crane",),
        "none/6.png": ("tower",),
    }
    mixed = by_id(train)["tower/3.png"]
    owners = [train.classes[label] for label in mixed.box_labels]
    assert mixed.boxes is not None and sorted(zip(owners, mixed.boxes[:, 0].tolist(), strict=True)) == [
        ("crane", 4.0),
        ("tower", 0.0),
        ("tower", 20.0),
    ]
    assert by_id(train)["tower/4.png"].box_labels == () == by_id(train)["tower/5.png"].box_labels


def test_what_a_list_says_of_several_labels_gives_way_to_boxes(tmp_path: Path, make_photo: MakePhoto) -> None:
    top = folders(tmp_path / "data", make_photo, {"photos": 12})
    labels = ["tower|crane", "tower", "crane|tower", "crane"] * 3
    (top / "list.csv").write_text("\n".join(["path,label", *(f"photos/{n}.png,{own}" for n, own in enumerate(labels))]))
    found: Found = {"photos/0.png": [("crane", BOX)], "photos/1.png": [("crane", BOX), ("tower", [0, 0, 3, 3])]}
    train, _, _ = parts(top / "list.csv", review(tmp_path / "boxes.json", found))
    reviewed = {sample.id: sample for sample in train.samples if sample.reviewed}
    assert [train.classes[label] for label in reviewed["photos/0.png"].labels] == ["crane"]
    assert [train.classes[label] for label in reviewed["photos/1.png"].labels] == ["crane", "tower"]


def told(dataset: DataSet, words: str) -> list[str]:
    return [problem.message for problem in dataset.problems if words in problem.message]


def test_names_that_are_no_class_are_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8, "crane": 8})
    found: Found = {
        "tower/3.png": [("tower", BOX), ("mast", [0, 0, 4, 4]), ("mast", [20, 0, 4, 4])],
        "tower/4.png": [("mast", BOX)],
        "crane/5.png": [("crane", BOX), ("none", [0, 0, 4, 4])],
    }
    train, _, _ = parts(data, review(tmp_path / "boxes.json", found))
    assert [message.split(", as the photo")[0] for message in told(train, "is no class")] == [
        "3 boxes are called 'mast', which is no class of objects, and count as 'tower'",
        "1 box is called 'none', which is no class of objects, and counts as 'crane'",
    ]
    train, _, _ = parts(data, review(tmp_path / "right.json", {"tower/3.png": [("tower", BOX), ("crane", BOX)]}))
    assert not told(train, "is no class")


@pytest.mark.parametrize("outside", [[40, 30, 5, 5], [32, 0, 4, 4], [-9, 3, 9, 4]])
def test_a_box_beside_the_photo_is_no_object(tmp_path: Path, make_photo: MakePhoto, outside: list[float]) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8, "crane": 8})
    found: Found = {
        "tower/3.png": [("crane", outside), ("tower", BOX)],
        "tower/4.png": [("tower", outside)],
        "tower/5.png": [("tower", [28, 20, 9, 9])],
    }
    train, _, _ = parts(data, review(tmp_path / "boxes.json", found))
    boxes = {id: sample.boxes.tolist() for id, sample in by_id(train).items() if sample.reviewed and sample.boxes is not None}
    assert boxes == {"tower/3.png": [[4, 6, 14, 18]], "tower/5.png": [[28, 20, 32, 24]]}
    assert by_id(train)["tower/3.png"].box_labels == () == by_id(train)["tower/3.png"].others
    assert [message.split(";")[0] for message in told(train, "beside the photo")] == [
        "tower/3.png: 1 box lies beside the photo, left out",
        "tower/4.png: 1 box lies beside the photo",
    ]


def test_photos_with_more_than_their_boxes_are_left_out(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    names = ("tower/3.png", "tower/4.png", "tower/5.png", "tower/6.png")
    path = review(tmp_path / "boxes.json", {name: [("tower", BOX), ("tower", [20, 2, 6, 6])] for name in names})
    tree = json.loads(path.read_text())
    tree["annotations"][1]["iscrowd"] = 1
    tree["annotations"][3]["category_id"] = 99
    tree["annotations"][5]["bbox"] = [3, 3, 0, 5]  # a slip of the mouse hides nothing
    path.write_text(json.dumps(tree))
    train, _, _ = parts(data, path)
    assert {id: len(s.fractions) for id, s in by_id(train).items() if s.reviewed} == {"tower/5.png": 1, "tower/6.png": 2}
    assert [message.split(" shows")[0] for message in told(train, "more than its boxes")] == ["tower/3.png", "tower/4.png"]


def test_empty_validation_photos_without_a_class_for_them_are_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"train/a": 4, "train/b": 4, "val/a": 3, "val/b": 3})
    train, val, blank = parts(data, review(tmp_path / "boxes.json", {"val/a/0.png": [], "train/a/1.png": [("a", BOX)]}))
    assert len(val) == 5 and blank == () and len(told(train, "1 validation photo was reviewed as empty")) == 1


def test_photos_that_were_not_predicted_are_looked_for_in_the_data(tmp_path: Path, make_photo: MakePhoto) -> None:
    data, folder = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8}), tmp_path / "prediction"
    for name in ("new.png", "moved.png"):
        photo = make_photo(tmp_path / "new" / name, SIZE, seed=98 + len(name))
        record = PredictionRecord(
            path=photo.as_posix(),
            name=name,
            folder="new",
            width=SIZE[0],
            height=SIZE[1],
            label="tower",
            label_score=1.0,
            class_scores={"tower": 1.0},
            background=None,
            boxes=(),
            threshold=0.5,
            min_area=0.0,
            min_score=0.0,
            max_boxes=9,
            model="",
        )
        write_json(folder / "json" / f"{photo.stem}.json", record)
    (tmp_path / "new" / "moved.png").unlink()
    names = ("new.png", "moved.png", "tower/3.png", "gone.png")
    review(folder / REVIEWED, {name: [("tower", BOX)] for name in names})
    train, _, _ = parts(data, folder)
    assert {Path(id).name for id, sample in by_id(train).items() if sample.reviewed} == {"new.png", "3.png"}
    assert len(told(train, "moved.png does not exist")) == len(told(train, "gone.png")) == 1


def test_a_separate_validation_folder_keeps_its_photos(tmp_path: Path, make_photo: MakePhoto) -> None:
    layout = {"train/none": 3, "train/tower": 3, "val/none": 2, "val/tower": 2}
    data = folders(tmp_path / "data", make_photo, layout)
    found = {"val/tower/0.png": [("tower", BOX)], "train/tower/1.png": [("tower", BOX)]}
    train, val, _ = parts(data, review(data / "boxes.json", found))
    assert [s.id for s in train.samples if s.reviewed] == ["tower/1.png"]
    assert [(s.id, s.boxed) for s in val.samples if s.reviewed] == [("tower/0.png", True)] and len(val) == 4


@pytest.mark.parametrize(("boxes", "stays"), [(LEAST_BOXES - 1, False), (LEAST_BOXES, True)])
def test_a_part_with_boxes_enough_to_calibrate_by_stays(tmp_path: Path, make_photo: MakePhoto, boxes: int, stays: bool) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    held = next(sample.id for sample in read_splits(data, Config())[1].samples if sample.label == 1)
    train, val, _ = parts(data, review(tmp_path / "boxes.json", {held: [("tower", BOX)] * boxes}))
    assert [held in by_id(part) for part in (train, val)] == [not stays, stays]
    assert by_id(val if stays else train)[held].reviewed


def test_where_all_is_reviewed_some_photos_stay_to_choose_by(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    found = {f"tower/{n}.png": [("tower", BOX)] for n in range(8)} | {f"none/{n}.png": [] for n in range(8)}
    train, val, _ = parts(data, review(tmp_path / "boxes.json", found))
    assert len(train) + len(val) == 16 and len(val) >= 2 and all(sample.reviewed for sample in (*train.samples, *val.samples))


@pytest.mark.parametrize("copied", [False, True])
def test_photos_of_another_split_are_refused(tmp_path: Path, make_photo: MakePhoto, copied: bool) -> None:
    data = folders(tmp_path / "data", make_photo, {"train/none": 6, "train/tower": 6, "test/tower": 2})
    name = "test/tower/1.png"
    if copied:
        name = str(shutil.copy(data / name, tmp_path / "taken home.png"))
    with pytest.raises(DataError, match=r"1 reviewed photo is of the split 'test'.*worth nothing.*move these"):
        parts(data, review(tmp_path / "boxes.json", {name: [("tower", BOX)]}))


@pytest.mark.parametrize("scale", [1, 2])
def test_masks_come_with_their_boxes(tmp_path: Path, make_photo: MakePhoto, scale: int) -> None:
    """Of polygons and run lengths, also annotated on a larger copy; where there is none, the box counts."""
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    box = [scale * value for value in BOX]
    found = {"tower/1.png": [("tower", box)] * 3, "tower/2.png": [("tower", box)], "none/0.png": []}
    path = review(tmp_path / "boxes.json", found, width=scale * SIZE[0], height=scale * SIZE[1])
    tree = json.loads(path.read_text())
    x, y, width, height = box
    tree["annotations"][0]["segmentation"] = [[x, y, x + width, y, x, y + height]]
    runs = encode(np.ones((height // 2, width), bool), corner=(x, y), size=(scale * SIZE[0], scale * SIZE[1]))
    tree["annotations"][2]["segmentation"] = {"size": [scale * SIZE[1], scale * SIZE[0]], "counts": runs}
    path.write_text(json.dumps(tree))
    marked = {id: sample for id, sample in by_id(parts(data, path)[0]).items() if sample.reviewed}
    assert marked["tower/2.png"].outlines == marked["none/0.png"].outlines == ()
    triangle, none, half = marked["tower/1.png"].outlines
    assert triangle is not None and none is None and half is not None
    shown = coverage(half, SIZE[::-1])
    assert shown[6:12, 4:14].all() and shown.sum() == 60
    assert abs(float(coverage(triangle, SIZE[::-1]).sum()) - 60) < 3


@pytest.mark.parametrize("column", ["class", "label"])
def test_other_splits_are_read_with_the_column_of_classes_that_was_given(
    tmp_path: Path, make_photo: MakePhoto, column: str
) -> None:
    """Two columns of a table could be the classes."""
    lines = ["file,class,label,split"]
    for split, count in (("train", 8), ("test", 2)):
        for number in range(count):
            name = f"{split}{number}.png"
            make_photo(tmp_path / "data" / name, SIZE, seed=len(lines))
            lines.append(f"{name},{('none', 'tower')[number % 2]},{('none', 'crane')[number // 2 % 2]},{split}")
    (table := tmp_path / "data" / "labels.csv").write_text("\n".join(lines))
    new = make_photo(tmp_path / "new.png", SIZE, seed=99)
    found = {name: [(("tower" if column == "class" else "crane"), BOX)] for name in ("train1.png", str(new))}
    config = Config().replace(**{"data.label_column": column})
    path, splits = review(tmp_path / "boxes.json", found), read_splits(table, config)
    with pytest.raises(DataError, match="label_column"):
        add_review(path, table, *splits)
    train, val, _ = add_review(path, table, *splits, label_column=column)
    assert [sample.id for sample in train.samples if sample.reviewed] == [new.resolve().as_posix(), "train1.png"]
    assert len(train) + len(val) == 9
    with pytest.raises(DataError, match="1 reviewed photo is of the split 'test'"):
        add_review(review(path, {"test1.png": found["train1.png"]}), table, *splits, label_column=column)


def test_copies_of_training_photos_are_these(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 6, "tower": 6})
    copy = shutil.copy(data / "tower" / "1.png", tmp_path / "copy.png")
    train, val, _ = parts(data, review(tmp_path / "boxes.json", {str(copy): [("tower", BOX)]}))
    assert [s.id for s in train.samples if s.reviewed] == ["tower/1.png"] and len(train) + len(val) == 12


def test_what_cannot_be_used_is_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 8, "tower": 8})
    (data / "tower" / "5.png").write_bytes((data / "tower" / "5.png").read_bytes()[:40])
    found = {name: [("tower", BOX)] for name in ("tower/1.png", "tower/5.png", "gone.png")}
    path = review(tmp_path / "boxes.json", found | {"tower/2.png": [("tower", [1, 1, 0, 0])]})
    train, _, _ = parts(data, path)
    assert [s.id for s in train.samples if s.reviewed] == ["tower/1.png"]
    said = [problem.message for problem in train.problems]
    for words in ("what was reviewed there is left out", "gone.png", "has no area"):
        assert any(words in message for message in said), words
    other = review(tmp_path / "other.json", {"tower/1.png": [("tower", BOX)]}, width=4000, height=2000)
    with pytest.raises(
        DataError, match=r"none of its photos can be trained on: has 32 x 24 pixels, other.json says 4000 x 2000"
    ):
        parts(data, other)
    larger = review(tmp_path / "larger.json", {"tower/1.png": [("tower", [8, 12, 20, 24])]}, width=64, height=48)
    (sample,) = [s for s in parts(data, larger)[0].samples if s.reviewed]
    np.testing.assert_allclose(sample.fractions, [[0.125, 0.25, 0.4375, 0.75]], err_msg="annotated on a larger copy")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"nothing\.json does not exist; review photos with 'dips view'"),
        ('{"images": [{"id": 1, "file_name": "tower/1.png"}]}', "has no annotations"),
        ("{}", "no list of images"),
    ],
)
def test_files_that_are_no_review(tmp_path: Path, make_photo: MakePhoto, text: str | None, words: str) -> None:
    data = folders(tmp_path / "data", make_photo, {"none": 4, "tower": 4})
    path = tmp_path / "nothing.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words):
        parts(data, path)
    with pytest.raises(DataError, match=r"reviewed\.coco\.json does not exist"):
        parts(data, tmp_path)


def test_a_reviewed_prediction_is_trained_on(tiny_training: Any, tiny_model: dips.Model, tmp_path: Path) -> None:
    """From a prediction of new photos, reviewed, to a run that says what it was trained on, and is not measured there."""
    photos = tmp_path / "new"
    shutil.copytree(tiny_training.data / "test" / "tower", photos)
    for path in photos.iterdir():
        with path.open("ab") as file:
            file.write(b"\0")  # no copies of the test photos
    predicted = tmp_path / "predicted"
    assert main(["predict", str(tiny_model.run), str(photos), "--out", str(predicted), "--device", "cpu"]) == 0
    size = {"width": 80, "height": 64}
    names = sorted(path.name for path in photos.iterdir())
    review(predicted / REVIEWED, {names[0]: [("tower", [10, 10, 30, 40])], names[1]: []}, **size)
    model = tiny_training.fit("reviewed", "train.epochs=0", reviewed=predicted)
    assert len(model.record.reviewed) == 2 and model.record.labels == "image labels + 2 reviewed photos"
    assert model.record.photos.train == tiny_model.record.photos.train + 2
    assert "image labels + 2 reviewed photos" in (model.run / "README.md").read_text()
    evaluation = model.evaluate(tiny_training.data, split="test")
    assert evaluation["labels"] == "image labels + 2 reviewed photos"
    more = tmp_path / "data"
    shutil.copytree(tiny_training.data, more)
    shutil.copy(photos / names[0], more / "test" / "tower" / "again.jpg")
    with pytest.raises(DataError, match=r"trained on the boxes of 1 photo of these: tower/again\.jpg"):
        model.evaluate(more, split="test")
