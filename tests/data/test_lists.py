"""Lists of photos, and what is relative in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dips.data.lists import is_list, placed, read_list
from dips.errors import DataError
from dips.system.extras import missing_package

WriteTable = Callable[[Path, dict[str, list[Any]]], None]


@pytest.fixture
def write_table() -> WriteTable:
    pyarrow: Any = pytest.importorskip("pyarrow", reason="needs the extra remote")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    return lambda path, columns: parquet.write_table(pyarrow.table(columns), path, row_group_size=3)


def test_text_has_a_path_or_url_per_line(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeff# photos\n\n a b.jpg \r\n../c.jpg\n/d/e.jpg\ns3://b/#1.jpg\n".encode() + b"M\xfc.jpg\n")
    assert list(read_list(file, str(file))) == [
        *(f"{tmp_path}/a b.jpg", f"{tmp_path.parent}/c.jpg", "/d/e.jpg", "s3://b/#1.jpg", f"{tmp_path}/M\udcfc.jpg")
    ]


def test_a_list_behind_a_url_counts_from_there(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a b.jpg\n../c.jpg\n/d/e.jpg\nhttps://h/1.jpg")
    assert list(read_list(file, "s3://b/lists/list.txt")) == [
        "s3://b/lists/a b.jpg",
        "s3://b/c.jpg",
        "/d/e.jpg",
        "https://h/1.jpg",
    ]
    assert list(read_list(file, "https://x/l/list.txt"))[:3] == ["https://x/l/a b.jpg", "https://x/c.jpg", "https://x/d/e.jpg"]


@pytest.mark.parametrize(
    "text, entries",
    [
        ("path,label\na.jpg,1\nb.jpg,2\n", ["a.jpg", "b.jpg"]),
        ("label;uri\n1;s3://b/1\n2;\n", ["s3://b/1"]),
        ("a.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        ("x,https://h/a.jpg\ny,https://h/b.jpg\n", ["https://h/a.jpg", "https://h/b.jpg"]),
        ("sep=;\nfilename;x\n'a.jpg;1\n\n", ["'a.jpg"]),
        ('\n\nid,url\n1,"http://h/a,b.jpg"\n', ["http://h/a,b.jpg"]),
        ("1\n2\n", ["1", "2"]),
    ],
)
def test_a_column_of_csv_says_where_photos_are(tmp_path: Path, text: str, entries: list[str]) -> None:
    file = tmp_path / "list.csv"
    file.write_text(text)
    assert list(read_list(file, str(file))) == [placed(entry, str(tmp_path)) for entry in entries]


def test_long_csv_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("path\n" + "".join(f"{number}.jpg\n" for number in range(500)))
    assert [Path(entry).name for entry in read_list(file, str(file))] == [f"{number}.jpg" for number in range(500)]


def test_a_column_of_parquet_says_where_photos_are(tmp_path: Path, write_table: WriteTable) -> None:
    file = tmp_path / "list.parquet"
    for name in ("uri", "Path", "image_url"):
        write_table(file, {"id": list(range(8)), name: [f"{number}.jpg" for number in range(6)] + [None, " "]})
        assert list(read_list(file, "s3://b/l.parquet")) == [f"s3://b/{number}.jpg" for number in range(6)]
    write_table(file, {"path": ["a.jpg"], "uri": ["s3://b/a.jpg"]})
    assert list(read_list(file, str(file))) == [f"{tmp_path}/a.jpg"]
    write_table(file, {"path": [1], "data": [b"x"]})
    with pytest.raises(
        DataError, match=r"list\.parquet: no column of texts says where .*are path, data\. Call one path or uri"
    ):
        list(read_list(file, str(file)))


def test_damaged_lists_are_refused(tmp_path: Path) -> None:
    for name, data, line in (
        ("a.txt", b"a.jpg\nb\0.jpg\n", r"a\.txt, line 2: this is no path"),
        ("a.csv", b"path\n\xff\xfe.jpg\n", r"a\.csv cannot be read .*save it as UTF-8"),
        ("a.csv", b"\n", r"a\.csv is empty; it needs lines with paths"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=line):
            list(read_list(tmp_path / name, str(tmp_path / name)))
    pytest.importorskip("pyarrow", reason="needs the extra remote")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet .*; write it again"):
        list(read_list(tmp_path / "a.parquet", str(tmp_path / "a.parquet")))


def test_a_list_asks_no_other_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("1.jpg")
    monkeypatch.setattr("dips.data.lists.placed", lambda entry, folder: "\\\\host\\share\\1.jpg")  # as on Windows
    with pytest.raises(DataError, match=r"a\.txt, line 1: 1\.jpg is on another computer, which is not asked because a list"):
        list(read_list(tmp_path / "a.txt", str(tmp_path / "a.txt")))


def test_where_entries_lead(tmp_path: Path) -> None:
    assert placed("file:///a%20b.jpg", "x") == "/a b.jpg" and placed("a.jpg", ".") == "a.jpg"
    assert placed("../../../a?.jpg", "s3://b/x#y") == "s3://b/a?.jpg" and placed("a.jpg", "s3://b") == "s3://b/a.jpg"
    (tmp_path / "c\\d.jpg").touch()
    assert placed("a\\b.jpg", str(tmp_path)) == f"{tmp_path}/a/b.jpg" and placed("c\\d.jpg", str(tmp_path)).endswith("c\\d.jpg")


def test_what_is_a_list() -> None:
    assert [is_list(name) for name in ("a.TXT", "s3://b/a.pq", "a.tsv", "a.jpg", "a", "a.json")] == [True] * 3 + [False] * 3


def test_a_missing_reader_of_parquet_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ModuleNotFoundError) as raised:
        list(read_list(tmp_path / "a.parquet", "a.parquet"))
    assert missing_package(raised.value) == 'this needs pyarrow, which is not installed; pip install "dips-wsol[remote]"'


def test_a_list_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt cannot be read \(Is a directory\); allow it to be read"):
        (tmp_path / "a.txt").mkdir()
        list(read_list(tmp_path / "a.txt", "a.txt"))
