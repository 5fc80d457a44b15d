"""Which column of a CSV is what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dips.data import available_splits, load_data
from dips.data.csv_columns import read_table
from dips.errors import DataError

from .conftest import MakePhoto, boxes_of, class_names

NAMES = [f"a{number}.jpg" for number in range(4)]


@pytest.fixture
def photos(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for number, name in enumerate(NAMES):
        make_photo(tmp_path / name, seed=number)
    return tmp_path


def classes(folder: Path, text: str, **options: Any) -> list[str | None]:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    data = load_data(folder / "list.csv", **options)
    assert [sample.id for sample in data.samples] == NAMES[: len(data)] and not data.problems
    return list(class_names(data).values())


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("filename,width,height,species", ["64,48,owl", "64,48,gull"]),
        ("filename,latitude,longitude,tag", ["48.1,11.5,owl", "48.2,11.6,gull"]),
        ("image_name,patient_id,target", ["IP_1,owl", "IP_2,gull"]),
        ("Image Path,Class Name", ["owl", "gull"]),
        ("photo,breed,weight", ["owl,3", "gull,4"]),
        ("name,labels", ["owl", "gull"]),
        ("picture,kind", ["owl", "gull"]),
        ("filename,width,height,kind", ["64,48,owl", "64,48,gull"]),
        ("id,name,category_id,category", ["x,1,owl", "y,2,gull"]),
        ("filename,label,label_name", ["0,owl", "1,gull"]),
        ("filename,name,label_name", ["Otto,owl", "Mia,gull"]),
        ("filename,owl,gull", ["1,0", "0,1"]),
        ("filename,Unnamed: 0,kind", ["0,owl", "1,gull"]),
        ("filename,,id,kind", ["0,x,owl", "1,y,gull"]),
        ("filename, gull, barn owl, owl", ["0,0,1", "1,0,0"]),
        ("filename,width,height,owl,gull", ["64,48,1.0,0.0", "64,48,0.0,1.0"]),
    ],
)
def test_the_class_is_found(photos: Path, header: str, rows: list[str]) -> None:
    lines = [f"{name},{row}" for name, row in zip(NAMES, rows * 2, strict=True)]
    assert classes(photos, "\n".join([header, *lines])) == ["owl", "gull"] * 2


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("filename,latitude,longitude", "48.1,11.5", r"no column is known to be.*columns are filename, latitude, longitude"),
        ("filename,width,height", "64,48", "no column is known to be"),
        ("picture,place,kind", "here,owl", "no column is known to be.*--set data.label_column=NAME"),
        ("filename,tag,species", "old,owl", r"tag, species could all be the class.*check and score: --label-column NAME"),
        ("filename,day,zoom", "1,1", "most lines have not exactly one 1"),
    ],
)
def test_the_class_is_not_guessed(photos: Path, header: str, row: str, message: str) -> None:
    lines = [f"{name},{row}" for name in NAMES[:3]] + [f"{NAMES[3]},{row.replace('owl', 'gull').replace('11.5', '11.6')}"]
    lines[1] = lines[1].replace("old", "new")
    with pytest.raises(DataError, match=rf"list\.csv: .*{message}"):
        classes(photos, "\n".join([header, *lines]))


def test_a_named_column(photos: Path) -> None:
    text = "filename,tag,Kind of bird\n" + "".join(f"{name},{n},owl\n" for n, name in enumerate(NAMES))
    assert classes(photos, text, label_column="kind of bird") == ["owl"] * 4
    assert classes(photos, text, label_column="tag") == ["0", "1", "2", "3"]
    with pytest.raises(DataError, match=r"no column 'kin' \(data\.label_column\); there are filename, tag, Kind of bird"):
        classes(photos, text, label_column="kin")
    with pytest.raises(DataError, match="no line with the names of its columns"):
        classes(photos, "a0.jpg,owl\n", label_column="tag")


def test_lines_with_no_or_several_ones(photos: Path) -> None:
    (photos / "list.csv").write_text("filename,owl,gull\na0.jpg,1,0\na1.jpg,0,1\na2.jpg,0,0\na3.jpg,1,1\na4.jpg,1,0\n")
    (photos / "a4.jpg").write_bytes((photos / "a0.jpg").read_bytes())
    data = load_data(photos / "list.csv")
    assert data.classes == ("gull", "owl") and [s.labels for s in data.samples] == [(1,), (0,), (), (1, 0), (1,)]
    assert "1 photo has no 1, so" in data.problems[0].message and "a2.jpg (line 4)" in data.problems[0].message


def test_columns_of_which_most_lines_have_several(photos: Path) -> None:
    """They may be anything, such as day and zoom, unless the file is called as those with a column per class are."""
    text = "filename,owl,gull,day\na0.jpg,1,1,0\na1.jpg,0,1,1\na2.jpg,1,1,1\na3.jpg,0,1,0\n"
    (photos / "list.csv").write_text(text)
    with pytest.raises(DataError, match=r"most lines have not exactly one 1 \(if each column is a class .*_classes\.csv\)"):
        load_data(photos / "list.csv")
    (photos / "list.csv").rename(photos / "_classes.csv")
    for data in (load_data(photos), load_data(photos / "_classes.csv")):
        names = [tuple(data.classes[label] for label in sample.labels) for sample in data.samples]
        assert names == [("owl", "gull"), ("gull", "day"), ("owl", "gull", "day"), ("gull",)]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("owl|gull", ("owl", "gull")),
        (" owl | gull |owl", ("owl", "gull")),
        ("|owl||", ("owl",)),
        (r"barn\|owl|gull", ("barn|owl", "gull")),
        ("|", ()),
    ],
)
def test_several_labels_in_a_cell(photos: Path, cell: str, names: tuple[str, ...]) -> None:
    (photos / "list.csv").write_text(f'path,label\na0.jpg,"{cell}"\na1.jpg,tit\n')
    data = load_data(photos / "list.csv")
    assert tuple(data.classes[label] for label in data.samples[0].labels) == names
    assert data.classes == tuple(sorted({*names, "tit"})), "only labels are split: paths may hold what they like"


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\na0.jpg;owl\na1.jpg;gull\n",
        '"sep=\t"\r\npath\tlabel\r\na0.jpg\towl\r\na1.jpg\tgull\r\n',
        "\ufeffsep=|\nlabel|path\nowl|a0.jpg\ngull|a1.jpg",
        "this is,what\na0.jpg,owl\na1.jpg,gull\n",
        "\n\nFoto,Klasse\na0.jpg,owl\na1.jpg,gull\n",
    ],
)
def test_first_lines(photos: Path, text: str) -> None:
    assert classes(photos, text) == ["owl", "gull"]


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x85", "\x0c", "\x1e"])
def test_only_line_ends_end_lines(photos: Path, mark: str) -> None:
    assert classes(photos, f"path,label\r\na0.jpg,barn{mark}owl\r\na1.jpg,gull\r\n") == [f"barn{mark}owl", "gull"]


@pytest.mark.parametrize("first", ["", "sep=,\n", "\n\n"])
def test_a_field_in_quotes_may_have_several_lines(photos: Path, first: str) -> None:
    lines = first.count("\n")
    text = first + 'path,label,note\na0.jpg,"barn\nowl","it\n\nsat\n"\na1.jpg,gull,\n'
    assert classes(photos, text, label_column="label") == ["barn\nowl", "gull"]
    table = read_table(photos / "list.csv")
    assert [number - lines for number, _ in table.rows] == [2, 7] and table.rows[0][1][2] == "it\n\nsat"
    with pytest.raises(DataError, match=f"line {8 + lines}: expected 2 columns"):
        classes(photos, text + "a2.jpg\n", label_column="label")


def test_a_line_of_names_is_no_photo_and_a_photo_is_no_line_of_names(photos: Path) -> None:
    (photos / "list.csv").write_text("gone.heic,image\na0.jpg,label\n")
    data = load_data(photos / "list.csv")
    assert class_names(data) == {"a0.jpg": "label"} and "gone.heic" in data.problems[0].message
    assert read_table(photos / "list.csv").header == []


@pytest.mark.parametrize(
    "text",
    [
        "a0.jpg,1,2,10,9,owl\na1.jpg,,,,,\n",
        "a0.jpg,1,2,10,9,1\na1.jpg,,,,,\n",
        "filename,x1,y1,x2,y2,class\na0.jpg,1,2,10,9,owl\na1.jpg,,,,,\n",
        "image_path,xmin,ymin,xmax,ymax,label\na0.jpg,1,2,10,9,owl\na1.jpg,0,0,0,0,owl\n",
        "label,left,top,right,bottom,file\nowl,1,2,10,9,a0.jpg\n,0,0,0,0,a1.jpg\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na0.jpg,64,48,owl,1,2,10,9\na1.jpg,64,48,owl,0,0,0.0,0\n",
    ],
)
def test_boxes_of_detectors(photos: Path, text: str) -> None:
    (photos / "list.csv").write_text(text)
    one, nothing = load_data(photos / "list.csv").samples
    assert boxes_of(one) == [[1, 2, 10, 9]] and boxes_of(nothing) == []
    assert list(class_names(load_data(photos / "list.csv")).values())[1] == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a0.jpg,owl,1\na1.jpg,gull,2\n", "has 3 columns and no line with their names"),
        ("a0.jpg,owl,1,2,3,4,5\n", "has 7 columns"),
        ("path,owl\n", "none of the photos"),
        ("place,kind\nhere,owl\n", "none of the photos"),
        ("x1,y1,path,label\n1,2,a0.jpg,owl\n", "only some of the columns"),
        ("sep=;\n", "is empty"),
    ],
)
def test_other_files(photos: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classes(photos, text)


def test_splits_need_no_class(photos: Path) -> None:
    (photos / "list.csv").write_text("filename,split,latitude,longitude\na0.jpg,train,1,2\na1.jpg,test,3,4\n")
    assert available_splits(photos / "list.csv") == ("train", "test")
    (photos / "labels.csv").write_text("filename,split,day,kind\na0.jpg,train,1,owl\na1.jpg,test,2,gull\n")
    data = load_data(photos, split="test", label_column="kind")
    assert class_names(data) == {"a1.jpg": "gull"}
