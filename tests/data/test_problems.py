"""The one list of the data's problems: told in a few lines, and written to a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dips.data.problems import ProblemList, ProblemRecord, left_out, tell, told
from dips.errors import RunError
from dips.types import Problem, Severity


def many(count: int, what: str = "is 640 x 480, but {n} of its boxes reach out") -> list[Problem]:
    return [Problem(Path(f"photos/{n}.jpg"), what.format(n=n)) for n in range(count)]


def test_names_of_files_that_are_not_text() -> None:
    (record,) = ProblemRecord.of([Problem(Path("owl/\udcff.jpg"), "it is damaged")])
    assert (record.path, record.why) == ("owl/%FF.jpg", "it is damaged")


def test_few_problems_are_told_one_by_one() -> None:
    assert told(many(2, "is empty")) == [f"! {Path('photos/0.jpg')}: is empty", f"! {Path('photos/1.jpg')}: is empty"]
    named = Problem(Path("a.jpg"), "a.jpg does not exist")
    assert told([named]) == ["! a.jpg does not exist"]


def test_the_most_severe_come_first_with_their_marks() -> None:
    problems = [Problem(Path(severity.name), "is so", severity) for severity in reversed(Severity)]
    assert told(problems) == ["ERROR STOPS: is so", "!! SPOILS: is so", "! LOST: is so", "! ODD: is so", "- NOTE: is so"]
    assert told(problems, most=1) == ["ERROR STOPS: is so", "and 4 more problems"]


def test_paths_are_relative_to_a_folder() -> None:
    top = Path("/data/x")
    problems = [
        Problem(top / "a.jpg", f"is the same photo as {top / 'b' / 'c.jpg'}, not /data/y.jpg"),
        Problem(top, "has few photos"),
        Problem(top / "x.csv", f"not in {top}, but in {top}2/a and {top / 'b'}"),
        Problem(Path("/data/other.jpg"), "is empty"),
    ]
    assert told(problems, folder=top) == [
        f"! a.jpg: is the same photo as {Path('b/c.jpg')}, not /data/y.jpg",
        "! has few photos",
        f"! x.csv: not in x, but in {top}2/a and b",
        f"! {Path('/data/other.jpg')}: is empty",
    ]
    assert told(problems, folder=Path("/"))[0].startswith(f"! {top / 'a.jpg'}: "), "the root is no folder of data"


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["/d/a/1.jpg", "/d/a/2.jpg"], "2 problems of the data in /d/a:\n  ! 1.jpg: is empty\n  ! 2.jpg: is empty\n"),
        (["/d/a/1.jpg", "/d"], "2 problems of the data in /d:\n  ! a/1.jpg: is empty\n  ! is empty\n"),
        (["/d/1.jpg"], "1 problem of the data:\n  ! /d/1.jpg: is empty\n"),
        (["/d/1.jpg", "/e/1.jpg"], "2 problems of the data:\n  ! /d/1.jpg: is empty\n  ! /e/1.jpg: is empty\n"),
        (["/d/1.jpg", "e/1.jpg"], "2 problems of the data:\n  ! /d/1.jpg: is empty\n  ! e/1.jpg: is empty\n"),
    ],
)
def test_what_all_paths_share_is_said_once(paths: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell([Problem(Path(path), "is empty") for path in paths])
    assert capsys.readouterr().err == said


def test_of_many_one_of_each_kind_is_told() -> None:
    rare = Problem(Path("photos/none"), "no photos in this folder")
    lines = told([*many(300), rare, *many(4, "is the same photo as /a/{n}.jpg of the split train")])
    assert len(lines) == 3 and lines[0].startswith(f"! {Path('photos/0.jpg')}") and lines[0].endswith("(and 299 more like it)")
    assert lines[1].endswith("no photos in this folder") and lines[2].endswith("(and 3 more like it)")


@pytest.mark.parametrize("path", [".", "a", "e.", "photos"])
def test_the_name_of_a_short_path_within_others_is_no_name(path: str) -> None:
    names = ("owl.photo.jpg", "a-e.photos.jpg", "wren.a.jpg", "photos.jpg", "x.y", "b.jpeg", "c.e.jpg", "tit.jpg")
    lines = told([Problem(Path(path), f"the photo {name} is empty and left out") for name in names])
    assert lines == [f"! {path}: the photo owl.photo.jpg is empty and left out (and 7 more like it)"]


def test_a_path_with_spaces_is_one_name() -> None:
    names = ("b c.jpg", "my own.tif", "x y z", "(1).jpg", "t u.png", "v w.png", "k l.png", "m n.png")
    assert len(told([Problem(Path(f"d/{name}"), f"cannot be read: is d/{name} a photo? See d/{name}.") for name in names])) == 1


@pytest.mark.parametrize("other", ["data/x.jpg", "../a/x.jpg", "da/x.jpg", "b-a/x.jpg", "/a/x.jpg"])
def test_a_folder_is_not_taken_off_other_paths(other: str) -> None:
    (line,) = told([Problem(Path("a/1.jpg"), f"is the same photo as {other}")], folder=Path("a"))
    assert line == f"! 1.jpg: is the same photo as {other}"


def test_what_is_not_told_is_counted() -> None:
    kinds = [Problem(Path("a"), word) for word in ("one", "two", "three", "four", "five", "six", "seven", "seven")]
    assert told(kinds)[5:] == ["and 3 more problems"] and len(told(kinds, most=20)) == 7


def test_a_list_tells_each_problem_once_and_keeps_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "p.json"
    problems = ProblemList(file)
    assert not file.exists()
    problems.add(many(300))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "300 problems of the data in photos:" and len(said) == 3 and str(file) in said[2]
    problems.add([*many(300), Problem(Path("b"), "is new")])
    assert capsys.readouterr().err.splitlines()[:2] == ["1 problem of the data:", "  ! b: is new"]
    written = json.loads(file.read_text())
    assert len(written["problems"]) == 301 and written["problems"][300] == {"path": "b", "why": "is new"}
    assert list(file.parent.iterdir()) == [file]
    ProblemList(file).add([])
    assert json.loads(file.read_text())["problems"] == [], "an earlier list is replaced"


def test_a_part_does_not_tell_again_and_keeps_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    problems = ProblemList()
    problems.add(many(2))
    part = problems.part()
    capsys.readouterr()
    part.add(many(2))
    assert not capsys.readouterr().err and len(part.records()) == 2
    part.add([*many(2), Problem(Path("b"), "is new")])
    assert capsys.readouterr().err.splitlines() == ["1 problem of the data:", "  ! b: is new"]
    part.part().add([Problem(Path("b"), "is new"), *many(1)])
    assert not capsys.readouterr().err and len(problems.records()) == 2


def test_without_a_file_the_option_is_named_where_something_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ProblemList().add(many(300))
    assert "--problems FILE" in capsys.readouterr().err
    ProblemList().add(many(3))
    assert "--problems" not in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", "notes", '{"schema_version": 1, "photos": []}', '[{"path": "a", "why": "b"}]'])
def test_other_files_are_not_overwritten(tmp_path: Path, content: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(content)
    with pytest.raises(RunError, match="no list of problems; give --problems another file"):
        ProblemList(file)
    assert file.read_text() == content
    with pytest.raises(RunError, match="it is a folder"):
        ProblemList(tmp_path)


def test_photos_that_are_left_out() -> None:
    assert left_out(Path("a.jpg"), "a.jpg cannot be read; save it again").message == (
        "is left out, as it cannot be read; save it again"
    )
    assert left_out(Path("a.jpg"), "mask.png is missing").message == "is left out: mask.png is missing"
