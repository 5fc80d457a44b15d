"""What commands say where they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.cli.messages import counted, expected, fail, filled
from dips.data.problems import ProblemList
from dips.predict.results import Found
from dips.types import Problem


def test_missing_extras_are_named() -> None:
    for name, extra in (("torch", "train"), ("lightning_fabric.strategies", "train"), ("onnxruntime", "onnx")):
        message = expected(ModuleNotFoundError(f"No module named {name!r}", name=name))
        assert message is not None and f'pip install "dips-wsol[{extra}]"' in message
    assert expected(ModuleNotFoundError("No module named 'other'", name="other")) is None


def test_a_failure_is_one_line_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    message = "a photo :heart: [bold]called[/bold]\n/a/very/long/path" + "/folder" * 40
    assert fail(message) == 2
    assert capsys.readouterr() == ("", f"dips: error: {message}\n".replace("\n/", " /"))


def test_numbers_have_their_noun_in_singular_or_plural() -> None:
    assert [counted(n, "box") for n in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
    assert [counted(n, "photo") for n in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]


def test_a_prediction_without_any_object_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Found()
    for label, boxes, lines in (("none", 0, 2), ("none", 0, 2), ("tower", 0, 2), ("tower", 1, 1)):
        found.add(label, "none", boxes)
        assert filled(found, [], tmp_path, ProblemList()) == 0
        said = capsys.readouterr().out.splitlines()
        assert len(said) == lines and f"{counted(found.photos, 'photo')}, {counted(found.boxes, 'box')} in" in said[0]
        assert lines == 1 or said[1] == found.remark()
    skipped = [Problem(tmp_path / "a.jpg", "is empty")]
    assert filled(Found(), skipped, tmp_path, ProblemList()) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("1 photo could not be read") and "a.jpg: is empty" in err


def test_a_failure_sends_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("\x1b[2Jowl\x9b31m/\x07a\u202eb.jpg does not exist") == 2
    assert capsys.readouterr().err == "dips: error: \\x1b[2Jowl\\x9b31m/\\x07a\\u202eb.jpg does not exist\n"
