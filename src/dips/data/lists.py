"""Lists of photos (text, CSV and Parquet) -> the location of each photo. No list is loaded as a whole.

A text file has one path or URL per line; blank lines and those that begin with ``#`` are ignored. In the other two formats, a
column holds the locations. Relative paths start at the folder of the list, whether on a disk or behind a URL.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

from dips.data.csv_columns import PATHS, each_path
from dips.data.photo_files import SUFFIXES, group_of
from dips.errors import DataError
from dips.system.names import file_url_path, is_remote, scheme_of, some

__all__ = ["LISTS", "placed", "read_list"]

LISTS = frozenset({".txt", ".csv", ".tsv", ".parquet", ".pq"})
"""Suffixes of lists, in lower case."""

_PROBED = 50  # lines
_ROWS = 10_000  # of Parquet, at a time
_BUFFER = 1 << 20  # bytes of Parquet; without a limit, row groups are read as a whole


def read_list(file: Path, place: str) -> Iterator[str]:
    """Yield the locations of the photos of a list: URLs, and paths relative to the current folder.

    Args:
        file: the list on this machine.
        place: what the user gave, a path or a URL; relative entries start at its folder.

    Raises:
        DataError: it cannot be read, or a line is no path; names the line.
        ModuleNotFoundError: Parquet is not installed.
    """
    suffix = file.suffix.lower()
    folder = place.rpartition("/")[0] if scheme_of(place) else str(Path(place).parent)
    if suffix in (".parquet", ".pq"):
        entries = _parquet(file, place)
    else:
        entries = _probed(_text(file, place), place, folder) if suffix == ".txt" else each_path(file, place)
    for number, entry in entries:
        if "\0" in entry:
            raise DataError(f"{place}, line {number}: this is no path of a photo; give a list of paths or URLs")
        photo = placed(entry, folder)
        if not scheme_of(photo) and is_remote(Path(photo), Path(folder)):
            raise DataError(
                f"{place}, line {number}: {entry} is on another computer, which is not asked because a list says so; give that "
                "folder itself, or copy the photos"
            )
        yield photo


def placed(entry: str, folder: str) -> str:
    """Return the location of an entry of a list.

    Args:
        entry: a path or URL.
        folder: folder of the list, a path or URL.

    >>> placed("a/1.jpg", "lists"), placed("../1.jpg", "s3://bucket/lists"), placed("/p/1.jpg", "https://host/lists")
    ('lists/a/1.jpg', 's3://bucket/1.jpg', 'https://host/p/1.jpg')
    """
    scheme = scheme_of(entry)
    if scheme == "file":
        return file_url_path(entry)
    if scheme:
        return entry
    base = scheme_of(folder)
    if base in ("http", "https"):
        return urljoin(f"{folder}/", entry)
    if base and not os.path.isabs(entry):
        whole = urlsplit(folder)
        return urlunsplit((base, whole.netloc, posixpath.normpath(f"{whole.path}/{entry}"), "", ""))
    path = os.path.normpath(os.path.join("" if base else folder, entry))
    if "\\" in entry and os.sep == "/" and not os.path.exists(path):  # a list that was made on Windows
        return os.path.normpath(os.path.join("" if base else folder, entry.replace("\\", "/")))
    return path


def _text(file: Path, place: str) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:  # a name need not be valid text
            for number, line in enumerate(lines, 1):
                if (line := line.strip()) and not line.startswith("#"):
                    yield number, line
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror or error}); allow it to be read") from error


def _probed(entries: Iterator[tuple[int, str]], place: str, folder: str) -> Iterator[tuple[int, str]]:
    """Reject a text that is no list, such as a note beside photos."""
    first = list(islice(entries, _PROBED))
    if first and not any(
        scheme_of(entry) or group_of(entry) == "photo" or os.path.exists(placed(entry, folder)) for _, entry in first
    ):
        raise DataError(f"{place}: none of its first lines is a URL or the path of a photo; leave it out, or mend the list")
    yield from chain(first, entries)


def _parquet(file: Path, place: str) -> Iterator[tuple[int, str]]:
    from pyarrow import ArrowException, parquet, types

    try:
        with parquet.ParquetFile(file, buffer_size=_BUFFER) as table:
            schema = table.schema_arrow
            texts = {
                field.name.strip().lower(): field.name
                for field in schema
                if types.is_string(field.type) or types.is_large_string(field.type) or types.is_dictionary(field.type)
            }
            column = next((texts[name] for name in PATHS if name in texts), None)
            if column is None:
                raise DataError(
                    f"{place}: no column of texts says where the photos are; the columns are {some(schema.names, 20)}. "
                    "Call one path or uri"
                )
            number = 0
            for rows in table.iter_batches(batch_size=_ROWS, columns=[column]):
                for value in rows.column(0).to_pylist():
                    number += 1
                    if value is not None and (entry := str(value).strip()):
                        yield number, entry
    except (ArrowException, OSError) as error:
        raise DataError(f"{place} cannot be read as Parquet ({error}); write it again") from error


def is_list(name: str) -> bool:
    """Return whether something is a list of photos, judging by its name.

    >>> is_list("photos.TXT"), is_list("s3://bucket/a.parquet"), is_list("photos")
    (True, True, False)
    """
    suffix = posixpath.splitext(name)[1].lower()
    return suffix in LISTS and suffix not in SUFFIXES
