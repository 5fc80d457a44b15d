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
        ("gone.jpg,x\n", r"no photos found(?s:.*)gone\.jpg"),
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
