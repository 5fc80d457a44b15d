"""CSV of photos -> :class:`~dips.data.listing.Listing`.

The columns are path, label and, if boxes are known, x0, y0, x1, y1 (one line per box, end exclusive). A header is optional,
and a column ``split`` selects rows. Paths are relative to the file.
"""

from __future__ import annotations

import csv
import math
import os
import posixpath
from pathlib import Path

from dips.data.listing import Entry, Listing, missing_photos, split_name
from dips.errors import DataError

__all__ = ["csv_splits", "read_csv"]

_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "photo", "id"),
    "label": ("label", "class", "category", "name"),
    "split": ("split", "set", "subset"),
    "x0": ("x0", "xmin", "x_min"),
    "y0": ("y0", "ymin", "y_min"),
    "x1": ("x1", "xmax", "x_max"),
    "y1": ("y1", "ymax", "y_max"),
}
_CORNERS = ("x0", "y0", "x1", "y1")


def csv_splits(path: Path) -> list[str]:
    """Return the values of the column ``split`` in order of appearance; none without such a column.

    Raises:
        DataError: as for :func:`read_csv`.
    """
    columns, rows = _read_rows(path)
    return list(dict.fromkeys(split_name(row[columns["split"]]) for _, row in rows)) if "split" in columns else []


def read_csv(path: Path, split: str) -> Listing:
    """Read the photos of a CSV; only those of ``split`` if there is a column ``split``.

    Boxes are known for photos with at least one box. An empty label means that the class is unknown.

    Raises:
        DataError: the file cannot be read, a line is malformed, or two lines give a photo different labels; names the line.
    """
    columns, rows = _read_rows(path)
    entries: dict[str, Entry] = {}
    boxes: dict[str, list[tuple[float, ...]]] = {}
    missing: dict[str, None] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        if "split" in columns and split_name(row[columns["split"]]) != split:
            continue
        id = posixpath.normpath(row[columns["path"]].replace("\\", "/"))
        label = row[columns["label"]] or None
        file = Path(os.path.normpath(path.parent / id))
        if id not in entries:
            if not os.path.isfile(file):
                missing[id] = None
                continue
            entries[id] = Entry(file, id, label)
        elif entries[id].class_name != label:
            raise DataError(f"{where}: {id} is '{label}' here and '{entries[id].class_name}' before; a photo has one class")
        elif "x0" not in columns:
            raise DataError(f"{where}: {id} is listed twice; remove one of the two lines")
        if "x0" in columns and any(corners := [row[columns[corner]] for corner in _CORNERS]):
            boxes.setdefault(id, []).append(_parse_corners(corners, where))
    classes = sorted({entry.class_name for entry in entries.values() if entry.class_name is not None})
    listing = Listing(path.parent, "csv", list(entries.values()), classes, split, has_boxes="x0" in columns)
    for id, corners_of_photo in boxes.items():
        listing.set_boxes(entries[id], corners_of_photo, None)
    listing.problems += missing_photos(path, path.parent, list(missing))
    return listing


def _parse_corners(fields: list[str], where: str) -> tuple[float, ...]:
    try:
        box = tuple(map(float, fields))
    except ValueError:
        box = (math.nan,)
    if not all(map(math.isfinite, box)):
        raise DataError(f"{where}: x0, y0, x1, y1 are '{','.join(fields)}'; write four numbers, or leave all four empty")
    return box


def _read_rows(path: Path) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Return the index of each column, and the rows with their line numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); save it as UTF-8") from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; save it as CSV again") from error
    if not rows:
        raise DataError(f"{path} is empty; it needs lines of path,label")
    header = [name.lower() for name in rows[0][1]]
    columns = {name: header.index(alias) for name, aliases in _COLUMNS.items() for alias in aliases[::-1] if alias in header}
    if "path" in columns and "label" in columns:
        rows = rows[1:]
    else:
        columns = {"path": 0, "label": 1, **(dict(zip(_CORNERS, range(2, 6), strict=True)) if len(header) >= 6 else {})}
    if 0 < sum(corner in columns for corner in _CORNERS) < 4:
        raise DataError(f"{path} has only some of the columns x0, y0, x1, y1; give all four or none")
    width = max(columns.values()) + 1
    for number, row in rows:
        if len(row) < width:
            raise DataError(f"{path}, line {number}: expected {width} columns, found {len(row)}; write path,label")
    return columns, rows
