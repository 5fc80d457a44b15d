"""Object stores: what they refuse, what goes wrong there, and workers that meet."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dips.errors import RunError
from dips.shards.remote import RemoteFiles

fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
MemoryFileSystem: Any = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem


class Answered(OSError):
    """An error of a store's library, with the status of the answer."""

    def __init__(self, status: int, text: str = "no") -> None:
        super().__init__(text)
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class Store(MemoryFileSystem):  # type: ignore[misc]
    """A store that answers as it is told to before it does what it is asked for."""

    protocol = "odd"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    says: ClassVar[list[Exception | str]] = []

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        said = self.says.pop(0) if self.says else ""
        if isinstance(said, Exception):
            raise said
        super().pipe_file(path, value, mode="overwrite" if said == "forgets" else mode)
        if said == "lost":
            super().pipe_file(path, value, mode=mode)


@pytest.fixture
def odd() -> Iterator[RemoteFiles]:
    fsspec.register_implementation("odd", Store, clobber=True)
    Store.says = []
    yield RemoteFiles(f"odd://{uuid.uuid4().hex}")


def test_an_answer_that_was_lost_is_found(odd: RemoteFiles) -> None:
    odd.create("first", b"")  # tries the store
    Store.says = ["lost"]
    assert odd.create("a", b"mine") and not odd.create("a", b"another's")


def test_a_store_that_writes_over_files_is_refused(odd: RemoteFiles) -> None:
    Store.says = ["forgets", "forgets"]
    with pytest.raises(RunError, match=r"writes over files that are there .* such as Amazon S3, .*, or a folder"):
        odd.create("plan.json", b"1")
    assert odd.names("") == odd.names("driver") == []


def test_a_race_that_the_store_reports_is_run_again(odd: RemoteFiles) -> None:
    odd.create("first", b"")
    Store.says = [Answered(409), Answered(409)]
    assert odd.create("a", b"1")
    Store.says = [Answered(412)]  # others than Amazon do not say which condition failed
    assert not odd.create("a", b"2") and odd.read("a") == b"1"
    Store.says = [Answered(409)] * 9
    assert not odd.create("b", b"1")


@pytest.mark.parametrize(
    "error, line",
    [
        (FileNotFoundError("x"), "there is no such bucket; make it, or mend the address"),
        (PermissionError("Access Denied"), "Access Denied; it may not be asked for without permission"),
        (Answered(503, "Slow\nDown"), "Slow Down; check the address and the network, then repeat"),
        (OSError(), "OSError; check the address and the network, then repeat"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(odd: RemoteFiles, error: Exception, line: str) -> None:
    Store.says = [error]
    with pytest.raises(RunError) as raised:
        odd.write("a", b"1")
    assert str(raised.value) == f"{odd.place}/a cannot be written: {line}"


def test_what_a_store_keeps_although_it_was_to_be_removed_is_told(odd: RemoteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.write("done/1", b"")
    monkeypatch.setattr(Store, "rm", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"done cannot be removed: \S+done/1 stays; it may not be asked for"):
        odd.discard("done")


def test_a_name_that_is_no_text_is_the_same_file_to_all(odd: RemoteFiles, tmp_path: Path) -> None:
    name = "\udcff.jpg"
    (tmp_path / name).write_bytes(b"1")
    odd.put_all(tmp_path, [name])
    assert odd.read(name) == b"1" and not odd.create(name, b"2")
    odd.remove(name)
    assert odd.names("") == []


def test_places_that_nothing_can_be_written_to(bucket: str) -> None:
    for url in ("hf://datasets/a/b", "https://host/a"):
        with pytest.raises(RunError, match=f"{url} can be read, but not written by several workers; give a folder, or an add"):
            RemoteFiles(url)
    with pytest.raises(RunError, match=r"foo://a/b: addresses that begin so are not known; there are s3://, gs://"):
        RemoteFiles("foo://a").read("b")
    with pytest.raises(RunError, match=r"s3://no-such/a cannot be written: there is no such bucket; make it, or mend"):
        RemoteFiles("s3://no-such").write("a", b"1")
    with pytest.raises(RunError, match=r"check-\w+ cannot be written: there is no such bucket"):
        RemoteFiles("s3://no-such").create("a", b"1")


_WORKER = """
import sys
from dips.shards.remote import RemoteFiles

files = RemoteFiles(sys.argv[1])
print(*(number for number in range(60) if files.create(f"done/{number}", sys.argv[2].encode())))
"""


def test_processes_that_create_the_same_files(bucket: str) -> None:
    place = f"{bucket}/{uuid.uuid4().hex}"
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, place, name], stdout=subprocess.PIPE, text=True) for name in "abc"
    ]
    won = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert sorted(number for numbers in won for number in numbers) == sorted(map(str, range(60)))
    files = RemoteFiles(place)
    for name, numbers in zip("abc", won, strict=True):
        assert all(files.read(f"done/{number}") == name.encode() for number in numbers)
    assert len(files.names("done")) == 60
