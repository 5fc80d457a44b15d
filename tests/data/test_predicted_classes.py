"""Predicted classes from a CSV."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dips.data.ground_truth import SplitGroundTruth
from dips.data.predicted_classes import read_predicted_classes
from dips.errors import DataError
from dips.types import Sample

IDS = ("owl/1.jpg", "owl/ü, 2.jpg")
TRUTH = SplitGroundTruth(Path("birds"), "test", ("owl", "kite, red", "7"), (0, 1, 2), [], dict[str, Sample]().__getitem__)


def read(tmp_path: Path, text: str) -> dict[str, tuple[int, ...]]:
    (tmp_path / "said.csv").write_text(text, encoding="utf-8")
    return read_predicted_classes(tmp_path / "said.csv", TRUTH, IDS)


@pytest.mark.parametrize("head", ["", "id,first,second\n", "ID;\n", "image,class\n", "\ufeffid,class\n", "\ufeff"])
def test_names_and_numbers_in_their_order(tmp_path: Path, head: str) -> None:
    found = read(tmp_path, head + 'owl/1.jpg,"kite, red",0\n\n"owl/ü, 2.jpg", owl , 1 ,,\r\n')
    assert found == {"owl/1.jpg": (1, 0), "owl/ü, 2.jpg": (0, 1)}


def test_an_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 4: 'gull'"):
        read(tmp_path, 'id,class\n"two\nlines",0\nowl/1.jpg,gull\n')


def test_numbers_are_those_of_the_metadata(tmp_path: Path) -> None:
    """Not indices: numbers may begin at 1, or have gaps."""
    (tmp_path / "said.csv").write_text('owl/1.jpg,1,5\n"owl/ü, 2.jpg",2\n', encoding="utf-8")
    truth = dataclasses.replace(TRUTH, numbers=(1, 2, 5), classes=("owl", "kite", "eagle"))
    assert read_predicted_classes(tmp_path / "said.csv", truth, IDS) == {"owl/1.jpg": (0, 2), "owl/ü, 2.jpg": (1,)}
    (tmp_path / "said.csv").write_text("owl/1.jpg,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="'0' is not a class"):
        read_predicted_classes(tmp_path / "said.csv", truth, IDS)


def test_a_name_made_of_digits_is_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, 'owl/1.jpg,7,2\n"owl/ü, 2.jpg",0\n')["owl/1.jpg"] == (2, 2)


def test_lines_about_other_photos_are_left_out(tmp_path: Path) -> None:
    lines = 'owl/1.jpg,0\n"owl/ü, 2.jpg",1\nelsewhere/9.jpg,unheard of\nelsewhere/9.jpg,0\n'
    assert list(read(tmp_path, lines)) == ["owl/1.jpg", "owl/ü, 2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("owl/1.jpg,0\n\nowl/1.jpg,1\n", r"line 3: owl/1\.jpg is listed twice; remove one"),
        ("owl/1.jpg,0,eagle\n", r"line 1: 'eagle' is not a class of birds; write its name or its number"),
        ("owl/1.jpg,3\n", r"line 1: '3' is not a class"),
        ("owl/1.jpg,-1\n", r"line 1: '-1' is not a class"),
        ("owl/1.jpg,1.0\n", r"line 1: '1\.0' is not a class"),
        ("owl/1.jpg,0\n", r"no class for 1 photo, among them owl/ü, 2\.jpg; add a line id,class"),
        ('owl/1.jpg,0\n"owl/ü, 2.jpg",,\n', r"no class for 1 photo, among them owl/ü, 2\.jpg"),
        ("owl/1.jpg;0\n", r"no class for 2 photos"),
        ("", r"no class for 2 photos"),
        (f"owl/1.jpg,{'x' * 200_000}\n", r"cannot be read \(field larger .*needs lines of id,class"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"said\.csv.*{message}"):
        read(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("owl/ü.jpg,0\n".encode("latin-1"))
    for name in ("latin.csv", "gone.csv", "."):
        with pytest.raises(DataError, match=r"cannot be read"):
            read_predicted_classes(tmp_path / name, TRUTH, IDS)
