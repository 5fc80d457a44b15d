"""CSV of photos -> :class:`~dips.data.listing.Listing`.

A line is a photo with its class, or one of its boxes (end exclusive). What the columns mean is found in
:mod:`dips.data.csv_columns`. Paths are relative to the file, or to the photos' folder beside it.
"""

from __future__ import annotations

import math
import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from dips.data.csv_columns import CORNERS, Table, read_table
from dips.data.listing import Entry, Listing, boxes_array, is_background, some, split_name
from dips.data.locate import locate, photo_id, photos_of
from dips.data.objects import Box, Objects, several_classes
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.system.console import counted
from dips.types import Problem

__all__ = ["csv_splits", "read_csv"]


@dataclass(slots=True)
class _Photo:
    """What the lines about one photo say: its objects, classes that come without a box, and whether it shows nothing."""

    entry: Entry
    objects: Objects = field(default_factory=Objects)
    named: dict[str, None] = field(default_factory=dict)
    empty: bool = False


def csv_splits(path: Path) -> list[str]:
    """Return the values of the column ``split`` in order of appearance; none without such a column.

    Raises:
        DataError: as for :func:`read_csv`.
    """
    table = read_table(path)
    column = table.columns.get("split")
    return [] if column is None else list(dict.fromkeys(split_name(row[column]) for _, row in table.rows))


def read_csv(path: Path, split: str, *, label_column: str = "") -> Listing:
    """Read the photos of a CSV; only those of ``split`` if there is a column ``split``.

    Boxes are known for photos with at least one box, and for those that show nothing: their box is 0,0,0,0, or it is empty in
    a file whose class comes after the box, as detectors write it. Otherwise an empty box is unknown, and so is the class where
    the label is empty.

    Args:
        path: the file.
        split: its name.
        label_column: name of the column of classes; empty to find it.

    Raises:
        DataError: the file cannot be read, a line is malformed, it is unclear which column holds the classes, or two lines
            without boxes give a photo different labels; names the line.
    """
    table = read_table(path)
    photos, problems = _read_photos(table, split, label_column)
    names = [name for photo in photos for name in (*photo.named, *photo.objects.classes)]
    background = next(filter(is_background, names), "none")
    for photo in photos:
        _settle(photo, background)
    listing = Listing(photos_of(path), "csv", [photo.entry for photo in photos], [], split, has_boxes="x0" in table.columns)
    listing.classes = sorted({entry.class_name for entry in listing.entries if entry.class_name is not None})
    mixed = ((photo.entry.id, photo.entry.class_name, photo.objects) for photo in photos)
    listing.problems += [*several_classes(path, mixed), *_odd_photos(path, photos), *problems]
    return listing


def _read_photos(table: Table, split: str, label_column: str) -> tuple[list[_Photo], list[Problem]]:
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
    photos: dict[Path, _Photo] = {}
    unmarked = []
    for number, name, fields in named:
        if (file := located.files.get(name)) is None:
            continue
        label = labels.of(fields)
        known = photos.get(file)
        photo = photos[file] = known or _Photo(Entry(file, _id(name, file, root)))
        if "x0" in columns:
            _add_box(photo, label, [fields[columns[corner]] for corner in CORNERS], table, number, labels.index > columns["x0"])
            continue
        if known and label is not None and label not in known.named:
            before = next(iter(known.named), "")
            raise DataError(
                f"{path}, line {number}: {photo.entry.id} is '{label}' here and '{before}' before; a photo has one class"
            )
        if known:
            raise DataError(f"{path}, line {number}: {photo.entry.id} is listed twice; remove one of the two lines")
        if label is not None:
            photo.named[label] = None
        elif labels.one_hot:
            unmarked.append(f"{photo.entry.id} (line {number})")
    if unmarked:
        message = (
            f"{counted(len(unmarked), 'photo', 'has')} no 1 or several, so that the class is unknown: "
            f"{some(unmarked, 3)}; mark one"
        )
        problems.append(Problem(path, message))
    return list(photos.values()), problems


def _id(name: str, file: Path, root: Path) -> str:
    inside = file.is_relative_to(root)
    return photo_id(file, root) if inside else posixpath.normpath(name.replace("\\", "/"))


def _add_box(photo: _Photo, label: str | None, corners: list[str], table: Table, number: int, label_last: bool) -> None:
    """Add what one line says about a photo, in a file that has boxes."""
    if not any(corners):
        if label_last:
            photo.empty = True
        elif label is not None:
            photo.named[label] = None
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
    if any(box):
        photo.objects.add(label, box)
    else:
        photo.empty = True


def _settle(photo: _Photo, background: str) -> None:
    """Give a photo its class and its boxes; a box counts more than a line without one."""
    objects, entry = photo.objects, photo.entry
    if objects.boxes or objects.lost:
        entry.class_name = objects.main_class(None)
        entry.set_boxes(objects.boxes_of([entry.class_name]), None)
    elif photo.named:
        entry.class_name = next(iter(photo.named)) if len(photo.named) == 1 else None
    elif photo.empty:
        entry.class_name = background
        entry.set_boxes(boxes_array(()), None)


def _odd_photos(path: Path, photos: list[_Photo]) -> list[Problem]:
    """Return what contradicts itself in the lines about one photo, or could not be used."""
    problems = []
    for photo in photos:
        objects, id = photo.objects, photo.entry.id
        if objects.lost:
            rest = "" if objects.boxes else ", so that its boxes are unknown"
            problems.append(Problem(path, f"{id} has boxes without area, which are left out{rest}; correct them"))
        if photo.empty and (objects.boxes or objects.lost or photo.named):
            problems.append(
                Problem(path, f"{id} has a line that says it shows nothing, which is left out, beside others; remove it")
            )
        if len(photo.named) > 1 and not objects.boxes and not objects.lost:
            message = f"{id} has several classes ({some(photo.named)}) and no box to choose by, so that its class is unknown"
            problems.append(Problem(path, f"{message}; keep one"))
    return problems
