"""Locations of photos -> their names, in order, and the stems of their results; many photos take a few bytes each in memory.

A name is the path below the deepest folder that holds all photos. Photos are sorted by name, in temporary files if there are
many; 64-bit hashes of all stems tell which photos share one.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import posixpath
import tempfile
import unicodedata
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import IO, Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from dips.data.photo_files import SUFFIXES
from dips.shards.plan import Item
from dips.system.names import as_text, scheme_of

__all__ = ["NamedPhotos", "Place", "place_of", "stem_of"]

MAX_NAME_BYTES = 180  # of a file; temporary files beside it have longer names, and 255 is the limit
_CHUNK = 50_000  # photos that are sorted in memory
_RUNS = 100  # sorted pieces that are merged at once
_READ = 1 << 16  # bytes of a piece that are read at a time

_Hashes = NDArray[np.uint64]
_NONE: _Hashes = np.empty(0, np.uint64)


class Place(NamedTuple):
    """The location of a photo or folder, from which names are derived.

    Attributes:
        top: what precedes all folders: a scheme, a drive or nothing. Names are relative only if all photos have the same.
        path: folders and name with forward slashes.
    """

    top: str
    path: str

    @property
    def parent(self) -> Place:
        """The folder that contains it."""
        return Place(self.top, self.path.rpartition("/")[0])


def place_of(uri: str) -> Place:
    """Return the place of a URL, or of a path relative to the current folder.

    >>> place_of("s3://bucket/a/1.jpg"), place_of("https://host/a%20b.jpg?key=1")
    (Place(top='s3', path='bucket/a/1.jpg'), Place(top='https', path='host/a b.jpg'))
    """
    scheme = scheme_of(uri)
    if not scheme:
        drive, path = os.path.splitdrive(os.path.abspath(uri))
        return Place(drive, path.replace(os.sep, "/").lstrip("/"))
    path = uri.partition("://")[2]
    if scheme in ("http", "https"):
        path, asked, query = path.partition("#")[0].partition("?")
        path = unquote(path)
        if asked and posixpath.splitext(path)[1].lower() not in SUFFIXES:  # only the query says which photo it is
            path = f"{path.rstrip('/')}-{_digest(query)}"
    # no name may lead out of the folder of results
    parts = (part for part in path.replace("\0", "%00").replace("\\", "%5C").split("/") if part)
    return Place(scheme, "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in parts))


class NamedPhotos:
    """Photos with their names, sorted by name: added one by one, then iterated over as often as needed.

    Attributes:
        count: number of distinct photos.
        folder: the name of the folder that their names are relative to; empty if there is none.
        doubled: number of photos that were given again, and the first of them.
        spelled: number of names that are not valid text, and how the first is written.

    >>> photos = NamedPhotos()
    >>> for uri in ("s3://b/x/2.jpg", "s3://b/x/1.png", "s3://b/x/1.jpg", "s3://b/x/2.jpg"):
    ...     photos.add(uri)
    >>> photos.finish()
    >>> [(item.id, item.stem) for item in photos], photos.folder, photos.doubled
    ([('1.jpg', '1.jpg'), ('1.png', '1.png'), ('2.jpg', '2')], 'x', (1, 's3://b/x/2.jpg'))
    """

    def __init__(self) -> None:
        self.count, self.folder, self.doubled, self.spelled = 0, "", (0, ""), (0, "")
        self._given = 0
        self._chunk: list[tuple[str, int, str]] = []
        self._runs: list[IO[bytes]] = []
        self._top: str | None = None  # None if there are several
        self._common: str | None = None
        self._named: list[tuple[str, str]] | IO[bytes] = []
        self._shared = self._clashing = self._texts = _NONE

    def add(self, uri: str, place: Place | None = None) -> None:
        """Add a photo.

        Args:
            uri: its location.
            place: as :func:`place_of` returns it, if a folder that contains it was already passed to :meth:`add_folder`.
        """
        if place is None:
            place = place_of(uri)
            self.add_folder(place.parent)
        self._chunk.append((place.path.replace("/", "\0"), self._given, uri))
        self._given += 1
        if len(self._chunk) >= _CHUNK:
            self._spill()

    def add_folder(self, folder: Place) -> None:
        """Register a folder: names will be relative to it, or to a folder that contains it."""
        top, path = folder
        if self._common is None:
            self._top, self._common = top, path
        elif top != self._top:
            self._top = None
        while self._common and path != self._common and not path.startswith(f"{self._common}/"):
            self._common = self._common.rpartition("/")[0]

    def finish(self, drop: Callable[[str], bool] | None = None) -> None:
        """Sort and name the photos that were added.

        Args:
            drop: returns whether the photo at the path of a :class:`Place` is to be dropped after all.
        """
        common = self._common or "" if self._top is not None else ""
        self.folder = common.rpartition("/")[2]
        is_large = bool(self._runs)
        if is_large:
            self._spill()
        rows = heapq.merge(*map(_rows, self._runs)) if is_large else iter(sorted(self._chunk))
        named = self._distinct(rows, len(common) + 1 if common else 0, drop)
        self._named = self._written(named) if is_large else list(named)
        self._close_runs()
        bare, spelled = array("Q"), array("Q")
        for name, _ in self._each():
            bare.append(_hash(_bare(name)))
            if not _is_text(name):
                text = as_text(name)
                spelled.append(_hash(text))
                self.spelled = (len(spelled), self.spelled[1] or text)
        self.count = len(bare)
        self._shared = _repeated(bare)
        if len(self._shared):
            self._clashing = _repeated(array("Q", (_hash(self._chosen(name)) for name, _ in self._each())))
        if spelled:
            known = np.unique(np.asarray(spelled))
            same = (value for name, _ in self._each() if _is_text(name) and _has(known, value := _hash(name)))
            self._texts = np.unique(np.asarray(array("Q", same)))

    def __iter__(self) -> Iterator[Item]:
        taken: set[str] = set()
        for name, uri in self._each():
            stem = self._chosen(name)
            if len(self._clashing) and _has(
                self._clashing, _hash(stem)
            ):  # of photos whose stems clash, the first keeps its own
                if _folded(stem) in taken:
                    stem = _marked(stem, name)
                taken.add(_folded(stem))
            yield Item(self._text(name), uri, stem)

    def _chosen(self, name: str) -> str:
        stem = _bare(name)
        return _short(name if len(self._shared) and _has(self._shared, _hash(stem)) else stem, name)

    def _text(self, name: str) -> str:
        if _is_text(name):
            return name
        text = as_text(name)
        if not _has(self._texts, _hash(text)):
            return text
        whole, suffix = posixpath.splitext(text)
        return f"{whole}-{_digest(name)}{suffix}"

    def _distinct(
        self, rows: Iterable[tuple[str, int, str]], start: int, drop: Callable[[str], bool] | None
    ) -> Iterator[tuple[str, str]]:
        """Yield the names and URIs of sorted photos, each once."""
        for key, group in groupby(rows, key=lambda row: row[0]):
            path = key.replace("\0", "/")
            if drop is not None and drop(path):
                continue
            seen: set[str] = set()
            for _, _, uri in group:
                same = uri if scheme_of(uri) else os.path.splitdrive(os.path.abspath(uri))[0]
                if same in seen:
                    self.doubled = (self.doubled[0] + 1, self.doubled[1] or uri)
                    continue
                name = path[start:]
                if seen:  # another place with the same path
                    whole, suffix = posixpath.splitext(name)
                    name = f"{whole}-{_digest(uri)}{suffix}"
                seen.add(same)
                yield name, uri

    def _each(self) -> Iterator[tuple[str, str]]:
        yield from self._named if isinstance(self._named, list) else _rows(self._named)

    def _spill(self) -> None:
        self._runs.append(self._written(sorted(self._chunk)))
        self._chunk.clear()
        if len(self._runs) >= _RUNS:
            merged = self._written(heapq.merge(*map(_rows, self._runs)))
            self._close_runs()
            self._runs.append(merged)

    def _written(self, rows: Iterable[tuple[Any, ...]]) -> IO[bytes]:
        """Write rows to a temporary file, which is removed together with this object, and return the file."""
        file = tempfile.TemporaryFile(prefix="dips-")  # noqa: SIM115  closed below
        weakref.finalize(self, file.close)
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        return file

    def _close_runs(self) -> None:
        self._chunk.clear()
        while self._runs:
            self._runs.pop().close()


def stem_of(name: str) -> str:
    """Return the path of a photo's results without suffix, for a photo on its own.

    >>> stem_of("a/1.jpg")
    'a/1'
    """
    return _short(_bare(name), name)


def _short(stem: str, name: str) -> str:
    return stem if len(os.fsencode(stem.rpartition("/")[2])) <= MAX_NAME_BYTES else _marked(stem, name)


def _marked(stem: str, name: str) -> str:
    folder, slash, last = stem.rpartition("/")
    return f"{folder}{slash}{last[:40]}-{_digest(name)}"


def _bare(name: str) -> str:
    whole, suffix = posixpath.splitext(name)
    return name if suffix == "." else whole


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _is_text(name: str) -> bool:
    """Return whether a name can be encoded as UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash(name: str) -> int:
    data = _folded(name).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _repeated(hashes: array[int]) -> _Hashes:
    """Return the hashes that occur more than once, sorted."""
    values = np.sort(np.frombuffer(hashes, np.uint64)) if hashes else _NONE
    return np.unique(values[1:][values[1:] == values[:-1]])


def _has(hashes: _Hashes, value: int) -> bool:
    place = int(np.searchsorted(hashes, np.uint64(value)))
    return place < len(hashes) and int(hashes[place]) == value


def _rows(file: IO[bytes]) -> Iterator[Any]:
    place = 0
    while True:
        file.seek(place)  # other iterators may read the file, too
        lines = file.readlines(_READ)
        if not lines:
            return
        place += sum(map(len, lines))
        for line in lines:
            yield tuple(json.loads(line))
