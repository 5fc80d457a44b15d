"""Messages and progress on stderr."""

from __future__ import annotations

import pytest

from dips.system import console
from dips.system.console import log, printable, say, track


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
