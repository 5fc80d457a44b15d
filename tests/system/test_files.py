"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path

import pytest

from dips.errors import RunError
from dips.system.files import atomic_file, file_sha256, is_temporary, is_unused, new_folder, only_one, require_writable

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")


def hidden(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(("mode", "data"), [("w", "grün"), ("wb", b"\x00\xff")])
def test_a_file_is_written(tmp_path: Path, mode: str, data: str | bytes) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_file(path, mode) as file:
        file.write(data)
        assert not path.exists()
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode("utf-8"))
    assert hidden(path.parent) == []


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write("new")
        raise KeyError
    assert path.read_text() == "old" and hidden(tmp_path) == []


def test_no_space_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"file: No space left.*free some space"), atomic_file(path) as file:
        file.write("new")
    assert path.read_text() == "old" and hidden(tmp_path) == []


@UNIX
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_others_may_read_what_the_umask_allows(tmp_path: Path, mask: int, expected: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "file") as file:
            file.write("x")
        with new_folder(tmp_path / "folder"):
            pass
        assert os.umask(mask) == mask, "the process's own mask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected & 0o666
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == expected


def test_a_folder_appears_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    with new_folder(path) as work:
        (work / "file").write_text("x")
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["file"] and hidden(path.parent) == []


def test_a_folder_that_failed_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "one") as work:
        (work / "file").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("old")
    with pytest.raises(RunError, match="already exists; nothing was changed"), new_folder(tmp_path / "one"):
        raise AssertionError("not reached")
    assert (tmp_path / "one" / "file").read_text() == "old"


def test_another_run_was_faster(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"), new_folder(tmp_path / "one") as work:
        (work / "mine").touch()
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "theirs").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["one", "theirs"]


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for attempt in (new_folder(tmp_path / "file" / "x"), atomic_file(tmp_path / "file" / "x")):
        with pytest.raises(RunError, match="cannot write"), attempt:
            raise AssertionError("not reached")


LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")


@LOCKS
@pytest.mark.parametrize("left", [b"", b"half of", b"x" * 100_000])
def test_what_a_kill_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path, left: bytes) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "file") as file:
        name = hidden(tmp_path)[0]
        file.write("x")
        raise ZeroDivisionError
    assert set(tmp_path.iterdir()) == before
    name.write_bytes(left)
    with atomic_file(tmp_path / "file") as file:
        file.write("whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "whole")]


@LOCKS
def test_what_a_kill_left_of_a_folder_goes_when_it_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "one") as work:
        raise ZeroDivisionError
    (work / "deep").mkdir(parents=True)
    (work / "deep" / "half").touch()
    (work / "link").symlink_to(tmp_path)
    with new_folder(tmp_path / "one") as again:
        (again / "file").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["one", "one/file"]


@LOCKS
def test_what_another_program_is_writing_is_left_to_it(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as first, new_folder(tmp_path / "one") as work:
        (work / "mine").touch()
        first.write("first")
        with atomic_file(tmp_path / "file") as second:
            second.write("second")
        with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "one"):
            raise ZeroDivisionError
        assert (tmp_path / "file").read_text() == "second"
    assert (tmp_path / "file").read_text() == "first" and [p.name for p in (tmp_path / "one").iterdir()] == ["mine"]
    assert hidden(tmp_path) == []


@LOCKS
@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_file_that_someone_put_there_is_not_written_to(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "file"):
        name = hidden(tmp_path)[0]
        raise ZeroDivisionError
    (tmp_path / "other").write_text("other")
    (name.symlink_to if kind == "symlink" else name.hardlink_to)(tmp_path / "other")
    with atomic_file(tmp_path / "file") as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "new" and (tmp_path / "other").read_text() == "other"


@LOCKS
def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with atomic_file(tmp_path / "file") as file:
        file.write("new")
    with new_folder(tmp_path / "one") as work:
        (work / "x").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "one"]


@LOCKS
@pytest.mark.parametrize("left", [False, True])
def test_a_disk_on_which_every_file_is_another_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool) -> None:
    """As on CIFS, vfat and the mounts of containers."""
    before = []
    if left:  # by a kill, or by that user: it is not touched
        before = [tmp_path / ".file.dips_tmp", tmp_path / ".one.dips_tmp"]
        before[0].write_text("theirs")
        before[1].mkdir()
    someone = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone)
    for number in range(2):
        with atomic_file(tmp_path / "file") as file:
            file.write(f"{number}")
        with pytest.raises(KeyError), atomic_file(tmp_path / "file") as file:
            raise KeyError
        with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "one"):
            raise ZeroDivisionError
    with new_folder(tmp_path / "one") as work:
        (work / "x").touch()
    assert sorted(hidden(tmp_path)) == before and all(path.is_dir() or path.read_text() == "theirs" for path in before)
    assert (tmp_path / "file").read_text() == "1" and [path.name for path in (tmp_path / "one").iterdir()] == ["x"]


@LOCKS
def test_where_no_lock_is_to_be_had_only_what_was_made_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    theirs = tmp_path / ".file.dips_tmp"
    theirs.write_text("theirs")
    for name in ("file", "other"):
        with atomic_file(tmp_path / name) as file:
            file.write("new")
    assert theirs.read_text() == "theirs" and hidden(tmp_path) == [theirs]


def test_unfinished_files_are_known_by_their_names(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.json") as _, atomic_file(tmp_path / "a.json") as _, new_folder(tmp_path / "b"):
        found = hidden(tmp_path)
    assert len(found) == 3 and all(map(is_temporary, found))
    for name in (".notes.markdown", ".label.settings", ".a.b2345678", "a.dips_tmp", ".dips_tmp.json"):
        assert not is_temporary(Path(name)), name


@pytest.mark.parametrize("name", ["a.json", "new/deep/a.json"])
def test_what_can_be_written_is_not_made(tmp_path: Path, name: str) -> None:
    require_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/.*a\.json: Not a directory; choose another folder"):
        require_writable(tmp_path / "file" / name)
    with pytest.raises(RunError, match="it is a folder"):
        require_writable(tmp_path)


@pytest.mark.parametrize(
    ("there", "besides", "unused"),
    [
        ([], None, True),
        ([".a.json.dips_tmp"], None, True),
        (["p.json", ".a.json.dips_tmp"], "p.json", True),
        (["deep/p.json"], "deep/p.json", True),
        (["p.json"], None, False),
        (["p.json", "notes.txt"], "p.json", False),
        ([".notes.markdown"], None, False),
    ],
)
def test_a_folder_that_was_killed_at_its_start_is_unused(
    tmp_path: Path, there: list[str], besides: str | None, unused: bool
) -> None:
    folder = tmp_path / "out"
    assert is_unused(folder)
    folder.mkdir()
    for name in there:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (tmp_path / "link").symlink_to(folder)
    for way in (folder, tmp_path / "link"):
        assert is_unused(way, None if besides is None else folder / besides) == unused
    assert not is_unused(folder / there[0]) if there else is_unused(folder / "new")


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
def test_file_sha256(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["a" * 256, "\u00e4" * 130 + ".json"])
def test_a_name_that_is_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="too long; choose a shorter name"), atomic_file(tmp_path / name):
        pass


def test_only_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "work.lock"
    with only_one(path, tmp_path, "dips work", remove=True):
        with (
            pytest.raises(RunError, match=r"is in use by another 'dips work'; stop that one first"),
            only_one(path, tmp_path, "dips work"),
        ):
            pass
        assert path.exists(), "it is that of the first"
    assert not path.exists()
    with pytest.raises(ValueError, match="broken"), only_one(path, tmp_path, "dips work", remove=True):
        raise ValueError("broken")
    assert not path.exists()
    path.write_text("kept")
    with only_one(path, tmp_path, "dips work"):
        pass
    assert path.read_text() == "kept"
