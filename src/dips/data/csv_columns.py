"""A CSV of photos -> its rows, and what each of its columns means.

Columns are recognized by the names that tools give them. If no name is known, the content decides, provided that it can only
mean one thing; otherwise an error asks for the name, because a wrong guess would become the classes.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from dips.data.photo_files import SUFFIXES
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some

__all__ = ["CLASS_COLUMNS", "CORNERS", "PATHS", "Labels", "Row", "Table", "each_path", "read_table", "split_labels"]

Row = tuple[int, list[str]]
"""Line number and fields."""

CORNERS = ("x0", "y0", "x1", "y1")

CLASS_COLUMNS = "_classes.csv"
"""Roboflow's name for a file with one column of 0 and 1 per class; a photo may have several classes."""

PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name", "image_file"),
    *("imagename", "img", "img_path", "img_name", "images", "photo", "photo_path", "photo_name", "uri", "url", "image_uri"),
    *("image_url", "image_id", "id"),
)
"""Names of columns that hold the location of a photo."""

_NAMES: dict[str, tuple[str, ...]] = {
    "path": PATHS,
    "split": ("split", "set", "subset"),
    "x0": ("x0", "xmin", "x_min", "left", "bbox_xmin"),
    "y0": ("y0", "ymin", "y_min", "top", "bbox_ymin"),
    "x1": ("x1", "xmax", "x_max", "right", "bbox_xmax"),
    "y1": ("y1", "ymax", "y_max", "bottom", "bbox_ymax"),
}
_FROM_ONE = {"x0": "x1", "y0": "y1", "x1": "x2", "y1": "y2"}  # names of corners that are numbered from 1
_LABELS = {
    *("label", "labels", "class", "classes", "class_name", "classname", "class_label", "label_name", "category", "categories"),
    *("category_name", "target", "tag", "tags", "species", "breed", "annotation", "annotations"),
}
_NEVER_LABELS = {"width", "height", "depth", "channels", "score", "confidence", "index", "", *_NAMES["path"]}
_PROBED = 50


@dataclass(frozen=True, slots=True)
class Labels:
    """Where to find the classes of a line.

    Attributes:
        of: returns the classes for the fields of a line; empty if they are unknown.
        index: index of the class column, the first one of several.
        one_hot: whether there is one column per class.
    """

    of: Callable[[list[str]], tuple[str, ...]]
    index: int
    one_hot: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The content of a CSV.

    Attributes:
        path: the file.
        header: names of the columns; empty if the file does not give them.
        columns: indices of the columns ``path``, ``split``, ``x0`` ... ``y1`` that exist; without a header also ``label``.
        rows: the lines after the header that are not blank.
    """

    path: Path
    header: list[str]
    columns: dict[str, int]
    rows: list[Row]

    def labels(self, name: str = "") -> Labels:
        """Return where to find the classes of each line.

        Args:
            name: name of the class column; empty to find it. Columns with one 1 per line, and 0 otherwise, are one class each.

        Raises:
            DataError: there is no such column, or several columns, or none, could be the classes.
        """
        if name and not self.header:
            raise DataError(f"{self.path} has no line with the names of its columns, so that none is called '{name}'; add it")
        index = self._named(name) if name else self.columns.get("label", self._found() if self.header else None)
        if index is None:
            return self._one_hot()
        self.require_width(index + 1)
        return Labels(lambda fields: split_labels(fields[index]), index)

    def require_width(self, width: int) -> None:
        """Raise a DataError that names the first line with fewer fields."""
        for number, row in self.rows:
            if len(row) < width:
                raise DataError(
                    f"{self.path}, line {number}: expected {counted(width, 'column')}, found {len(row)}; complete it"
                )

    def _named(self, name: str) -> int:
        names = [_plain(title) for title in self.header]
        if _plain(name) in names:
            return names.index(_plain(name))
        raise DataError(f"{self.path} has no column '{name}' (data.label_column); there are {some(self.header, 20)}")

    def _found(self) -> int | None:
        """Return the index of the column of classes; None if there is one column per class."""
        rest = self._candidates()
        known = [index for index in rest if _plain(self.header[index]) in _LABELS]
        known = known or [index for index in rest if _plain(self.header[index]) == "name"]
        if known:
            if len(different := self._different(known)) == 1:
                return different[0]
            raise self._unclear(f"{some([self.header[index] for index in known])} could all be")
        if len(self._binary(rest)) == len(rest) > 1:
            return None
        if len(rest) == 1:
            return rest[0]
        raise self._unclear("no column is known to be")

    def _candidates(self) -> list[int]:
        """Return the columns that nothing rules out as the class."""
        taken = set(self.columns.values())
        names = [_plain(title) for title in self.header]
        return [
            index
            for index, name in enumerate(names)
            if index not in taken and name not in _NEVER_LABELS and not name.startswith("unnamed:")
        ]

    def _unclear(self, what: str) -> DataError:
        return DataError(
            f"{self.path}: {what} the class of the photos; the columns are {some(self.header, 20)}. Name one with --set "
            "data.label_column=NAME (check and score: --label-column NAME)"
        )

    def _different(self, columns: Sequence[int]) -> list[int]:
        """Leave out columns that are equivalent to another one, such as a number for each name; names remain."""
        words = sorted(columns, key=lambda index: all(_cell(row, index).replace(".", "").isdecimal() for _, row in self.rows))
        kept: list[int] = []
        for index in words:
            for other in kept:
                pairs = {(_cell(row, index), _cell(row, other)) for _, row in self.rows}
                if len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}):
                    break
            else:
                kept.append(index)
        return kept

    def _binary(self, columns: Iterable[int]) -> list[int]:
        return [i for i in columns if self.rows and all(_cell(row, i) in ("0", "1", "0.0", "1.0") for _, row in self.rows)]

    def _one_hot(self) -> Labels:
        """Return the classes of a file with one column for each.

        A photo may have several, but if most lines do, the columns may be anything, unless the file has Roboflow's name for it.
        """
        rest = self._candidates()
        marked = [sum(float(row[index]) for index in rest) for _, row in self.rows]
        if 2 * sum(count == 1 for count in marked) <= len(marked) and self.path.name != CLASS_COLUMNS:
            what = f"most lines have not exactly one 1 (if each column is a class all the same, call the file {CLASS_COLUMNS})"
            raise self._unclear(f"{what}, and no other column is")
        return Labels(lambda fields: tuple(self.header[index] for index in rest if float(fields[index])), rest[0], one_hot=True)


def split_labels(cell: str) -> tuple[str, ...]:
    r"""Return the distinct classes in a cell: ``|`` separates them, and ``\|`` is part of a name.

    >>> split_labels("tower | crane|tower"), split_labels(r"a\|b"), split_labels("")
    (('tower', 'crane'), ('a|b',), ())
    """
    parts = [part.replace("\\|", "|").strip() for part in re.split(r"(?<!\\)\|", cell)]
    return tuple(dict.fromkeys(filter(None, parts)))


def read_table(path: Path) -> Table:
    """Read a CSV of photos: UTF-8, with commas, semicolons or tabs.

    Raises:
        DataError: the file cannot be read, or its columns are not what they should be; names the line.
    """
    rows = _read_rows(path)
    cells = rows[0][1]
    if _is_header(rows, path.parent):
        header = list(cells)
        names = [_plain(name) for name in header]
        columns = {role: names.index(alias) for role, known in _NAMES.items() for alias in known[::-1] if alias in names}
        if "x0" not in columns and all(name in names for name in _FROM_ONE.values()):
            columns |= {corner: names.index(name) for corner, name in _FROM_ONE.items()}
        columns["path"] = _photo_column(rows[1:], names, path, str(path))
        rows = rows[1:]
    else:
        header, columns = [], _unnamed_columns(rows, path)
    if 0 < sum(corner in columns for corner in CORNERS) < 4:
        raise DataError(f"{path} has only some of the columns x0, y0, x1, y1; give all four or none")
    table = Table(path, header, columns, rows)
    table.require_width(max(columns.values()) + 1)
    return table


def each_path(path: Path, place: str) -> Iterator[tuple[int, str]]:
    """Yield the photo locations in a CSV, with their line numbers; only a few lines are in memory at a time.

    Args:
        path: the file on this machine.
        place: its original location, for messages.

    Raises:
        DataError: as for :func:`read_table`.
    """
    rows = _each_row(path, place)
    first = list(islice(rows, _PROBED + 1))
    if not first:
        raise DataError(f"{place} is empty; it needs lines with paths of photos")
    cells = first[0][1]
    if _is_header(first, path.parent):
        column, first = _photo_column(first[1:], [_plain(name) for name in cells], path, place), first[1:]
    else:
        column = next((index for index, cell in enumerate(cells) if _is_photo(cell, path.parent)), 0)
    yield from ((number, cell) for number, row in chain(first, rows) if (cell := _cell(row, column)))


def _read_rows(path: Path) -> list[Row]:
    rows = list(_each_row(path, str(path)))
    if not rows:
        raise DataError(f"{path} is empty; it needs lines of path,label")
    return rows


def _each_row(path: Path, place: str) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _parsed(place, file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} cannot be read ({error}); save it as UTF-8") from error


def _parsed(place: str, file: Iterator[str]) -> Iterator[Row]:
    delimiter, skipped, begun = "", 0, [next(file, "")]
    if marked := re.fullmatch(r' *"?sep=(.)"? *\n?', begun[0]):  # how Excel states it
        delimiter, skipped, begun = marked[1], 1, []
    while not any(map(str.strip, begun)) and (line := next(file, "")):
        begun.append(line)
    first = begun[-1] if begun else ""
    reader = csv.reader(chain(begun, file), delimiter=delimiter or max(",;\t", key=first.count))
    number = skipped + 1
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield number, [field.strip() for field in row]
            number = reader.line_num + skipped + 1  # a field in quotes may span several lines
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.line_num + skipped}: {error}; save it as CSV again") from error


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _cell(row: list[str], index: int) -> str:
    return row[index] if index < len(row) else ""


def _is_photo(field: str, folder: Path) -> bool:
    return os.path.splitext(field)[1].lower() in SUFFIXES or (field != "" and os.path.isfile(folder / field.replace("\\", "/")))


def _is_header(rows: list[Row], folder: Path) -> bool:
    """Return whether the first line is a header: it names no file, but a known column, or a later line names a photo."""
    cells = [cell for cell in rows[0][1] if cell]
    names = {_plain(cell) for cell in cells}
    if any(_is_photo(cell, folder) or re.search(r"\.(?!path$|name$|file$)[a-z][a-z0-9]{2,3}$", cell.lower()) for cell in cells):
        return False
    if not names.isdisjoint(_NAMES["path"]):
        return True
    return any(_is_photo(cell, folder) for _, row in rows[1:_PROBED] for cell in row)


def _photo_column(rows: list[Row], names: list[str], path: Path, place: str) -> int:
    """Return the index of the photo column: one with a known name that holds photos, or else any that holds photos."""
    known = [names.index(alias) for alias in _NAMES["path"] if alias in names]
    for index in known + list(range(len(names))):
        if any(_is_photo(_cell(row, index), path.parent) for _, row in rows[:_PROBED]):
            return index
    if known:
        return known[0]
    raise DataError(f"{place}: no column names photos; the columns are {some(names, 20)}. Call one path")


def _unnamed_columns(rows: list[Row], path: Path) -> dict[str, int]:
    """Return the columns of a file without a header: path,label or path,label,x0,y0,x1,y1, or with the label after the box."""
    width = max(index + 1 for _, row in rows for index, field in enumerate(row) if field)
    width = 6 if width <= 6 and all(len(row) == 6 for _, row in rows) else width
    number, first = rows[0]
    if width == 1 or len(first) < 2:
        raise DataError(f"{path}, line {number}: expected 2 columns, found {len(first)}; write path,label")
    if width == 2:
        return {"path": 0, "label": 1}
    if width != 6:
        raise DataError(
            f"{path} has {counted(width, 'column')} and no line with their names; write path,label or "
            f"path,label,x0,y0,x1,y1, or put a "
            "first line with the names above it"
        )
    own, other = ([_is_box(row[begin : begin + 4]) for _, row in rows if any(row[1:])] for begin in (2, 1))
    begin = 2 if sum(own) >= sum(other) else 1
    return {"path": 0, "label": 1 if begin == 2 else 5, **dict(zip(CORNERS, range(begin, begin + 4), strict=True))}


def _is_box(fields: list[str]) -> bool:
    try:
        x0, y0, x1, y1 = map(float, fields)
    except ValueError:
        return False
    return x1 > x0 and y1 > y0
