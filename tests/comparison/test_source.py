"""What stands for a method's code changes with it, and with nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import dips.comparison.source as source_module
from dips.baselines.cam import Cam
from dips.comparison.source import OTHER_VERSION, Source, package_hash


@pytest.mark.parametrize(
    ("file", "changes"),
    [("fitting/fit.py", True), ("model.py", True), ("new/part.py", True), ("cli/fit.py", False), ("report/page.py", False)],
)
def test_a_package_is_known_by_what_has_a_part_in_fits(tmp_path: Path, file: str, changes: bool) -> None:
    made = []
    for number in range(2):
        package = tmp_path / str(number) / "dips"
        for name in ("fitting/fit.py", "model.py", "cli/fit.py", "report/page.py"):
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x = 1", encoding="utf-8")
        if number:
            (package / file).parent.mkdir(exist_ok=True)
            (package / file).write_text("x = 2", encoding="utf-8")
        made.append(package_hash(package))
    assert (made[0] != made[1]) == changes


def test_a_method_of_the_project_stands_on_the_package_alone() -> None:
    source = Source.of(Cam())
    assert source.file is None and len(source.package) == 16 and source.needs == list(Cam.needs)
    assert source.differs(Source.of(Cam())) == source.outdated() == ""
    assert source.differs(Source(package="another")) == OTHER_VERSION
    assert Source(package="another").outdated() == OTHER_VERSION


def test_a_method_of_ones_own_stands_on_its_file_too(kinds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Source.of(kinds.Above()).file == "", "without a file, as what is typed into an interpreter"
    monkeypatch.setitem(sys.modules, kinds.__name__, kinds)
    now = Source.of(kinds.Above())
    assert now.file == str(Path(__file__).with_name("methods.py").resolve()) and now.needs == ["learner"]
    own = tmp_path / "own.py"
    own.write_bytes(Path(__file__).with_name("methods.py").read_bytes())
    moved = Source(package=now.package, file=str(own), sha256=now.sha256)
    assert now.differs(moved) == moved.outdated() == "", "the same text elsewhere is the same method"
    own.write_text("edited", encoding="utf-8")
    assert "edited" in moved.outdated()
    own.unlink()
    assert moved.outdated() == "", "numbers stay when the file is gone"
    monkeypatch.setattr(source_module, "package_hash", lambda _: "newer")
    assert now.differs(Source.of(kinds.Above())) == now.outdated() == OTHER_VERSION
