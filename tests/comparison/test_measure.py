"""What a comparison must not keep or say: numbers of other code, and the wrong words where methods fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dips.comparison.source as source_module

Compare = Callable[..., dict[str, Any]]
TEXT = Path(__file__).with_name("methods.py").read_text(encoding="utf-8")
EDITED = TEXT.replace("return min_max(self.net(images)[:, 0])", "return images[:, 0] * 0 + 1")
BROKEN = TEXT.replace("type(self).fits += 1", "raise ValueError('no fit today')")


def curves(record: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row["runs"][0]["boxes"]["curves"] for row in record["methods"]}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_what_builds_on_it_is_stale_in_a_later_call_as_well(run: Compare, tmp_path: Path) -> None:
    below, above = write(tmp_path / "below.py", TEXT), write(tmp_path / "above.py", TEXT)
    run([f"{below}:Learner", f"{above}:Above"])
    write(below, EDITED)
    assert set(curves(run([f"{below}:Learner"]))) == {"learner"}, "the numbers of what was built on the old one are no more"
    found = curves(run([f"{below}:Learner", f"{above}:Above"]))
    assert found["learner"] == found["above"]


def test_an_edit_is_seen_where_another_file_has_the_same_name(run: Compare, tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "own.py", TEXT), write(tmp_path / "b" / "own.py", TEXT)
    first = curves(run([f"{one}:Learner", f"{two}:Bright"]))
    write(one, EDITED)
    second = curves(run([f"{one}:Learner", f"{two}:Bright"]))
    assert first["learner"] != second["learner"] and first["bright"] == second["bright"]


def test_an_edited_method_that_fails_has_no_numbers(run: Compare, tmp_path: Path) -> None:
    own = write(tmp_path / "own.py", TEXT)
    run([f"{own}:Learner", f"{own}:Bright"])
    write(own, BROKEN)
    record = run([f"{own}:Learner", f"{own}:Bright"])
    assert [failed["name"] for failed in record["failed"]] == ["learner"] and set(curves(record)) == {"bright"}


def test_all_methods_may_fail(run: Compare, kinds: Any) -> None:
    record = run([kinds.BreaksAtFit()])
    assert [failed["name"] for failed in record["failed"]] == ["breaks-at-fit"] and record["methods"] == []


@pytest.mark.parametrize("named", [("centre",), ("centre", "bright"), ("bright",)])
def test_numbers_of_another_version_are_never_beside_those_of_this_one(
    run: Compare, kinds: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...]
) -> None:
    run(["centre", kinds.Bright()], seeds=2)
    monkeypatch.setattr(source_module, "package_hash", lambda _: "newer")
    capfd.readouterr()
    record = run([kinds.Bright() if name == "bright" else name for name in named])
    said = capfd.readouterr().err
    assert {row["name"]: [run["seed"] for run in row["runs"]] for row in record["methods"]} == {name: [0] for name in named}
    titles = ", ".join({"centre": "Centred Gaussian", "bright": "Bright"}[name] for name in named)
    assert f"refitted (seed 0): {titles}; fitted by another version of DiPS\n" in said
    (left,) = (line for line in said.splitlines() if "left out of the table" in line)
    assert [f"{name} (seed {seed})" in left for name in ("bright", "centre") for seed in (0, 1)] == [
        "bright" not in named,
        True,
        "centre" not in named,
        True,
    ]


def test_a_row_of_an_edited_file_that_is_not_named_is_left_out(run: Compare, tmp_path: Path) -> None:
    below, above = write(tmp_path / "below.py", TEXT), write(tmp_path / "above.py", TEXT)
    assert set(curves(run([f"{below}:Learner", f"{above}:Above", f"{above}:Bright"]))) == {"learner", "above", "bright"}
    write(below, EDITED)
    assert set(curves(run([f"{above}:Bright"]))) == {"bright"}
