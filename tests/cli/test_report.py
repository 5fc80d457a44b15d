"""``dips report``: what is passed on, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Calls, Dips, fake


def test_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    import webbrowser

    opened = Calls()
    monkeypatch.setattr(webbrowser, "open", opened)
    fake(monkeypatch, "dips.report.run_report.write_folder_report", tmp_path / "report.html")
    assert dips("report", "run").out == f"{tmp_path / 'report.html'}\n"
    assert opened == []
    dips("report", "run", "--open")
    assert opened == [{"0": (tmp_path / "report.html").as_uri()}]
