"""What stands for a method's code changes with it, and with nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
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


def typed(code: str, monkeypatch: pytest.MonkeyPatch, **names: Any) -> Any:
    """Run a cell of a notebook, and return its namespace as a module."""
    monkeypatch.setitem(sys.modules, "a_notebook", cell := ModuleType("a_notebook"))
    vars(cell).update(names)
    exec(code, vars(cell))
    return cell


@pytest.mark.parametrize("second", ["return images.amax(1)", "return images.mean(1)"])
def test_a_method_that_was_typed_is_never_taken_for_the_same(second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Mine(Cam):\n    def maps(self, images, labels):\n        "
    first, then = (Source.of(typed(code + body, monkeypatch, Cam=Cam).Mine()) for body in ("return images.mean(1)", second))
    assert first.file == "" and "its code is in no file" in first.differs(then)
    assert first.outdated() == "", "but its numbers stay in the table"


def test_what_a_method_inherits_from_is_its_code_too(kinds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_base.py").write_text("class Base:\n    power = 1\n")
    (tmp_path / "a_method.py").write_text(
        "from a_base import Base\nfrom dips.baselines.cam import Cam\nclass Mine(Base, Cam):\n    name = 'mine'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    method = importlib.import_module("a_method").Mine()
    before = Source.of(method)
    assert (before.file, before.bases) == (str(tmp_path / "a_method.py"), [str(tmp_path / "a_base.py")])
    assert before.differs(Source.of(method)) == before.outdated() == ""
    (tmp_path / "a_base.py").write_text("class Base:\n    power = 2\n")
    assert "edited" in before.differs(Source.of(method)) and "edited" in before.outdated()
    mixed = typed("class Mine(Learner, Mixin): pass", monkeypatch, Learner=kinds.Learner, Mixin=type("Mixin", (), {}))
    assert Source.of(mixed.Mine()).file == "", "a part of it is in no file"
    for name in ("a_base", "a_method"):
        sys.modules.pop(name)


def test_a_method_of_ones_own_stands_on_its_file_too(kinds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
