"""Annotation files beside photos, COCO json and CSV -> :class:`~dips.data.listing.Listing`.

A COCO image without annotation is known to show nothing: its boxes are ``(0, 4)``. Crowd regions (``iscrowd``) are left out.
A CSV has the columns path, label and, where boxes are known, x0, y0, x1, y1 (one line per box, end exclusive); a header is
optional, and a column ``split`` chooses rows. Paths are relative to the file.
"""

from __future__ import annotations

import csv
import json
import math
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dips.data.listing import BACKGROUND_NAMES, Entry, Listing, boxes_array, some, split_name
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.types import Problem

__all__ = ["CocoImage", "add_coco", "csv_splits", "find_coco", "is_coco", "read_coco", "read_csv"]

_CSV_NAMES = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "photo", "id"),
    "label": ("label", "class", "category", "name"),
    "split": ("split", "set", "subset"),
    "x0": ("x0", "xmin", "x_min"),
    "y0": ("y0", "ymin", "y_min"),
    "x1": ("x1", "xmax", "x_max"),
    "y1": ("y1", "ymax", "y_max"),
}
_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(slots=True)
class CocoImage:
    """One image of a COCO file: ``boxes`` by category name, ``x0 y0 x1 y1``."""

    name: str
    frame: tuple[int, int] | None
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)


def find_coco(folder: Path) -> Path | None:
    """The COCO file of the photos in ``folder`` (absolute): ``<folder>.coco.json`` beside it or its parent, or inside it."""
    places = [folder.parent / f"{folder.name}.coco.json", folder.parent.parent / f"{folder.parent.name}.coco.json"]
    places += [folder / "_annotations.coco.json", folder / "annotations.json"]
    found = next((place for place in places if is_coco(place)), None)
    if found is None:
        inside = sorted(folder.glob("*.coco.json"))
        found = inside[0] if len(inside) == 1 else None
    return found


def is_coco(path: Path) -> bool:
    """Whether ``path`` is a file that a COCO reader should open; ``annotations.json`` must look like one."""
    if not path.is_file() or path.name.endswith(".coco.json"):
        return path.is_file()
    with path.open("rb") as file:
        return b'"images"' in file.read(1 << 20)


def add_coco(listing: Listing, path: Path, *, listed_only: bool = False) -> None:
    """Give the photos of a folder-per-class listing the boxes of a COCO file, in place.

    The class stays the folder's. Where one of the file's categories has its name, only boxes of that category are taken.
    With ``listed_only``, photos that the file does not list are left out.
    """
    images, categories = _parse_coco(path)
    files = {entry.path: entry for entry in listing.entries}
    found, missing = _locate(images, path, listing.root, files)
    for image, file in found:
        if file not in files:
            continue
        entry = files[file]
        boxes = image.boxes
        if entry.name in categories:
            boxes = {name: given for name, given in boxes.items() if name == entry.name}
        _set_boxes(entry, [box for given in boxes.values() for box in given], image.frame, listing.problems)
        if (
            entry.name is not None
            and entry.name.casefold() in BACKGROUND_NAMES
            and entry.boxes is not None
            and len(entry.boxes)
        ):
            listing.problems.append(Problem(entry.path, f"has boxes in {path.name} but lies in the folder '{entry.name}'"))
    _report_missing(listing, path, missing)
    if listed_only:
        listed = {file for _, file in found}
        listing.entries = [entry for entry in listing.entries if entry.path in listed]
    listing.layout, listing.has_boxes = "coco", True


def read_coco(path: Path, folder: Path, *, split: str = "all", listed_only: bool = True) -> Listing:
    """Photos that are not sorted into folders; the class is the category with the largest area of boxes.

    Photos without any annotation are of the class ``none`` (or a category called so or ``background``), which is made
    up where it is needed. Photos in ``folder`` that are not listed have no class; with ``listed_only`` they are left out.
    """
    images, categories = _parse_coco(path)
    photos = list_images(folder)
    found, missing = _locate(images, path, folder, dict.fromkeys(photos))
    background = next((name for name in categories if name.casefold() in BACKGROUND_NAMES), "none")
    listing = Listing(root=folder, layout="coco", entries=[], classes=[], split=split, has_boxes=True)
    for image, file in found:
        if folder != path.parent and not file.is_relative_to(folder):
            continue
        entry = Entry(path=file, id=_id(file, folder))
        sums = {name: sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) for name, boxes in image.boxes.items()}
        entry.name = max(sorted(sums), key=lambda name: sums[name]) if sums else background
        _set_boxes(entry, image.boxes.get(entry.name, []), image.frame, listing.problems)
        listing.entries.append(entry)
    listing.classes = sorted({entry.name for entry in listing.entries if entry.name is not None})
    listed = {entry.path for entry in listing.entries}
    if not listed_only and (others := [file for file in photos if file not in listed]):
        listing.entries += [Entry(path=file, id=_id(file, folder)) for file in others]
        message = f"{len(others)} photos are not listed in {path.name} and have no class: "
        listing.problems.append(Problem(folder, message + some((file.name for file in others), 3)))
    _report_missing(listing, path, missing)
    return listing


def _id(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _parse_coco(path: Path) -> tuple[list[CocoImage], list[str]]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}); export it again or move it away") from error
    try:
        categories = {category["id"]: str(category["name"]) for category in tree["categories"]}
        images: dict[Any, CocoImage] = {}
        for image in tree["images"]:
            size = (int(image.get("width") or 0), int(image.get("height") or 0))
            if image["id"] in images:
                raise DataError(f"{path} has two images with the id {image['id']}; give each its own")
            images[image["id"]] = CocoImage(str(image["file_name"]), size if min(size) > 0 else None)
        for annotation in tree.get("annotations", []):
            if annotation.get("iscrowd"):
                continue
            x, y, width, height = (float(value) for value in annotation["bbox"])
            if not all(map(math.isfinite, (x, y, width, height))):
                raise ValueError(f"the box {annotation['bbox']} of image {annotation['image_id']} is not finite")
            boxes = images[annotation["image_id"]].boxes
            boxes.setdefault(categories[annotation["category_id"]], []).append((x, y, x + width, y + height))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not COCO as expected ({what}); it needs images, annotations with bbox, and categories"
        ) from error
    return list(images.values()), list(dict.fromkeys(categories.values()))


def _locate(
    images: Iterable[CocoImage], path: Path, folder: Path, photos: dict[Path, Any]
) -> tuple[list[tuple[CocoImage, Path]], list[str]]:
    """Files of images: relative to the json, to the folder, or a name that is the only one of its kind there."""
    by_name: dict[str, list[Path]] = {}
    for photo in photos:
        by_name.setdefault(photo.name, []).append(photo)
    found: dict[Path, CocoImage] = {}
    missing = []
    for image in images:
        name = image.name.replace("\\", "/")
        places = [Path(os.path.normpath(base / name)) for base in (path.parent, folder)]
        file = next((place for place in places if place in photos or place.is_file()), None)
        if file is None and len(same := by_name.get(name.rsplit("/", 1)[-1], [])) == 1:
            file = same[0]
        if file is None:
            missing.append(image.name)
        elif file in found:
            raise DataError(f"{path} lists {file} twice ('{found[file].name}' and '{image.name}'); merge the two images")
        else:
            found[file] = image
    return [(image, file) for file, image in found.items()], missing


def _report_missing(listing: Listing, path: Path, missing: list[str]) -> None:
    if missing:
        message = f"{len(missing)} photos that are listed do not exist: {some(missing, 3)}"
        listing.problems.append(Problem(path, message))


def _set_boxes(
    entry: Entry, boxes: Sequence[tuple[float, ...]], frame: tuple[int, int] | None, problems: list[Problem]
) -> None:
    good = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    if len(good) < len(boxes):
        problems.append(
            Problem(entry.path, f"{len(boxes) - len(good)} of its {len(boxes)} boxes have no area and are left out")
        )
    entry.boxes, entry.frame = boxes_array(good), frame


def csv_splits(path: Path) -> list[str]:
    """The values of the column ``split``, in order of appearance; empty without such a column."""
    columns, rows = _csv_rows(path)
    return list(dict.fromkeys(split_name(row[columns["split"]]) for _, row in rows)) if "split" in columns else []


def read_csv(path: Path, split: str | None = None) -> Listing:
    """The photos of a CSV; with a column ``split``, only those of ``split``.

    Boxes are known for photos with at least one box; an empty label means that the class is unknown.

    Raises:
        DataError: a line is malformed (named), or gives a photo another label than a line before.
    """
    columns, rows = _csv_rows(path)
    entries: dict[str, Entry] = {}
    boxes: dict[str, list[tuple[float, ...]]] = {}
    missing = []
    for number, row in rows:
        where = f"{path}, line {number}"
        if "split" in columns and split is not None and split_name(row[columns["split"]]) != split:
            continue
        id = posixpath.normpath(row[columns["path"]].replace("\\", "/"))
        label = row[columns["label"]] or None
        file = Path(os.path.normpath(path.parent / id))
        if id not in entries:
            if not file.is_file():
                missing.append(id)
                continue
            entries[id] = Entry(path=file, id=id, name=label)
        elif entries[id].name != label:
            raise DataError(f"{where}: {id} is '{label}' here and '{entries[id].name}' before; a photo has one class")
        elif "x0" not in columns:
            raise DataError(f"{where}: {id} is listed twice; remove one of the two lines")
        if "x0" in columns:
            corners = [row[columns[corner]] for corner in _CORNERS]
            if any(corners):
                boxes.setdefault(id, []).append(_corners(corners, where))
    listing = Listing(
        root=path.parent,
        layout="csv",
        entries=list(entries.values()),
        classes=sorted({entry.name for entry in entries.values() if entry.name is not None}),
        split=split or "all",
        has_boxes="x0" in columns,
    )
    for id, given in boxes.items():
        _set_boxes(entries[id], given, None, listing.problems)
    _report_missing(listing, path, list(dict.fromkeys(missing)))
    return listing


def _corners(fields: list[str], where: str) -> tuple[float, ...]:
    try:
        box = tuple(float(field) for field in fields)
    except ValueError:
        box = (math.nan,)
    if not all(map(math.isfinite, box)):
        raise DataError(f"{where}: x0, y0, x1, y1 are '{','.join(fields)}'; write four numbers, or leave all four empty")
    return box


def _csv_rows(path: Path) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Where each column is, and the rows with their line numbers."""
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
    head = [name.lower() for name in rows[0][1]]
    columns = {name: head.index(alias) for name, known in _CSV_NAMES.items() for alias in known[::-1] if alias in head}
    if "path" in columns and "label" in columns:
        rows = rows[1:]
    else:
        columns = {"path": 0, "label": 1, **(dict(zip(_CORNERS, range(2, 6), strict=True)) if len(head) >= 6 else {})}
    if 0 < sum(corner in columns for corner in _CORNERS) < 4:
        raise DataError(f"{path} has only some of the columns x0, y0, x1, y1; give all four or none")
    need = max(columns.values()) + 1
    for number, row in rows:
        if len(row) < need:
            raise DataError(f"{path}, line {number}: expected {need} columns, found {len(row)}; write path,label")
    return columns, rows
