"""Photos as a user specifies them -> each photo with its name: folders, files, patterns, lists, on disks and behind URLs.

Only folders and lists are opened. A photo that a list names but that does not exist is reported when it is to be read.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dips.data.images import read_bytes
from dips.data.lists import is_list, placed, read_list
from dips.data.naming import NamedPhotos, Place, place_of
from dips.data.photo_files import (
    SKIPPED_FOLDERS,
    VIDEOS,
    Others,
    ResultFolders,
    Walk,
    expand,
    group_of,
    named_suffix,
)
from dips.data.problems import reasons
from dips.data.signatures import KINDS
from dips.errors import DataError, ImageError, RunError
from dips.shards.plan import Item
from dips.shards.stores import each_name, fetch, has_file, matching, open_store, read_url
from dips.system.console import counted, log
from dips.system.names import scheme_of
from dips.types import Problem, Severity

__all__ = ["Fetcher", "Source", "key_of", "read_source"]

_GIVE = "give photos, folders of photos, or lists of them"
_MOST_FAILURES = 20  # consecutive failed fetches, after which the photos are not to blame


@dataclass(frozen=True)
class Source:
    """Photos with their names.

    Attributes:
        folder: the name of the folder that the photos' names are relative to; empty if there is none.
        count: number of photos.
        photos: the photos, sorted by name; can be iterated over repeatedly.
        problems: what else was found and left out.
    """

    folder: str
    count: int
    photos: Iterable[Item] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def each(self) -> Iterator[Item]:
        """Yield the photos."""
        yield from self.photos

    def spread(self, limit: int) -> list[Item]:
        """Return at most ``limit`` photos, evenly spread over all."""
        count = min(self.count, limit)
        wanted = {index * self.count // count for index in range(count)}
        return [item for index, item in enumerate(self.each()) if index in wanted]


def key_of(photos: Sequence[str | Path]) -> list[str]:
    """Return what identifies the photos that a user specified, without searching for any: absolute paths and URLs."""
    return [place if scheme_of(place) else os.path.abspath(place) for place in map(str, photos)]


def read_source(photos: Sequence[str | Path], *, leave_out: str | Path) -> Source:
    """Find photos, and name each by its path below the deepest folder that holds all of them.

    Args:
        photos: photos, folders that are searched with all their subfolders, and lists (``.txt``, ``.csv``, ``.parquet``), as
            paths or URLs; wildcards are expanded.
        leave_out: a folder, or URL, whose photos are ignored, as it holds the results.

    Raises:
        DataError: something that was named does not exist, or there is no photo.
        RunError: a store cannot be read.
    """
    found = _Finder(place_of(str(leave_out)))
    given = [str(photo) for photo in photos]
    given = [placed(place, "") if scheme_of(place) == "file" else place for place in given]
    for place in given:
        if scheme_of(place):
            found.add_url(place)
            continue
        for path in expand([Path(place)]):
            if not is_list(path.name) or is_list(place):  # a pattern for photos does not mean the lists beside them
                found.add_path(path)
    return found.source(given)


class _Finder:
    """Collects photos, and what is left out."""

    def __init__(self, leave_out: Place) -> None:
        self._leave_out = leave_out
        self._photos = NamedPhotos()
        self._problems: list[Problem] = []
        self._results: list[str] = []  # folders below URLs with results of dips, each with a trailing slash

    def source(self, given: Sequence[str]) -> Source:
        """Return the photos that were added."""
        photos, results = self._photos, tuple(self._results)
        photos.finish((lambda path: path.startswith(results)) if results else None)
        if not photos.count:
            where, why = ", ".join(given), reasons(self._problems, *map(Path, given))
            raise DataError(f"there are no photos in {where}; these kinds are read: {KINDS}{why}")
        again, first = photos.doubled
        if again:
            message = f"is named more than once, and counts once ({counted(again, 'photo')} in all)"
            self._problems.append(Problem(Path(first), message, Severity.NOTE))
        spelled, name = photos.spelled
        if spelled:
            log(
                f"{spelled} names are not UTF-8 text, such as {name}: so results call them inside, but their files have the "
                "photos' own names"
            )
        return Source(photos.folder, photos.count, photos, tuple(self._problems))

    def add_path(self, path: Path) -> None:
        """Add the photos at a path on this machine."""
        if path.is_dir():
            self._add_folder(path)
        elif not path.exists():
            raise DataError(f"{path} does not exist; {_GIVE}")
        elif is_list(path.name):
            self._add_list(path, str(path))
        else:
            self._add_photo(str(path))

    def add_url(self, url: str) -> None:
        """Add the photos at a URL."""
        is_web = scheme_of(url) in ("http", "https")
        if not is_web and glob.has_magic(url) and not has_file(url):
            found = matching(url)
            if not found:
                raise DataError(f"no file fits {url}; {_GIVE}")
            for each in found:
                parts = each.removeprefix(re.split(r"[*?[]", url)[0]).split("/")
                is_hidden = any(part.startswith(".") or part in SKIPPED_FOLDERS for part in parts)
                if not is_hidden and (is_list(url) or group_of(parts[-1]) != "foreign"):
                    self._add_found(each)
        elif is_web and url.endswith("/"):
            raise DataError(
                f"{url}: a web server does not say what lies there; give a list of photos, .txt with a URL per line"
            )
        else:
            self._add_found(url)

    def _add_found(self, url: str) -> None:
        is_web = scheme_of(url) in ("http", "https")
        name = url.partition("?")[0] if is_web else url
        if is_list(name):
            with tempfile.TemporaryDirectory(prefix="dips-") as folder:
                file = Path(folder) / f"list{PurePosixPath(name).suffix}"
                try:
                    fetch(url, file)
                except FileNotFoundError as error:
                    raise DataError(f"{url} does not exist; {_GIVE}") from error
                self._add_list(file, name)
        elif is_web or group_of(name) in ("photo", "video") or has_file(url):
            self._add_photo(url)
        else:
            self._add_store(url.rstrip("/"))

    def _add_photo(self, uri: str) -> None:
        if PurePosixPath(uri).suffix.lower() in VIDEOS:
            raise DataError(f"{uri} is a video; 'dips stream' finds the boxes of its frames")
        place = place_of(uri)
        self._photos.add_folder(place.parent)
        if not self._is_result(place):
            self._photos.add(uri, place)

    def _add_list(self, file: Path, place: str) -> None:
        for uri in read_list(file, place):
            self._photos.add(uri)

    def _add_folder(self, folder: Path) -> None:
        top, walk, count = place_of(str(folder)), Walk(folder), 0
        self._photos.add_folder(top)
        begin = "" if folder == Path() else os.path.join(folder, "")
        for parts in walk.photos():
            count += 1
            name = "/".join(parts)
            place = Place(top.top, f"{top.path}/{name}" if top.path else name)
            if not self._is_result(place):
                self._photos.add(begin + os.path.join(*parts), place)
        told = walk.told(has_photos=count > 0)
        self._problems += (problem for problem in told if place_of(str(problem.path)) != self._leave_out)

    def _add_store(self, url: str) -> None:
        """Add the photos below a URL, judging by their names alone: none of them is opened."""
        self._photos.add_folder(place_of(url))
        others, results = Others(), ResultFolders()
        seen = count = 0
        for name in each_name(url):
            seen += 1
            parts = name.split("/")
            results.add(parts)
            if any(part.startswith(".") or part in SKIPPED_FOLDERS for part in parts):
                continue
            group = group_of(parts[-1])
            if group == "photo":
                uri = f"{url}/{name}"
                if not self._is_result(place := place_of(uri)):
                    count += 1
                    self._photos.add(uri, place)
            elif group != "foreign":
                suffix = PurePosixPath(name).suffix.lower()
                others.add(parts[:-1], parts[-1], suffix if group else named_suffix(suffix), group or "other")
        if not seen:
            raise DataError(f"there is nothing at {url}; {_GIVE}")
        for folder in results:
            place = place_of(f"{url}/{folder}")
            self._results.append(f"{place.path}/")
            if place != self._leave_out:
                message = "holds results of dips, no photos; it is left out"
                self._problems.append(Problem(Path(f"{url}/{folder}"), message, Severity.NOTE))
        self._problems += others.problems(Path(url), has_photos=count > 0)

    def _is_result(self, place: Place) -> bool:
        return place.top == self._leave_out.top and place.path.startswith(f"{self._leave_out.path}/")


class Fetcher:
    """Reads the bytes of photos, on disks and behind URLs.

    A single failure is blamed on the photo, many in a row on the network.

    Several threads may call it.

    Args:
        keep: number of bytes of the latest photos to keep, as each may be needed again soon.
    """

    def __init__(self, keep: int = 0) -> None:
        self._failures, self._keep, self._size = 0, keep, 0
        self._kept: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __call__(self, uri: str) -> bytes:
        """Return the bytes of a photo.

        Raises:
            ImageError: it is missing, or cannot be read.
            RunError: it is one of many in a row, or a package is missing.
        """
        if not scheme_of(uri):
            return read_bytes(uri)
        if (known := self._kept.get(uri)) is not None:
            return known
        open_store(uri)  # a missing package is not the photo's fault
        try:
            data = read_url(uri)
        except FileNotFoundError as error:
            raise ImageError(f"{uri} does not exist; mend the list, or the address") from error
        except RunError as error:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise RunError(f"{self._failures} photos in a row could not be read, the last one: {error}") from error
            raise ImageError(str(error)) from error
        self._failures = 0
        if self._keep:
            self._note(uri, data)
        return data

    def _note(self, uri: str, data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._kept.pop(uri, b""))
            self._kept[uri] = data
            while self._size > self._keep:
                self._size -= len(self._kept.pop(next(iter(self._kept))))
