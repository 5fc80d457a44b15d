"""Text files that hold one record per line -> their lines and numbers, with errors that name the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dips.errors import DataError

__all__ = ["numbered_lines", "parse_numbers"]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not blank, stripped, with their numbers from 1.

    Raises:
        DataError: the file is missing or not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line := line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); this layout needs it, put it back") from error


def parse_numbers(fields: list[str], count: int, *, where: str, text: str) -> tuple[float, ...]:
    """Return ``fields`` as ``count`` numbers, all within -1e9 and 1e9.

    Raises:
        DataError: they are anything else; the message quotes ``text``, found at ``where``.
    """
    try:
        values = tuple(map(float, fields))
    except ValueError:
        values = ()
    if len(values) != count or not all(-1e9 < value < 1e9 for value in values):
        raise DataError(f"{where}: expected {count} numbers, found '{text}'; correct the line")
    return values
