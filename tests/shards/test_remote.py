"""Object stores: what they refuse, what goes wrong there, and workers that meet."""

from __future__ import annotations

import builtins
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from dips.errors import RunError
from dips.shards.remote import RemoteFiles, _at_store, _patiently, open_store
from dips.system.files import scheme_of

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


def test_missing_credentials_are_told_with_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.shards.remote.open_store", lambda url: (None, url))
    NoCredentialsError = type("NoCredentialsError", (Exception,), {})
    for url, error, remedy in (
        ("s3://b/a", NoCredentialsError("Unable to locate credentials"), "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"),
        ("gcs://b/a", Answered(401), "call 'gcloud auth application-default login'"),
        ("abfs://b/a", PermissionError(), "set AZURE_STORAGE_ACCOUNT_NAME, and"),
        ("hf://b/a", Answered(403), "call 'hf auth login', or set HF_TOKEN"),
    ):
        with pytest.raises(RunError, match=f"{url} cannot be read: .*; {remedy}"), _at_store(url):
            raise error


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


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", refuse)
    with pytest.raises(RunError, match=r'needs a package .*\(Install s3fs to access S3\); pip install "dips-wsol\[remote\]"'):
        open_store("s3://a/b")
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "fsspec":
            raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RunError, match=r's3://a/b needs the package fsspec.*; pip install "dips-wsol\[remote\]"'):
        open_store("s3://a/b")


def test_web_servers_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    told = [Answered(503), ConnectionResetError(), "data"]

    def ask() -> Any:
        said = told.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    assert _patiently("https://host/a", ask) == "data" and pauses == [0.5, 2.0]
    for url, error in (("https://host/a", FileNotFoundError()), ("https://host/a", Answered(404)), ("s3://b/a", Answered(503))):
        told = [error, "data"]
        with pytest.raises(type(error)):
            _patiently(url, ask)
    told = [Answered(500)] * 3
    with pytest.raises(Answered):
        _patiently("http://host/a", ask)
    assert len(pauses) == 4


def test_schemes() -> None:
    assert [scheme_of(place) for place in ("gs://b", "a/b", "C://a", "://a", "a b://c", "HTTPS://h")] == [
        *("gs", "", "", "", "", "https")
    ]


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
