"""The harvest's results on disk: computed once, stored by content, shared by all runs.

A store is a folder of *shelves*. A shelf holds one kind of record under one group of settings (their hash is part of the
shelf's name) and is cut into SQLite files by the first digit of the key, so that a million photos are neither one huge file nor
a million small ones. Keys are SHA-256 digests of photos; a record is a few named arrays. SQLite's transactions make every
write atomic, even if the process is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from dips.errors import RunError, StoreError
from dips.system.files import atomic_file, file_sha256

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Arrays", "Shelf", "Store", "network_hash", "settings_hash"]

Arrays = Mapping[str, NDArray[Any]]
"""A record: a few arrays by name."""

_SETTINGS = "settings.json"
_WAIT_SECONDS = 60.0
_DIGESTS_AT_ONCE = 256


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Return sixteen hex digits that identify settings.

    Args:
        settings: any values that JSON can represent.

    >>> settings_hash({"side": 224}) == settings_hash({"side": 224}) != settings_hash({"side": 448})
    True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def network_hash(network: nn.Module) -> str:
    """Return the SHA-256 of a network's tensors and their names, as hex."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Store:
    """A folder of shelves.

    Raises:
        StoreError: the folder cannot be created.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(Path(folder))
        ...     shelf = store.shelf("maps", {"side": 224})
        ...     shelf.put({"ab" * 32: {"map": np.ones((2, 2), np.float16)}})
        ...     shape = shelf.require("ab" * 32)["map"].shape
        ...     shelf.close()
        ...     store.close()
        >>> shape
        (2, 2)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the store {folder}: {error.strerror}; choose another with --store") from error
        self._digests = Shelf(folder / "digests")

    def shelf(self, kind: str, settings: Mapping[str, Any]) -> Shelf:
        """Return the shelf for one kind of record under ``settings``, which are also written to a file for people to read."""
        shelf = Shelf(self.folder / f"{kind}-{settings_hash(settings)}")
        if not shelf.note.is_file():
            self.write(shelf.note, json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False).encode())
        return shelf

    def shelf_named(self, name: str, *, source: str) -> Shelf:
        """Return the shelf with this name, as yielded by :meth:`rows`; ``source`` says in messages where the name was read.

        Raises:
            StoreError: this is not the name of a shelf.
        """
        if not re.fullmatch(r"digests|[a-z]+-[0-9a-f]{16}", name):
            raise StoreError(f"{source} is damaged (no shelf is called {name!r}); remove the folder and repeat the command")
        return Shelf(self.folder / name)

    def write(self, file: Path, data: bytes) -> None:
        """Write a file beside the records, atomically.

        Raises:
            StoreError: no space is left, or the folder cannot be written.
        """
        try:
            with atomic_file(file, "wb") as out:
                out.write(data)
        except RunError as error:
            raise StoreError(f"{error} with --store") from error

    def digests(self, paths: Iterable[Path]) -> Iterator[str | OSError]:
        """Yield the SHA-256 of each photo's bytes, or why it cannot be read; cached while path, size and times are unchanged.

        Raises:
            StoreError: the store cannot be written, or is damaged.
        """
        fresh: dict[str, Arrays] = {}  # one transaction per photo would take longer than reading the files
        try:
            for path in paths:
                try:
                    name = _file_key(path)
                    record = fresh.get(name) or self._digests.get(name)
                    if record is None:
                        record = fresh[name] = {"sha256": np.frombuffer(bytes.fromhex(file_sha256(path)), np.uint8)}
                except OSError as error:
                    yield error
                    continue
                if len(fresh) >= _DIGESTS_AT_ONCE:
                    self._digests.put(fresh)
                    fresh = {}
                yield record["sha256"].tobytes().hex()
        finally:
            self._digests.put(fresh)

    def rows(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield all records of all shelves: name of the shelf, key, and stored bytes."""
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            shelf = Shelf(folder)
            for key, record in shelf.rows():
                yield folder.name, key, record
            shelf.close()

    def settings(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name of each shelf, and the content of its settings file."""
        for note in sorted(self.folder.glob(f"*/{_SETTINGS}")):
            yield note.parent.name, note.read_bytes()

    def close(self) -> None:
        """Close the files that the store itself holds open; shelves are closed separately."""
        self._digests.close()


class Shelf:
    """Records of one kind, by key (hex digits)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, sqlite3.Connection] = {}
        self._owner = os.getpid()

    @property
    def note(self) -> Path:
        """The file with the settings that the shelf's records were made with."""
        return self.folder / _SETTINGS

    def __del__(self) -> None:
        with suppress(sqlite3.Error):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_open": {}, "_owner": -1}

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the record of ``key``, or None.

        Raises:
            StoreError: the shelf is damaged.
        """
        if not self._file(key).is_file():
            return None
        with _errors(self._file(key)):
            row = self._connect(key).execute("SELECT record FROM records WHERE key = ?", (bytes.fromhex(key),)).fetchone()
            return None if row is None else safetensors.numpy.load(row[0])

    def require(self, key: str) -> dict[str, NDArray[Any]]:
        """Return the record of ``key``, which must exist.

        Raises:
            StoreError: it does not exist, or the shelf is damaged.
        """
        record = self.get(key)
        if record is None:
            raise StoreError(f"the store {self.folder} lost a photo's record while it was in use; run the command again")
        return record

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that have no record, in their order, without duplicates."""
        unique = list(dict.fromkeys(keys))
        present: set[str] = set()
        for group in _by_digit(unique).values():
            if not self._file(group[0]).is_file():
                continue
            with _errors(self._file(group[0])):
                connection = self._connect(group[0])
                for start in range(0, len(group), 500):
                    part = [bytes.fromhex(key) for key in group[start : start + 500]]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key FROM records WHERE key IN ({marks})", part)
                    present.update(row[0].hex() for row in rows)
        return [key for key in unique if key not in present]

    def put(self, records: Mapping[str, Arrays]) -> None:
        """Write records, replacing those that already exist.

        Raises:
            StoreError: no space is left, or the shelf is damaged.
        """
        self.put_rows({key: safetensors.numpy.save(_contiguous(record)) for key, record in records.items()})

    def put_rows(self, rows: Mapping[str, bytes]) -> None:
        """Write records in the form that :meth:`rows` yields; otherwise like :meth:`put`."""
        for group in _by_digit(list(rows)).values():
            with _errors(self._file(group[0])):
                connection = self._connect(group[0])
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO records VALUES (?, ?)", [(bytes.fromhex(key), rows[key]) for key in group]
                    )

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and stored bytes of all records, in the order of the keys.

        Raises:
            StoreError: the shelf is damaged.
        """
        for file in sorted(self.folder.glob("*.sqlite")):
            with _errors(file):
                for key, record in self._connect(file.stem).execute("SELECT key, record FROM records ORDER BY key"):
                    yield key.hex(), record

    def close(self) -> None:
        """Close all files; they are opened again when needed."""
        if self._owner == os.getpid():
            for connection in self._open.values():
                connection.close()
            self._open.clear()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key[0]}.sqlite"

    def _connect(self, key: str) -> sqlite3.Connection:
        if self._owner != os.getpid():  # a connection must not cross a fork, nor be closed in the child
            _parents.append(self._open)
            self._open, self._owner = {}, os.getpid()
        if key[0] not in self._open:
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._file(key), timeout=_WAIT_SECONDS)
            try:
                connection.execute("CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, record BLOB NOT NULL)")
            except sqlite3.Error:
                connection.close()
                raise
            self._open[key[0]] = connection
        return self._open[key[0]]


_parents: list[dict[str, sqlite3.Connection]] = []  # keeps connections inherited by a fork from being closed


def _file_key(path: Path) -> str:
    """Return a key that identifies a file until it changes."""
    stat = path.stat()  # unlike the modification time, the change time cannot be set back
    return hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}".encode()).hexdigest()


def _by_digit(keys: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key[0], []).append(key)
    return groups


def _contiguous(record: Arrays) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(value) for name, value in record.items()}


class _errors:
    """Turns SQLite's errors about ``file`` into a :class:`StoreError`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError | OSError):
            raise StoreError(
                f"cannot use the store's file {self.file} ({error}); free some space or choose another folder with --store"
            ) from error
        if isinstance(error, sqlite3.DatabaseError | SafetensorError):
            raise StoreError(f"the store's file {self.file} is damaged ({error}); remove it, and it will be rebuilt") from error
