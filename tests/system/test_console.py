"""Messages and progress on stderr."""

from __future__ import annotations

import pytest

from dips.system import console
from dips.system.console import counted, hand_over, log, printable, progress, say, time_left, track


def test_log_says_what_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    message = "a photo :heart: [bold]called[/bold] /a/very/long/path" + "/folder" * 40 + " 3.5%"
    log(message)
    said = capsys.readouterr()
    assert said.err == message + "\n" and said.out == ""


def test_track_passes_everything_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter(range(5)), "counting", 5)) == list(range(5))
    assert list(track([], "nothing")) == []
    assert capsys.readouterr() == ("", "")


def test_track_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, force_terminal=True, width=80))
    assert list(track(range(3), "counting", 3)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


def test_progress_shows_what_is_done_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, force_terminal=True, width=80))
    with progress("predict", 7) as more:
        more(3)
        more(4)
    assert "7/7" in capsys.readouterr().err
    with pytest.raises(ValueError, match="stop"), progress("predict", 7) as more:
        raise ValueError("stop")


def test_lines_can_be_handed_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "_hear", None)
    heard: list[str] = []
    hand_over(heard.append)
    log("a line")
    assert heard == ["a line"] and capsys.readouterr().err == ""


NASTY = {
    "colours": "owl\x1b[31mred",
    "title": "\x1b]0;title\x07",
    "clear": "\x1b[2J\x1b[H",
    "eight bits": "\x9b31m",
    "back": "a\b\b\rb\x7f",
    "lines": "a\nb\u2028c\x85d\te",
    "turned": "a\u202egpj.exe\u2066",
    "no text": "M\udcfchle",
}


@pytest.mark.parametrize("name", NASTY.values(), ids=NASTY.keys())
def test_what_a_terminal_would_obey_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log(f"skipped: {name}.jpg")
    say(f"class {name}")
    said = capsys.readouterr()
    for line in (said.err, said.out):
        assert line.isascii() and line.endswith("\n") and line[:-1].isprintable()
    assert said.err == f"skipped: {printable(name)}.jpg\n" and said.out == f"class {printable(name)}\n"


def test_what_people_write_stays_as_it_is() -> None:
    for name in ("Mühle ä.jpg", "\u6a39/\u5854.png", "\u0645\u06cc\u200c\u062e\u0648", "a\\b", "50% [x] :o:"):
        assert printable(name) == name


def test_a_bar_does_not_obey_a_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, force_terminal=True, width=120))
    for name in ("[/red]", "[bold]x", "\x1b]0;evil\x07"):
        assert list(track(range(2), f"reading {name}", 2)) == [0, 1]
        shown = capsys.readouterr().err
        assert f"reading {printable(name)}" in shown and "\x1b]0" not in shown


def test_numbers_have_their_noun_and_verb_in_singular_or_plural() -> None:
    assert [counted(n, "box") for n in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
    assert [counted(n, "photo") for n in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]
    assert [counted(n, "class", "has") for n in (1, 7)] == ["1 class has", "7 classes have"]
    assert [counted(n, "epoch", "was") for n in (1, 2)] == ["1 epoch was", "2 epochs were"]
    assert [counted(n, "copy", "is") for n in (1, 2)] == ["1 copy is", "2 copies are"]
    assert [counted(n, "photo", "lies") for n in (1, 2)] == ["1 photo lies", "2 photos lie"]


@pytest.mark.parametrize(
    ("noun", "nouns"),
    [("category", "categories"), ("entry", "entries"), ("day", "days"), ("branch", "branches"), ("mesh", "meshes")],
)
def test_any_regular_noun_has_its_plural(noun: str, nouns: str) -> None:
    assert [counted(n, noun) for n in (0, 1, 3)] == [f"0 {nouns}", f"1 {noun}", f"3 {nouns}"]


@pytest.mark.parametrize(
    ("verb", "verbs"),
    [("passes", "pass"), ("fixes", "fix"), ("reaches", "reach"), ("carries", "carry"), ("uses", "use"), ("stays", "stay")],
)
def test_any_regular_verb_has_its_plural(verb: str, verbs: str) -> None:
    assert [counted(n, "photo", verb) for n in (1, 2)] == [f"1 photo {verb}", f"2 photos {verbs}"]


def _lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: list[float]) -> list[str]:
    """Return what is said about items of which each takes so many seconds."""
    clock = [0.0]
    monkeypatch.setattr("dips.system.console.time.monotonic", lambda: clock[0])
    for item in track(seconds, "predict"):
        clock[0] += item
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("first", [45.0, 300.0])
def test_the_first_item_which_also_loads_is_no_measure(
    first: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _lines(monkeypatch, capsys, [first, *[4.0] * 39])
    assert lines[0] == "predict: 1 of 40", "nothing is known yet"
    assert lines[1] == "predict: 9 of 40, about 2 min left" and lines[-1].endswith("s left")


def test_no_estimate_rests_on_a_few_of_many(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(monkeypatch, capsys, [20.0] * 500)
    assert [line for line in lines if "left" not in line] == lines[:10] and lines[10].endswith("about 2.7 h left")
    assert not any("left" in line for line in _lines(monkeypatch, capsys, [31.0] * 3)), "three items are no measure"


def test_a_bar_shows_no_time_before_it_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, force_terminal=True, width=120))
    assert list(track(range(30), "counting")) == list(range(30))
    assert "left" not in capsys.readouterr().err, "30 items in no time"


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (5401, "1.5 h")])
def test_a_time_is_told_in_one_unit(seconds: float, words: str) -> None:
    assert time_left(seconds) == f"about {words} left"


def test_quiet_work_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    steps = console.track(range(3), "outer")
    next(steps)
    with console.quiet():
        with console.quiet():
            console.log("a")
        console.log("b")
        assert list(console.track([1, 2], "inner", total=9)) == [1, 2]
    assert list(steps) == [1, 2]
    console.log("c")
    assert capfd.readouterr().err == "c\n"
