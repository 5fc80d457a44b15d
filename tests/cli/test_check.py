"""``dips check``: the report and the exit code."""

from __future__ import annotations

from pathlib import Path

from .conftest import Dips


def test_check(class_folders: Path, dips: Dips) -> None:
    said = dips("check", class_folders)
    assert said.code == 0
    assert "usable for training" in said.out and "(background: no object)" in said.out
    assert "(background: no object)" not in dips("check", class_folders, "--background", "").out
    for photo in class_folders.rglob("*.jpg"):
        photo.write_text("no photo")
    said = dips("check", class_folders)
    assert said.code == 1 and "not usable" in said.out
