"""CSV of photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import available_splits, load_data
from dips.errors import DataError

from .conftest import MakePhoto, boxes_of, class_names, same


def test_csv_with_header_boxes_and_splits(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("a b.jpg", "sub/c,d.jpg", "e.jpg", "f.jpg"):
        make_photo(tmp_path / name)
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufefffilename;class;split;xmin;ymin;xmax;ymax\r\n"
        "a b.jpg;tower;train;1;2;3.5;4\r\na b.jpg;tower;train;5;6;7;8\r\n"
        '"sub\\c,d.jpg";none;Training;;;;\r\ne.jpg;tower;valid;;;;\r\n\r\nf.jpg;;valid;;;;\r\ngone.jpg;tower;train;;;;\r\n',
        encoding="utf-8",
    )
    data = load_data(path)
    assert same(data, load_data(tmp_path, split="train")) and data.layout == "csv" and data.split == "train"
    assert class_names(data) == {"a b.jpg": "tower", "sub/c,d.jpg": "none"} and data.background == 0
    assert boxes_of(data.samples[0]) == [[1, 2, 3.5, 4], [5, 6, 7, 8]] and boxes_of(data.samples[1]) == []
    assert "gone.jpg" in data.problems[0].message
    val = load_data(path, split="val")
    assert class_names(val) == {"e.jpg": "tower", "f.jpg": None} and val.samples[0].boxes is None
    assert available_splits(path) == ("train", "val") and len(load_data(path, split="all")) == 4


def test_csv_without_header(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "p" / "a.jpg")
    make_photo(tmp_path / "p" / "b.jpg")
    (tmp_path / "list.csv").write_text("p/a.jpg,x\n./p/b.jpg,y\n")
    assert class_names(load_data(tmp_path / "list.csv")) == {"p/a.jpg": "x", "p/b.jpg": "y"}
    (tmp_path / "list.csv").write_text("p/a.jpg,x,0,0,5,5\n")
    assert boxes_of(load_data(tmp_path / "list.csv").samples[0]) == [[0, 0, 5, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a.jpg\n", "line 1: expected 2 columns"),
        ("a.jpg,x\na.jpg,y\n", "line 2: a.jpg is 'y' here and 'x' before"),
        ("a.jpg,x\na.jpg,x\n", "listed twice"),
        ("path,label,x0\na.jpg,x,1\n", "only some of the columns"),
        ("path,label,x0,y0,x1,y1\na.jpg,x,1,2,3,\n", "line 2: x0, y0, x1, y1 are"),
        ("gone.jpg,x\n", r"none of the photos(?s:.*)gone\.jpg"),
    ],
)
def test_malformed_csv(tmp_path: Path, make_photo: MakePhoto, content: str, message: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "list.csv")


def test_csv_per_split(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "test/c.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "train.csv").write_text("images/a.jpg,x\nimages/b.jpg,y\n")
    (tmp_path / "test.csv").write_text("test/c.jpg,y\n")
    assert class_names(load_data(tmp_path)) == {"images/a.jpg": "x", "images/b.jpg": "y"}
    assert class_names(load_data(tmp_path, split="test")) == {"test/c.jpg": "y"}


def test_a_split_called_all(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "a.jpg")
    make_photo(tmp_path / "b.jpg")
    (tmp_path / "list.csv").write_text("path,label,split\na.jpg,x,all\nb.jpg,y,test\n")
    assert available_splits(tmp_path / "list.csv") == ("test", "all")
    assert class_names(load_data(tmp_path / "list.csv", split="all")) == {"a.jpg": "x", "b.jpg": "y"}


def test_several_classes_in_a_photo(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abc":
        make_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "list.csv").write_text(
        "path,label,x0,y0,x1,y1\na.jpg,crane,0,0,4,4\na.jpg,tower,4,4,20,20\na.jpg,crane,5,5,9,9\nb.jpg,crane,0,0,5,5\n"
        "c.jpg,tower,,,,\nc.jpg,crane,,,,\n"
    )
    data = load_data(tmp_path / "list.csv")
    assert class_names(data) == {"a.jpg": "tower", "b.jpg": "crane", "c.jpg": "tower"} and not data.problems
    assert data.classes == ("crane", "tower") and [sample.labels for sample in data.samples] == [(1, 0), (0,), (1, 0)]
    first, second, third = data.samples
    assert boxes_of(first) == [[0, 0, 4, 4], [5, 5, 9, 9], [4, 4, 20, 20]] and first.box_labels == (0, 0, 1)
    assert len(boxes_of(second)) == 1 and second.box_labels == () and third.boxes is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("path,label\na.jpg,x\na.jpg,y\n", r"line 3: a.jpg is 'y' here and 'x' before; keep .* write 'x\|y' in a single one"),
        ("path,label\na.jpg,x|y\na.jpg,y|z\n", r"line 3: a.jpg is 'y\|z' here and 'x\|y' before.*write 'x\|y\|z'"),
        ("path,label\na.jpg,x|y\na.jpg,y\n", "line 3: a.jpg is listed twice"),
        ("path,x,y\na.jpg,1,0\na.jpg,0,1\n", "line 3: a.jpg is 'y' here and 'x' before.*mark both in a single one"),
        (
            "path,label,x0,y0,x1,y1\na.jpg,x|y,1,1,9,9\n",
            r"line 2: a box of a.jpg is of 2 classes, 'x\|y'; write a line for each",
        ),
    ],
)
def test_labels_that_contradict_each_other(tmp_path: Path, make_photo: MakePhoto, lines: str, message: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text(lines)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "list.csv")


def test_several_labels_beside_boxes(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "ab":
        make_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "list.csv").write_text("path,label,x0,y0,x1,y1\na.jpg,x|y,,,,\na.jpg,z,1,1,9,9\nb.jpg,x|y,0,0,0,0\n")
    data = load_data(tmp_path / "list.csv")
    assert [[data.classes[label] for label in s.labels] for s in data.samples] == [["z", "x", "y"], ["none"]]
    assert boxes_of(data.samples[0]) == [[1, 1, 9, 9]] and boxes_of(data.samples[1]) == []


def test_boxes_without_a_class_beside_others_are_told(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abcd":
        make_photo(tmp_path / f"{name}.jpg")
    table = tmp_path / "list.csv"
    table.write_text(
        "path,label,x0,y0,x1,y1\na.jpg,x,1,1,5,5\na.jpg,,5,5,9,9\nb.jpg,,1,1,3,3\nb.jpg,y,2,2,4,4\nb.jpg,,3,3,6,6\n"
        "c.jpg,,1,1,5,5\nd.jpg,x,1,1,5,5\n"
    )
    data = load_data(table)
    assert [boxes_of(sample) for sample in data.samples] == [[[1, 1, 5, 5]], [[2, 2, 4, 4]], [[1, 1, 5, 5]], [[1, 1, 5, 5]]]
    assert [problem.message for problem in data.problems] == [
        "a.jpg has 1 box without a class beside others, left out; write the class, or remove the line",
        "b.jpg has 2 boxes without a class beside others, left out; write the class, or remove the lines",
    ]


@pytest.mark.parametrize(
    ("table", "name"), [("annotations/train.csv", "a.jpg"), ("lists/x.csv", "a.jpg"), ("lists/x.csv", "../images/a.jpg")]
)
def test_photos_beside_the_folder_of_the_file(tmp_path: Path, make_photo: MakePhoto, table: str, name: str) -> None:
    make_photo(tmp_path / "images" / "a.jpg")
    (tmp_path / table).parent.mkdir()
    (tmp_path / table).write_text(f"path,label\n{name},x\n")
    data = load_data(tmp_path / table)
    assert class_names(data) == {"a.jpg": "x"} and data.root == tmp_path / "images" and data.samples[0].path.is_file()


def test_boxes_that_are_none(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in "abcd":
        make_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "list.csv").write_text(
        "path,label,x0,y0,x1,y1\na.jpg,tower,5,5,5,9\nb.jpg,none,5,5,2,9\nc.jpg,tower,1,1,9,9\nc.jpg,tower,3,3,3,3\n"
        "c.jpg,tower,0,0,0,0\nd.jpg,,0,0,0,0\n"
    )
    data = load_data(tmp_path / "list.csv")
    assert class_names(data) == {"a.jpg": "tower", "b.jpg": "none", "c.jpg": "tower", "d.jpg": "none"}
    assert [None if s.boxes is None else len(s.boxes) for s in data.samples] == [None, None, 1, 0]
    assert [problem.message.split(" which")[0] for problem in data.problems] == [
        "a.jpg has boxes without area,",
        "b.jpg has boxes without area,",
        "c.jpg has boxes without area,",
        "c.jpg has a line that says it shows nothing,",
    ]
    assert ["its boxes are unknown" in problem.message for problem in data.problems] == [True, True, False, False]


@pytest.mark.parametrize("name", ["Background", "none"])
def test_what_shows_nothing_is_of_the_class_of_that_name(tmp_path: Path, make_photo: MakePhoto, name: str) -> None:
    for letter in "abc":
        make_photo(tmp_path / f"{letter}.jpg")
    rows = f"a.jpg,1,1,9,9,Tree\nb.jpg,0,0,0,0,Tree\nc.jpg,0,0,5,5,{name}\n"
    (tmp_path / "list.csv").write_text(f"image_path,xmin,ymin,xmax,ymax,label\n{rows}")
    data = load_data(tmp_path / "list.csv")
    assert class_names(data) == {"a.jpg": "Tree", "b.jpg": name, "c.jpg": name} and boxes_of(data.samples[1]) == []


def test_paths_of_other_machines(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("tower/1.jpg", "none/1.jpg", "none/2.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "list.csv").write_text(
        "path,label\nC:\\photos\\tower\\1.jpg,tower\n/mnt/x/none/1.jpg,none\n2.jpg,none\n1.jpg,tower\n,tower\n"
    )
    data = load_data(tmp_path / "list.csv")
    assert class_names(data) == {"none/1.jpg": "none", "none/2.jpg": "none", "tower/1.jpg": "tower"}
    assert ["more than once" in p.message for p in data.problems] == [True, False]
    assert "1 line names no photo" in data.problems[1].message


@pytest.mark.parametrize("name", ["_classes.csv", "_annotations.csv", "labels.csv"])
def test_csv_inside_a_split(tmp_path: Path, make_photo: MakePhoto, name: str) -> None:
    for split in ("train", "valid"):
        make_photo(tmp_path / split / "a.jpg")
        (tmp_path / split / name).write_text("filename,tower,none\na.jpg,1,0\n")
    assert class_names(load_data(tmp_path, split="val")) == {"a.jpg": "tower"} and available_splits(tmp_path) == (
        "train",
        "val",
    )
