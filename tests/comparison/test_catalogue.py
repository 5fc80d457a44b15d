"""Which methods a name stands for, in which order, and methods from a user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.baselines.cam import Cam
from dips.baselines.untrained import Centre, Head
from dips.comparison.catalogue import METHODS, choose_methods, create_methods
from dips.errors import ConfigError

OWN = """
from dips.baselines.method import ScoreMapMethod


class Mine(ScoreMapMethod):
    name, title, paper, needs = "mine", "Mine", "none", ("layercam",)

    def build(self, study): ...

    def maps(self, images, labels): ...


class NoMethod: ...
"""


def names(*wanted: str, heads: int = 3) -> list[str]:
    return [method.name for method in create_methods(choose_methods(wanted), lambda: heads)]


def test_needs_come_first_and_each_once() -> None:
    assert names("layercam", "cam", "cam-max", "dips") == ["cam", "layercam", "cam-max", "dips"]
    assert names("accurate") == ["dips", "accurate"]


def test_heads_and_all() -> None:
    assert names("heads") == ["head1", "head2", "head3"] and names("head2") == ["head2"]
    assert set(names("all")) == {*METHODS, "head1", "head2", "head3"}


def test_the_transformer_is_asked_for_heads_only_where_heads_are_wanted() -> None:
    def never() -> int:
        raise AssertionError

    assert [method.name for method in create_methods(choose_methods(["cam", "lost"]), never)] == ["cam", "lost"]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("layer-cam", "did you mean 'layercam'"),
        ("head4", "there is no head4; this transformer has head1 to head3"),
        ("head0", "head1, head2 and so on"),
        ("", "unknown method(s): ''; known:"),
    ],
)
def test_an_unknown_name(wrong: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="--methods") as found:
        names(wrong)
    assert hint in str(found.value)


def test_a_method_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert names(f"{file}:Mine") == ["cam", "layercam", "mine"]


def test_each_call_creates_methods_anew_from_a_file_that_is_imported_once(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN + f"\nwith open({str(tmp_path / 'imports')!r}, 'a') as file:\n    file.write('x')\n")
    choices = choose_methods([f"{file}:Mine"])
    (*_, first), (*_, second) = (create_methods(choices, lambda: 3) for _ in range(2))
    assert type(first) is type(second) and first is not second and (tmp_path / "imports").read_text() == "x"


def test_two_methods_of_one_name(tmp_path: Path) -> None:
    for file in ("a.py", "b.py"):
        (tmp_path / file).write_text(OWN)
    with pytest.raises(ConfigError, match=r"two of them are called 'mine'; rename one"):
        names(f"{tmp_path / 'a.py'}:Mine", f"{tmp_path / 'b.py'}:Mine")
    assert names(f"{tmp_path / 'a.py'}:Mine", f"{tmp_path / 'a.py'}:Mine")[-1] == "mine", "twice the same is once"


@pytest.mark.parametrize("name", ["cam", "../up", "Mine"])
def test_a_method_from_python_has_a_name_of_its_own(name: str) -> None:
    kind = type("Mine", (Centre,), {"name": name})
    with pytest.raises(ConfigError, match=f"--methods Mine: its name, '{name}', must be different"):
        choose_methods([kind()])
    assert len(choose_methods([Cam(), Head(2)])) == 2


def test_what_a_method_of_ones_own_needs_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("layercam", "layer-cam"))
    with pytest.raises(ConfigError, match="Mine needs 'layer-cam', and there is no such method"):
        names(f"{file}:Mine")


def test_names_in_any_case_and_all_wrong_ones_at_once() -> None:
    assert names("CAM", "LayerCAM", "Heads") == ["cam", "layercam", "head1", "head2", "head3"]
    with pytest.raises(ConfigError, match=r"unknown method\(s\): 'cma' \(did you mean 'cam'\?\), 'qqq'; known: "):
        names("CMA", "dips", "qqq")


def test_a_forgotten_class_is_told(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    with pytest.raises(ConfigError, match=r"add the class: .*own\.py:Mine$"):
        names(str(file))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("name, title, paper, needs = ", "name, title, _, needs = ", "lacks paper"),
        ('"layercam",)', '"layercam",); labels = "boxes"', 'labels = \'boxes\'; it is "none" or "image"'),
        ('("layercam",)', '"cam"', "tuple of names"),
        ("    def build(self, study): ...", "", "build"),
    ],
)
def test_what_a_class_of_ones_own_lacks_is_told_at_the_start(tmp_path: Path, old: str, new: str, why: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError, match=why):
        names(f"{file}:Mine")


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        (OWN, "mine", "did you mean 'Mine'"),
        ("", "Mine", "there is none; derive one"),
        (OWN, "Other", "no class Other"),
        (OWN, "NoMethod", "no class NoMethod that is a ScoreMapMethod"),
        ("import no_such_module", "Mine", "cannot be imported"),
        (None, "Mine", "no file"),
    ],
)
def test_a_file_that_holds_no_method(tmp_path: Path, text: str | None, kind: str, why: str) -> None:
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        names(f"{file}:{kind}")


def test_every_method_says_what_it_is() -> None:
    for name, kind in METHODS.items():
        method = kind()
        assert method.name == name and method.title and method.paper and method.labels in ("none", "image")
        assert all(need in METHODS for need in method.needs)
