"""Files that appear whole, and once."""

from __future__ import annotations

import errno
import io
import os
import pickle
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dips.errors import RunError
from dips.shards.files import Files, LocalFiles, files_at


@pytest.fixture(params=["disk", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """Files in a folder, in fsspec's memory, and in an object store."""
    if request.param == "disk":
        return LocalFiles(tmp_path / "new")
    pytest.importorskip("fsspec", reason="needs the extra remote")
    top = "memory://" if request.param == "memory" else request.getfixturevalue("bucket")
    return files_at(f"{top}/{uuid.uuid4().hex}/")


def test_what_is_written_is_read(files: Files) -> None:
    assert files.names("a") == []
    files.write("a/2", b"old")
    files.write("a/2", (part for part in (b"x\n", b"y\n", b"z")))
    files.write("a/1", b"")
    assert files.read("a/2") == b"x\ny\nz" and list(files.lines("a/2")) == [b"x\n", b"y\n", b"z"]
    assert files.names("a") == ["1", "2"]
    for name in ("1", "2", "2"):
        files.remove(f"a/{name}")
    assert files.names("a") == []


def test_a_folder_goes_with_all_that_is_in_it(files: Files) -> None:
    for name in ("a/1", "a/b/2", "ab/3"):
        files.write(name, name.encode())
    files.discard("a")
    files.discard("a")
    assert files.names("a") == files.names("a/b") == [] and files.names("ab") == ["3"] and files.read("ab/3") == b"ab/3"


def test_what_killed_writers_left_goes_with_the_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "work")
    for name in (
        "plan.json",
        ".plan.json.x1.dips_tmp",
        ".plan.json.dips_tmp",
        "parts/1",
        "parts/.1.x2.dips_tmp",
        ".plan.json.txt",
    ):
        files.write(name, b"")
    assert files.names("parts") == ["1"]
    files.discard("parts")
    files.discard("parts")
    files.remove("plan.json")
    assert os.listdir(tmp_path / "work") == [".plan.json.txt"]  # somebody else's
    files.remove(".plan.json.txt")
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_not_found(files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        files.read("a")
    with pytest.raises(FileNotFoundError):
        list(files.lines("a"))


def test_lines_end_as_they_do(files: Files) -> None:
    for data in (b"", b"\n", b"a", b"a\n\nb\n", b"a\r\nb\x0bc"):
        files.write("a", data)
        assert list(files.lines("a")) == [*io.BytesIO(data)]


def test_a_file_is_created_once(files: Files) -> None:
    assert files.create("a/b", b"1") and not files.create("a/b", b"2") and files.read("a/b") == b"1"
    assert files.create("a/c", b"") and not files.create("a/c", b"") and files.names("a") == ["b", "c"]
    files.remove("a/b")
    assert files.create("a/b", b"3") and files.read("a/b") == b"3"


def test_files_travel_to_other_processes(files: Files) -> None:
    files.create("a", b"1")
    other = pickle.loads(pickle.dumps(files))
    assert other.place == files.place and other.read("a") == b"1" and not other.create("a", b"2")


def test_an_error_while_writing_leaves_what_was_there(files: Files) -> None:
    files.write("a", b"old")

    def broken() -> object:
        yield b"new"
        raise KeyError

    with pytest.raises(KeyError):
        files.write("a", broken())  # type: ignore[arg-type]
    assert files.read("a") == b"old" and files.names("") == ["a"]


def test_of_many_that_create_a_file_one_does(files: Files, tmp_path: Path) -> None:
    if files.place.startswith("memory:"):
        pytest.skip("fsspec's memory looks first and writes then; it is there for tests")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: files.create("a/b", b"%d" % number), range(40)))
    assert told.count(True) == 1 and files.read("a/b") == b"%d" % told.index(True) and files.names("a") == ["b"]
    if isinstance(files, LocalFiles):
        assert [path.name for path in (files.folder / "a").iterdir()] == ["b"]  # nothing hidden is left


def test_a_folder_that_one_empties_is_there_for_another(tmp_path: Path) -> None:
    def come_and_go(name: str) -> int:
        files = LocalFiles(tmp_path)
        for _ in range(100):
            assert files.create(f"a/{name}", b"")
            files.remove(f"a/{name}")
        return 100

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(come_and_go, ("1", "2"))) == [100, 100]


def test_a_file_that_another_creates_and_removes_meanwhile_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, link = LocalFiles(tmp_path), os.link
    swept: list[Path] = []

    def sweep_before(source: Path, target: Path) -> None:
        if not swept:
            swept.append(source)
            files.remove("tries/1")  # of the other, which ends its work
        link(source, target)

    monkeypatch.setattr(os, "link", sweep_before)
    assert files.create("tries/1", b"1") and swept
    assert files.read("tries/1") == b"1" and os.listdir(tmp_path / "tries") == ["1"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_disks_without_links_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no links")

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles(tmp_path)
    assert files.create("a", b"1") and not files.create("a", b"2") and files.read("a") == b"1"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(RunError, match=r"cannot write .*: No space left on device; free some space"):
        LocalFiles(tmp_path).create("a", b"1")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_others_remove_while_it_is_empty_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker does that ends the only attempt, while another one begins."""
    make = tempfile.mkstemp
    removed: list[Path] = []

    def made_late(**options: Any) -> tuple[int, str]:
        if len(removed) < 3:
            options["dir"].rmdir()
            removed.append(options["dir"])
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", made_late)
    files = LocalFiles(tmp_path)
    assert files.create("tries/1", b"me") and files.read("tries/1") == b"me" and len(removed) == 3
