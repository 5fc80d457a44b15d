"""Work that is interrupted: continued where it is the same, refused where it is not, and never half a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dips.errors import RunError
from dips.system.journal import Claim, Journal, differences
from dips.system.records import Record

HEAD = {"schema_version": 1, "model": "3f2a"}


class Step(Record, frozen=True, kw_only=True):
    name: str


def journal(path: Path, head: dict[str, Any] | None = None, *, sync: bool = False, read_only: bool = False) -> Journal:
    return Journal(
        path,
        HEAD if head is None else head,
        command="dips work",
        holds="some work",
        labels={"model": "another model"},
        remedy="remove it",
        unwritable="choose another --out",
        sync=sync,
        read_only=read_only,
    )


def names(opened: Journal) -> list[str]:
    return [step.name for step in opened.records(Step, remedy="remove the line")]


def claim(folder: Path, **identity: Any) -> Claim:
    return Claim(folder=folder, mark="mark.json", identity=identity, holds="a test", labels={"model": "another model"})


def test_differences_are_named() -> None:
    assert differences({"a": 1, "b": [1]}, {"b": [1], "a": 1}, {}) == []
    assert differences({"a": 1}, {"b": 2}, {"b": "another b"}) == ["a 1, now None", "another b"]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "steps.jsonl"
    with closing(journal(path)) as opened:
        for name in ("a", "ü", "\udcff"):
            opened.append(json.dumps({"name": name}))
    with closing(journal(path)) as opened:
        assert not opened.was_cut and names(opened) == ["a", "ü", "\udcff"]
    assert path.read_bytes().startswith(b'{"schema_version":1,"model":"3f2a"}\n')


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_without_its_end_does_not_count(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "steps.jsonl"
    with closing(journal(path)) as opened:
        for name in "ab":
            opened.append(json.dumps({"name": name}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with closing(journal(path)) as opened:
        kept = names(opened)
        assert opened.was_cut == (not whole[:-cut].endswith(b"\n")) and kept == ["a", "b"][: len(kept)]
        opened.append('{"name": "c"}')
    with closing(journal(path)) as opened:
        assert names(opened) == [*kept, "c"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_kill_loses_no_finished_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; from dips.system.journal import Journal\n"
        "opened = Journal(Path(sys.argv[1]), {}, command='', holds='', remedy='', unwritable='')\n"
        "for name in 'abc': opened.append('{\"name\": \"%s\"}' % name)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=os.environ, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(journal(path, {})) as opened:
        assert names(opened) == ["a", "b", "c"]


def test_a_damaged_line_is_named_and_can_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with closing(journal(path)) as opened:
        for line in ('{"name": "a"}', '{"name": 1}', '{"name": "c"}'):
            opened.append(line)
        with pytest.raises(RunError, match=r"steps\.jsonl, line 3, is damaged .*; remove the line"):
            names(opened)
        opened.cut()
        opened.append('{"name": "d"}')
        assert names(opened) == ["a", "d"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({**HEAD, "model": "97bc"}, "holds some work made with another model; remove it"),
        ({**HEAD, "schema_version": 2}, "made with schema_version 1, now 2"),
        ({}, "made with schema_version 1, now None; another model"),
    ],
)
def test_other_work_is_refused(tmp_path: Path, head: dict[str, Any], words: str) -> None:
    journal(tmp_path / "steps.jsonl").close()
    with pytest.raises(RunError, match=words):
        journal(tmp_path / "steps.jsonl", head)
    journal(tmp_path / "steps.jsonl").close()  # not "in use": the refused one let it go


def test_a_head_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text("head\n")
    with pytest.raises(RunError, match=r"steps\.jsonl, line 1, is damaged .*; remove it"):
        journal(tmp_path / "steps.jsonl")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="this system has no such locks")
    with (
        closing(journal(tmp_path / "steps.jsonl")),
        pytest.raises(RunError, match="is in use by another 'dips work'; stop that one first"),
    ):
        journal(tmp_path / "steps.jsonl")


@pytest.mark.parametrize("rest", [b"", b"{", b'{"name": "c"}'])
def test_it_is_read_while_another_process_writes_it(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "steps.jsonl"
    with closing(journal(path)) as writing:
        writing.append('{"name": "a"}')
        with path.open("ab") as file:
            file.write(rest)
        before = path.read_bytes()
        with closing(journal(path, read_only=True)) as reading:
            assert [step.name for step in reading.records(Step, remedy="")] == ["a"] and reading.was_cut == bool(rest)
            with pytest.raises(RunError, match="cannot write"):
                reading.append('{"name": "b"}')
        with pytest.raises(RunError, match="another model"):
            journal(path, {**HEAD, "model": "97bc"}, read_only=True)
        assert path.read_bytes() == before
    with pytest.raises(RunError, match=r"cannot read .*other\.jsonl.*; make it readable"):
        journal(tmp_path / "new" / "other.jsonl", read_only=True)
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*steps\.jsonl: .*; choose another --out"):
        journal(tmp_path / "steps.jsonl")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "steps.jsonl"
    with closing(journal(path, sync=True)) as opened:
        before = path.read_bytes()

        def full(number: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"cannot write .*steps\.jsonl .*No space left.*free some space"):
            opened.append('{"name": "a"}')
        monkeypatch.undo()
        assert path.read_bytes() == before
    with pytest.raises(RunError, match="cannot write"):  # it is closed
        opened.append('{"name": "a"}')


def test_a_claim_continues_the_same_work(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert claim(folder, model="m").check() is None
    claim(folder, model="m").take()
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and claim(folder, model="m").check() == {"model": "m"}
    with pytest.raises(RunError, match="out holds a test made with another model; seed None, now 1; choose another --out"):
        claim(folder, model="n", seed=1).check()
    with pytest.raises(RunError, match=r"made with other settings \(train\.epochs\)"):
        claim(folder, model="m").check(more=["other settings (train.epochs)"])


def test_a_claim_knows_what_does_not_identify_the_work(tmp_path: Path) -> None:
    claim(tmp_path / "out", seed=0).take(finished=False)
    assert claim(tmp_path / "out", seed=0).check(ignore=["finished"]) == {"seed": 0, "finished": False}


def test_a_claim_goes_on_where_a_mark_of_an_earlier_version_lacks_an_optional_key(tmp_path: Path) -> None:
    claim(tmp_path / "out", seed=0).take()
    later = replace(claim(tmp_path / "out", seed=0, photos=2), optional=("photos",))
    assert later.check() == {"photos": 2, "seed": 0}
    with pytest.raises(RunError, match="photos None, now 2"):
        replace(later, optional=()).check()


@pytest.mark.parametrize("content", ["", "[]", "\x00", "{"])
def test_a_damaged_mark_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "mark.json").write_text(content)
    with pytest.raises(RunError, match=r"mark\.json is damaged .*; remove .* or choose another --out"):
        claim(tmp_path).check()


def test_a_folder_without_a_mark_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already exists; nothing was changed"):
        claim(tmp_path).check()
    with pytest.raises(RunError, match="exists"):
        claim(tmp_path).take()
    assert list(tmp_path.iterdir()) == []


def test_a_mark_of_brackets_of_any_depth_ends_in_a_line(tmp_path: Path) -> None:
    """Deep enough for the reader, and too deep for what follows it: each depth fails in another place."""
    claim(tmp_path / "out", model="m").take()
    for depth in (200_000, *range(100, 1100, 9)):
        (tmp_path / "out" / "mark.json").write_text(
            f'{{"model": {"[" * depth}{"]" * depth}, "seed": {"[" * depth}{"]" * depth}}}'
        )
        with pytest.raises(RunError, match=r"holds a test made with|is damaged") as found:
            claim(tmp_path / "out", model="m").check()
        assert len(str(found.value)) < 1000


@pytest.mark.parametrize("name", ["review.jsonl", "predictions/notes.txt"])
@pytest.mark.parametrize("mark", [None, '{"seed": 3}', "{"])
def test_nobody_is_told_to_remove_what_a_person_made(tmp_path: Path, name: str, mark: str | None) -> None:
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).touch()
    if mark is not None:
        (folder / "mark.json").write_text(mark)
    with pytest.raises(RunError, match=r"holds a review.* another --out$") as error:
        replace(claim(folder, seed=0), precious={"review.jsonl": "a review", "predictions/notes.txt": "a review"}).check()
    assert "remove" not in str(error.value).replace(str(tmp_path), "")
