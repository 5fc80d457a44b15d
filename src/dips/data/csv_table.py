"""CSV of photos -> :class:`~dips.data.listing.Listing`.

Each line is a photo with its class or classes (``tower|crane``), or one of its boxes (end exclusive). What the columns mean
is determined in :mod:`dips.data.csv_columns`. Paths are relative to the file, or to the photos' folder beside it.
"""

from __future__ import annotations

import math
import posixpath
from pathlib import Path

from dips.data.csv_columns import CORNERS, Table, read_table
from dips.data.labels import is_background
from dips.data.listing import Entry, Listing, split_name
from dips.data.locate import locate, photo_id, photos_of
from dips.data.objects import Box, Described
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import Problem

__all__ = ["csv_splits", "read_csv"]


def csv_splits(path: Path) -> list[str]:
    """Return the values of the column ``split`` in order of appearance; empty if there is no such column.

    Raises:
        DataError: as for :func:`read_csv`.
    """
    table = read_table(path)
    column = table.columns.get("split")
    return [] if column is None else list(dict.fromkeys(split_name(row[column]) for _, row in table.rows))


def read_csv(path: Path, split: str, *, label_column: str = "") -> Listing:
    """Read the photos of a CSV; only those of ``split`` if there is a column ``split``.

    Boxes are known for photos with at least one box, and for those that show nothing: their box is 0,0,0,0, or it is empty in
    a file whose class comes after the box, as detectors write it. Any other empty box means unknown boxes, and an empty label
    an unknown class.

    Args:
        path: the file.
        split: name of the split.
        label_column: name of the column of classes; empty to find it.

    Raises:
        DataError: the file cannot be read, a line is malformed, it is unclear which column holds the classes, two lines of a
            file without boxes are about one photo, or a box has several labels; names the line.
    """
    table = read_table(path)
    photos, problems = _read_photos(table, split, label_column)
    names = [name for photo in photos for name in (*photo.named, *photo.objects.class_names())]
    background = next(filter(is_background, names), "none")
    for photo in photos:
        photo.settle(background)
    listing = Listing(photos_of(path), "csv", [photo.entry for photo in photos], [], split, has_boxes="x0" in table.columns)
    listing.classes = sorted({name for entry in listing.entries for name in entry.class_names})
    listing.problems += [*_odd_photos(path, photos), *problems]
    return listing


def _read_photos(table: Table, split: str, label_column: str) -> tuple[list[Described], list[Problem]]:
    """Return the photos of a split that exist, in order of appearance, and what is wrong with the others."""
    path, columns, root = table.path, table.columns, photos_of(table.path)
    labels = table.labels(label_column)
    rows = [row for row in table.rows if "split" not in columns or split_name(row[1][columns["split"]]) == split]
    named = [(number, fields[columns["path"]], fields) for number, fields in rows if fields[columns["path"]]]
    located = locate((name for _, name, _ in named), (path.parent, root), lambda: list_images(root))
    problems = located.problems(path, root)
    if len(named) < len(rows):
        problems.append(
            Problem(path, f"{counted(len(rows) - len(named), 'line', 'names')} no photo, left out; complete or remove them")
        )
    photos: dict[Path, Described] = {}
    unmarked = []
    for number, name, fields in named:
        if (file := located.files.get(name)) is None:
            continue
        own = labels.of(fields)
        known = photos.get(file)
        photo = photos[file] = known or Described(Entry(file, _id(name, file, root)))
        if "x0" in columns:
            _add_box(photo, own, [fields[columns[corner]] for corner in CORNERS], table, number, labels.index > columns["x0"])
            continue
        if known and not known.named.keys() >= set(own):
            here, before = "|".join(own), "|".join(known.named)
            both = "mark both" if labels.one_hot else f"write '{'|'.join(dict.fromkeys((*known.named, *own)))}'"
            raise DataError(
                f"{path}, line {number}: {photo.entry.id} is '{here}' here and '{before}' before; keep the right line, or, if "
                f"it shows both, {both} in a single one"
            )
        if known:
            raise DataError(f"{path}, line {number}: {photo.entry.id} is listed twice; remove one of the two lines")
        photo.named |= dict.fromkeys(own)
        if not own and labels.one_hot:
            unmarked.append(f"{photo.entry.id} (line {number})")
    if unmarked:
        message = (
            f"{counted(len(unmarked), 'photo', 'has')} no 1, so that the class is unknown: {some(unmarked, 3)}; mark one, or "
            "several"
        )
        problems.append(Problem(path, message))
    return list(photos.values()), problems


def _id(name: str, file: Path, root: Path) -> str:
    inside = file.is_relative_to(root)
    return photo_id(file, root) if inside else posixpath.normpath(name.replace("\\", "/"))


def _add_box(photo: Described, names: tuple[str, ...], corners: list[str], table: Table, number: int, label_last: bool) -> None:
    """Add what one line says about a photo, in a file that has boxes."""
    if not any(corners):
        if label_last:
            photo.empty = True
        else:
            photo.named |= dict.fromkeys(names)
        return
    try:
        x0, y0, x1, y1 = map(float, corners)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    box: Box = (x0, y0, x1, y1)
    if not all(map(math.isfinite, box)):
        raise DataError(
            f"{table.path}, line {number}: x0, y0, x1, y1 are '{','.join(corners)}'; write four numbers, or leave all four "
            "empty"
        )
    if any(box) and len(names) > 1:
        raise DataError(
            f"{table.path}, line {number}: a box of {photo.entry.id} is of {len(names)} classes, '{'|'.join(names)}'; write a "
            "line for each object (a name that holds '|' is written with '\\|')"
        )
    if any(box):
        photo.objects.add(names[0] if names else None, box)
    else:
        photo.empty = True


def _odd_photos(path: Path, photos: list[Described]) -> list[Problem]:
    """Return contradictions between the lines about one photo, and what could not be used."""
    problems = []
    for photo in photos:
        objects, id = photo.objects, photo.entry.id
        if (unnamed := objects.boxes.get(None)) and objects.class_names():
            what = f"{id} has {counted(len(unnamed), 'box')} without a class beside others, left out"
            problems.append(Problem(path, f"{what}; write the class, or remove the {'line' if len(unnamed) == 1 else 'lines'}"))
        if objects.lost:
            rest = "" if objects.boxes else ", so that its boxes are unknown"
            problems.append(Problem(path, f"{id} has boxes without area, which are left out{rest}; correct them"))
        if photo.empty and (objects.boxes or objects.lost or photo.named):
            problems.append(
                Problem(path, f"{id} has a line that says it shows nothing, which is left out, beside others; remove it")
            )
    return problems
