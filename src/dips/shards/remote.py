"""Files in an object store: whole objects below a prefix of ``s3://``, ``gs://``, ``az://`` or any other fsspec file system.

A store has no rename and no locks. A file is written by a single request, and created by one that the store refuses if the file
exists; whether it really does is tested once per output.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dips.errors import RunError
from dips.shards.stores import at_store, status_of
from dips.system.names import as_text, scheme_of

if TYPE_CHECKING:
    import fsspec

__all__ = ["RemoteFiles"]

_READ_ONLY = ("hf", "http", "https")
_BLOCK = 8 << 20  # bytes requested at a time
_AT_ONCE = 16  # concurrent uploads
_RACES = 5  # number of conflicts that a store may report without a winner


class RemoteFiles:
    """Files below a URL. Can be pickled; each process opens the store itself, when it first needs it.

    Args:
        url: the URL, with its scheme.

    Raises:
        RunError: a place of this kind is read-only.

    >>> files = RemoteFiles("memory://bucket/out")
    >>> files.create("done/1", b"first"), files.create("done/1", b"second"), files.read("done/1"), files.names("done")
    (True, False, b'first', ['1'])
    """

    def __init__(self, url: str) -> None:
        self.place = url.rstrip("/")
        if scheme_of(url) in _READ_ONLY:
            raise RunError(
                f"{url} can be read, but not written by several workers; give a folder, or an address of s3://, gs:// or az://"
            )
        self._is_checked = False

    def read(self, name: str) -> bytes:
        with self._at(name) as (store, path):
            return bytes(store.cat_file(path))

    def lines(self, name: str) -> Iterator[bytes]:
        with self._at(name) as (store, path):
            file = store.open(path, "rb", block_size=_BLOCK)
        begun = b""
        with file:
            while block := self._block(file, name):
                *whole, begun = (begun + block).split(b"\n")
                yield from (line + b"\n" for line in whole)
        if begun:
            yield begun

    def _block(self, file: Any, name: str) -> bytes:
        with self._at(name):
            return bytes(file.read(_BLOCK))

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        if isinstance(data, bytes):
            with self._at(name, "written") as (store, path):
                store.pipe_file(path, data)
            return
        number, spooled = tempfile.mkstemp(prefix="dips-")
        try:
            with os.fdopen(number, "wb") as file:
                file.writelines(data)
            self.put(name, Path(spooled))
        finally:
            os.unlink(spooled)

    def put(self, name: str, file: Path) -> None:
        """Upload a local file, completely or not at all; a large one is sent in parts that appear together."""
        with self._at(name, "written") as (store, path):
            store.put_file(str(file), path)

    def put_all(self, folder: Path, names: Sequence[str]) -> None:
        """Upload files from a local folder under the same names, several at a time."""
        with self._at("", "written") as (store, path):
            targets = [f"{path}/{as_text(name)}" for name in names]
            store.put([str(folder / name) for name in names], targets, batch_size=_AT_ONCE)

    def create(self, name: str, data: bytes) -> bool:
        if not self._is_checked:
            self._check()
        return self._create(name, data)

    def _create(self, name: str, data: bytes) -> bool:
        for _ in range(_RACES):
            with self._at(name, "written") as (store, path):
                try:
                    store.pipe_file(path, data, mode="create")
                    return True
                except Exception as error:
                    status = status_of(error)
                    if status == 409 and not isinstance(error, FileExistsError):  # conflict with a concurrent request
                        continue
                    if status != 412 and not isinstance(error, FileExistsError):
                        raise
            with suppress(FileNotFoundError):
                # the response to a first request may have been lost, and the request repeated
                return bool(data) and self.read(name) == data
        return False

    def _check(self) -> None:
        """Check that the store refuses to create a file twice."""
        name = f"driver/check-{uuid.uuid4().hex}"
        try:
            answers = [self._create(name, data) for data in (b"1", b"2")]
        finally:
            self.remove(name)
        if answers != [True, False]:
            raise RunError(
                f"{self.place}: this store writes over files that are there when asked not to, so that two workers could take "
                "the same work; use one that knows conditional writes, such as Amazon S3, Google Cloud Storage, Azure, MinIO "
                "or Cloudflare R2, or a folder"
            )
        self._is_checked = True

    def names(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError), self._at(folder) as (store, path):
            found = (entry["name"].rpartition("/")[2] for entry in store.ls(path, detail=True) if entry["type"] == "file")
            return sorted(filter(None, found))
        return []

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._at(name, "removed") as (store, path):
            store.rm_file(path)

    def discard(self, folder: str) -> None:
        with suppress(FileNotFoundError), self._at(folder, "removed") as (store, path):
            store.rm(path, recursive=True)
            if left := store.find(path):  # a store's refusal is not always raised by its library
                raise PermissionError(f"{left[0]} stays")

    @contextmanager
    def _at(self, name: str, verb: str = "read") -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
        with at_store(f"{self.place}/{as_text(name)}" if name else self.place, verb) as opened:
            yield opened
