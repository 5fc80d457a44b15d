"""Messages and progress on stderr."""

from __future__ import annotations

import pytest

from dips.system import console
from dips.system.console import log, track


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
