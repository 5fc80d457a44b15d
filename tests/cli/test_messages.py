"""What commands say where they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.cli.messages import expected, fail, filled
from dips.data.problems import ProblemList
from dips.predict.merging import Filled
from dips.predict.results import Found
from dips.system.console import counted
from dips.types import Problem

from .conftest import Dips


def test_missing_extras_are_named() -> None:
    for name, extra in (("torch", "train"), ("lightning_fabric.strategies", "train"), ("onnxruntime", "onnx")):
        message = expected(ModuleNotFoundError(f"No module named {name!r}", name=name))
        assert message is not None and f'pip install "dips-wsol[{extra}]"' in message
    assert expected(ModuleNotFoundError("No module named 'other'", name="other")) is None


def test_a_failure_is_one_line_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    message = "a photo :heart: [bold]called[/bold]\n/a/very/long/path" + "/folder" * 40
    assert fail(message) == 2
    assert capsys.readouterr() == ("", f"dips: error: {message}\n".replace("\n/", " /"))


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["predict", "--tile-overlap", "0.5"], ["--set predict.tile_overlap=VALUE"]),
        (["export", "--threshold=0.4"], ["--set predict.threshold=VALUE"]),
        (["evaluate", "--mode", "fast"], ["--set predict.mode=VALUE"]),
        (["train", "--epochs", "3"], ["--set classifier.epochs=VALUE or --set train.epochs=VALUE"]),
        (["train", "--background", "sky"], ["--set data.background_class=VALUE"]),
        (["compare", "--val-share", "0.3"], ["--set data.val_share=VALUE"]),
    ],
)
def test_an_unknown_option_that_is_a_setting_is_named(command: list[str], named: list[str], dips: Dips) -> None:
    said = dips(*command)
    assert said.code == 2 and all(name in said.err for name in named), said.err


@pytest.mark.parametrize("command", [["view", "--threshold", "0.4"], ["predict", "--epochs", "3"], ["predict", "--nothing"]])
def test_a_command_names_no_setting_that_it_does_not_take(command: list[str], dips: Dips) -> None:
    said = dips(*command)
    assert said.code == 2 and "Unknown option" in said.err and "--set" not in said.err


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--threshold", "0,5", "0.5"),
        ("--min-score", ",25", ".25"),
        ("--min-area", "-1,0", "-1.0"),
        ("--threshold", "half", ""),
        ("--threshold", "1,2,3", ""),
        ("--max-boxes", "1,5", ""),
    ],
)
def test_a_decimal_comma_is_answered_with_a_point(option: str, value: str, hint: str, dips: Dips) -> None:
    said = dips("boxes", "x", "--out", "y", f"{option}={value}")
    assert (
        said.code == 2
        and f'unable to convert "{value}" into a {"whole " if option == "--max-boxes" else ""}number.' in said.err
    )
    assert (f"Write {hint}, with a point." in said.err) if hint else ("Write" not in said.err)


@pytest.mark.parametrize(("folders", "words"), [([], "requires an argument"), (["a", "b", "c"], "at most its run")])
def test_the_review_page_takes_one_or_two_folders(folders: list[str], words: str, dips: Dips) -> None:
    said = dips("view", *folders)
    assert said.code == 2 and words in said.err and said.err.count("\n") == 1
    described = dips("view", "--help").out
    assert "[RUN] DIR" in described and described.count("[required]") == 1 and "left out" not in described


def test_a_prediction_says_what_a_box_is_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    found = Found()
    found.add("tower", "none", [0.9, 0.8])
    found.add("none", "none", [])
    assert filled(Filled(found), Path("my boxes"), ProblemList(), explain=True) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "2 photos, 1 with a box (2 boxes), in my boxes",
        "next    dips report 'my boxes' --open",
        "or      dips view 'my boxes'    (accept, correct and draw boxes)",
    ]
    assert said.err.count("none/") == 1 and "touch" in said.err and "goes with the object" in said.err
    assert filled(Filled(found), Path("my boxes"), ProblemList()) == 0
    assert capsys.readouterr().err == "", "it was said when they were predicted"
    assert filled(Filled(), Path("out"), ProblemList(), explain=True) == 0
    assert capsys.readouterr().err == "", "where there are no boxes nothing is to be said of them"


@pytest.mark.parametrize(("low", "lines"), [([], 3), ([0.8], 3), ([0.5], 4), ([0.1, 0.5, 0.3, 0.2], 4)])
def test_a_prediction_says_which_photos_to_look_at_first(
    low: list[float], lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Found()
    for number, score in enumerate([0.9] * 20 + low):
        found.add("tower", "none", [score], f"{number}.jpg")
    assert filled(Filled(found), Path("out"), ProblemList()) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == lines
    assert lines == 3 or (f"{len(low)} photo" in said[1] and "Look at them first" in said[1] and "--min-score 0.7 " in said[1])


def test_a_prediction_without_any_object_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Found()
    for label, boxes, lines in (("none", 0, 4), ("none", 0, 4), ("tower", 0, 4), ("tower", 1, 3)):
        found.add(label, "none", [0.9] * boxes)
        assert filled(Filled(found), tmp_path, ProblemList()) == 0
        said = capsys.readouterr().out.splitlines()
        boxed = "1 with a box (1 box)" if boxes else "none with a box"
        assert len(said) == lines and said[0] == f"{counted(found.photos, 'photo')}, {boxed}, in {tmp_path}"
        assert lines == 3 or said[1] == found.remark()
    skipped = [Problem(tmp_path / "a.jpg", "is empty")]
    assert filled(Filled(skipped=skipped), tmp_path, ProblemList()) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("1 photo could not be read") and "a.jpg: is empty" in err


def test_a_failure_sends_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("\x1b[2Jowl\x9b31m/\x07a\u202eb.jpg does not exist") == 2
    assert capsys.readouterr().err == "dips: error: \\x1b[2Jowl\\x9b31m/\\x07a\\u202eb.jpg does not exist\n"
