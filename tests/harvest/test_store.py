"""Records survive: killed writers, several at once, damage, a full disk, renamed photos."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.errors import StoreError
from dips.harvest import store as store_module
from dips.harvest.store import Shelf, Store, settings_hash

WRITER = """
import sys
from pathlib import Path
import numpy as np
from dips.harvest.store import Shelf
shelf, first, count = Shelf(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
for batch in range(count):
    numbers = [first + 8 * batch + n for n in range(8)]
    shelf.put({f"{n * 2654435761 % 2**64:016x}": {"n": np.full(4000, n)} for n in numbers})
    print(*numbers, flush=True)
"""


def key(number: int) -> str:
    return f"{number * 2654435761 % 2**64:016x}"


def record(value: float = 1.0) -> dict[str, Any]:
    return {"a": np.full((2, 3), value, np.float16), "empty": np.zeros((0, 4), np.float32)}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def test_records_come_back_as_they_were(shelf: Shelf) -> None:
    turned = np.arange(6, dtype=np.int32).reshape(2, 3).T  # not contiguous
    shelf.put({"ab": {"turned": turned, "bytes": np.arange(5, dtype=np.uint8), **record()}})
    found = shelf.get("ab")
    assert found is not None and set(found) == {"turned", "bytes", "a", "empty"}
    assert np.array_equal(found["turned"], turned) and found["turned"].dtype == np.int32
    assert found["a"].dtype == np.float16 and found["empty"].shape == (0, 4)
    assert shelf.get("ac") is None and shelf.get("1c") is None


@settings(max_examples=25)
@given(steps=st.lists(st.dictionaries(st.integers(0, 60), st.integers(0, 9), max_size=5), max_size=6))
def test_behaves_like_a_dictionary(tmp_path_factory: pytest.TempPathFactory, steps: list[dict[int, int]]) -> None:
    shelf, model = Shelf(tmp_path_factory.mktemp("shelf")), dict[str, int]()
    for step in steps:
        shelf.put({key(n): record(value) for n, value in step.items()})
        model |= {key(n): value for n, value in step.items()}
        shelf.close()
    keys = [key(n) for n in range(61)]
    assert shelf.missing(keys * 2) == [k for k in keys if k not in model]
    for name, value in model.items():
        found = shelf.get(name)
        assert found is not None and float(found["a"][0, 0]) == value
    shelf.close()


def test_a_killed_writer_loses_nothing_and_leaves_no_half(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), "0", "1000000"], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(6)]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
    told = [int(n) for line in lines if line.endswith("\n") for n in line.split()]
    assert len(told) >= 48
    shelf = Shelf(folder)
    assert shelf.missing([key(n) for n in told]) == []
    for number in range(max(told) + 9):  # the put that was interrupted, too
        found = shelf.get(key(number))
        assert found is None or np.array_equal(found["n"], np.full(4000, number))
    shelf.put({key(0): record()})  # a journal left behind is dealt with


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    arguments = [[sys.executable, "-c", WRITER, str(folder), str(first), "6"] for first in (0, 24)]  # half of them the same
    writers = [subprocess.Popen(a, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for a in arguments]
    for writer in writers:
        _, said = writer.communicate(timeout=50)
        assert writer.returncode == 0, said
    shelf = Shelf(folder)
    for number in range(72):
        found = shelf.get(key(number))
        assert found is not None and np.array_equal(found["n"], np.full(4000, number))


@pytest.mark.parametrize("damage", ["overwritten", "cut", "record"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.put({f"a{n:03x}": {"n": np.zeros(3000, np.uint8)} for n in range(20)})
    shelf.close()
    file = tmp_path / "shelf" / "a.sqlite"
    if damage == "overwritten":
        file.write_bytes(b"no database " * 1000)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:9000])
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE records SET record = ?", (b"\x00" * 40,))
        connection.close()
    with pytest.raises(StoreError, match=r"a\.sqlite is damaged.*remove it"):
        for n in range(20):
            shelf.get(f"a{n:03x}")
    if damage != "record":
        with pytest.raises(StoreError, match="damaged"):
            shelf.put({f"a{n:03x}": {"n": np.ones(3000, np.uint8)} for n in range(20)})
    assert shelf.get("b000") is None  # another file
    shelf.close()
    file.unlink()
    assert shelf.missing(["a000"]) == ["a000"]  # the remedy works


def test_an_empty_file_is_an_empty_shelf(shelf: Shelf) -> None:
    shelf.folder.mkdir()
    (shelf.folder / "a.sqlite").touch()  # killed right after it was made
    assert shelf.get("ab") is None
    shelf.put({"ab": record()})
    assert shelf.get("ab") is not None


def test_a_full_disk_is_named_and_costs_nothing_earlier(shelf: Shelf) -> None:
    shelf.put({"a0": record(1)})
    shelf._connect("a0").execute("PRAGMA max_page_count = 8")
    with pytest.raises(StoreError, match=r"full.*free some space"):
        shelf.put({"a1": {"n": np.zeros(100_000)}, "a2": record()})
    assert shelf.missing(["a0", "a1", "a2"]) == ["a1", "a2"]  # all of the put or nothing
    shelf.put({"a2": record()})  # what fits still fits


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_limit_of_the_system_is_a_store_error(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from dips.errors import StoreError
from dips.harvest.store import Store
store = Store(Path(sys.argv[1]))
shelf = store.shelf("maps", {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
file = Path(sys.argv[1], "f")
for attempt in (lambda: shelf.put({"a0": {"n": np.zeros(100_000)}}), lambda: store.write(file, bytes(60_000))):
    try:
        attempt()
    except StoreError as error:
        print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.count("refused: cannot") == 2, done.stderr
    assert not (tmp_path / "f").exists() and not list(tmp_path.glob(".f*"))


def test_no_space_for_what_lies_beside_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"settings\.json.*No space left.*--store"):
        store.shelf("maps", {"size": 3})


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make the store"):
        Store(tmp_path / "file" / "store")


def test_settings_choose_the_shelf_and_can_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, same, other = (store.shelf("maps", s) for s in ({"a": 1, "b": "ü"}, {"b": "ü", "a": 1}, {"a": 2, "b": "ü"}))
    assert one.folder == same.folder != other.folder
    assert json.loads((one.folder / "settings.json").read_text(encoding="utf-8")) == {"a": 1, "b": "ü"}
    assert store.shelf("squares", {"a": 1, "b": "ü"}).folder != one.folder
    assert settings_hash({"a": 1}) != settings_hash({"a": "1"})


def test_photos_are_known_by_content(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    store = Store(tmp_path / "store")
    paths = [make_photo(tmp_path / name, seed=seed) for name, seed in (("a.png", 0), ("b.png", 1), ("copy.png", 0))]
    a, b, copy = store.digests(paths)
    assert a == copy != b and isinstance(a, str) and len(a) == 64
    paths[0].rename(tmp_path / "renamed.png")
    assert list(store.digests([tmp_path / "renamed.png"])) == [a]


def test_a_changed_photo_is_another_even_if_size_and_time_are_the_same(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "a.png"
    path.write_bytes(b"one")
    stat = path.stat()
    (before,) = store.digests([path])
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (after,) = store.digests([path])
    assert before != after


def test_a_known_photo_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{n}.jpg" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]))
    before = list(Store(tmp_path / "store").digests(paths))

    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(store_module, "file_sha256", read)
    assert list(Store(tmp_path / "store").digests(paths)) == before


def test_unreadable_files_do_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    names = ["missing.jpg", "there.jpg", "folder.jpg"]
    found = list(Store(tmp_path / "store").digests(tmp_path / name for name in names))
    assert [type(item) for item in found] == [FileNotFoundError, str, IsADirectoryError]


def test_digests_of_a_stopped_run_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    paths = [tmp_path / f"{n}.jpg" for n in range(4)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]))
    running = store.digests(paths)
    first = next(running)
    running.close()  # type: ignore[attr-defined]
    monkeypatch.setattr(store_module, "file_sha256", lambda path: "0" * 64)
    assert list(Store(tmp_path / "store").digests(paths[:2])) == [first, "0" * 64]


def test_a_shelf_travels_to_other_processes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put({"ab": record(3)})
    sent = pickle.loads(pickle.dumps(shelf))
    assert np.array_equal(sent.get("ab")["a"], record(3)["a"])
    inherited = shelf._open["a"]
    monkeypatch.setattr(os, "getpid", lambda: -5)  # as after a fork
    assert shelf.get("ab") is not None
    assert shelf._open["a"] is not inherited
    inherited.execute("SELECT 1")  # still open: it is the parent's


def test_records_move_to_another_store(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    shelf = one.shelf("maps", {"side": 224})
    records = {f"{number:064x}": {"map": np.full((2, 2), number, np.float16)} for number in range(40)}
    shelf.put(records)
    (tmp_path / "one/.unfinished").mkdir()
    for name, note in one.settings():
        other.write(other.shelf_named(name, source="part").note, note)
    for name, key, record in one.rows():
        other.shelf_named(name, source="part").put_rows({key: record})
    assert [key for _, key, _ in one.rows()] == sorted(records)
    again = other.shelf("maps", {"side": 224})
    assert again.missing(records) == [] and again.require(f"{7:064x}")["map"][0, 0] == 7
    assert dict(other.settings()) == dict(one.settings())
    for name in ("../maps", "maps-12", ".unfinished"):
        with pytest.raises(StoreError, match="part is damaged"):
            other.shelf_named(name, source="part")
