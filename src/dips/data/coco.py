"""COCO json beside photos -> :class:`~dips.data.listing.Listing`.

An image without annotations is known to show nothing: its boxes are ``(0, 4)``. Crowd regions (``iscrowd``) are left out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dips.data.listing import BACKGROUND_NAMES, Entry, Listing, missing_photos, some
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.types import Problem

__all__ = ["add_coco", "find_coco", "read_coco"]


@dataclass(slots=True)
class _Image:
    """One image of a COCO file, with its boxes ``x0 y0 x1 y1`` by category name."""

    name: str
    frame: tuple[int, int] | None
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)


def find_coco(folder: Path) -> Path | None:
    """Return the COCO file of the photos in ``folder`` (absolute): ``<folder>.coco.json`` beside it or its parent, or inside.

    Inside, ``annotations.json`` counts if it looks like one.
    """
    paths = [folder.parent / f"{folder.name}.coco.json", folder.parent.parent / f"{folder.parent.name}.coco.json"]
    if existing := [path for path in (*paths, folder / "_annotations.coco.json") if path.is_file()]:
        return existing[0]
    if (path := folder / "annotations.json").is_file():
        with path.open("rb") as file:
            if b'"images"' in file.read(1 << 20):
                return path
    inside = sorted(folder.glob("*.coco.json"))
    return inside[0] if len(inside) == 1 else None


def add_coco(listing: Listing, path: Path, *, listed_only: bool) -> None:
    """Add the boxes of a COCO file, in place, to a listing of photos that are sorted into one folder per class.

    The class remains that of the folder. If the file has a category of that name, only its boxes are taken.

    Args:
        listing: as :func:`~dips.data.folder.read_folder` returns it.
        path: the file.
        listed_only: leave out the photos that the file does not list.

    Raises:
        DataError: the file cannot be read, is not COCO, or lists a photo twice.
    """
    entries = {entry.path: entry for entry in listing.entries}
    images, categories, missing = _read_images(path, listing.root, entries)
    for file, image in images.items():
        if (entry := entries.get(file)) is None:
            continue
        any_name = entry.class_name not in categories
        boxes = [box for name, boxes in image.boxes.items() if any_name or name == entry.class_name for box in boxes]
        listing.set_boxes(entry, boxes, image.frame)
        if entry.class_name is not None and entry.class_name.casefold() in BACKGROUND_NAMES and entry.sample(None).boxed:
            message = f"has boxes in {path.name} but lies in the folder '{entry.class_name}'"
            listing.problems.append(Problem(entry.path, message))
    listing.problems += missing_photos(path, listing.root, missing)
    if listed_only:
        listing.entries = [entry for entry in listing.entries if entry.path in images]
    listing.layout, listing.has_boxes = "coco", True


def read_coco(path: Path, folder: Path, *, split: str = "all", listed_only: bool = True) -> Listing:
    """Read photos that are not sorted into folders; the class is the category whose boxes cover the largest area.

    Photos without annotations are of the class ``none``, or of the category of that name or called ``background``.

    Args:
        path: the COCO file.
        folder: the photos; ids are relative to it.
        split: its name.
        listed_only: leave out the photos in ``folder`` that the file does not list; otherwise they have no class.

    Raises:
        DataError: the file cannot be read, is not COCO, or lists a photo twice.
    """
    photos = list_images(folder)
    images, categories, missing = _read_images(path, folder, photos)
    background = next((name for name in categories if name.casefold() in BACKGROUND_NAMES), "none")
    listing = Listing(folder, "coco", [], [], split, has_boxes=True)
    for file, image in images.items():
        if folder != path.parent and not file.is_relative_to(folder):
            continue
        areas = {name: sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) for name, boxes in image.boxes.items()}
        name = max(sorted(areas), key=lambda name: areas[name]) if areas else background
        entry = Entry(file, _id(file, folder), name)
        listing.set_boxes(entry, image.boxes.get(name, []), image.frame)
        listing.entries.append(entry)
    listing.classes = sorted({entry.class_name for entry in listing.entries if entry.class_name is not None})
    if not listed_only and (others := [file for file in photos if file not in images]):
        listing.entries += [Entry(file, _id(file, folder)) for file in others]
        message = f"{len(others)} photos are not listed in {path.name} and have no class: {some((o.name for o in others), 3)}"
        listing.problems.append(Problem(folder, message))
    listing.problems += missing_photos(path, folder, missing)
    return listing


def _id(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _read_images(path: Path, folder: Path, photos: Iterable[Path]) -> tuple[dict[Path, _Image], list[str], list[str]]:
    """Return the images of a COCO file by their photo, the names of its categories, and the images without a photo.

    A photo is found relative to the file or to ``folder``, or by its name if only one of ``photos`` has it.
    """
    images, categories = _parse(path)
    known, by_name = set(photos), dict[str, list[Path]]()
    for photo in known:
        by_name.setdefault(photo.name, []).append(photo)
    located: dict[Path, _Image] = {}
    missing = []
    for image in images:
        name = image.name.replace("\\", "/")
        candidates = [Path(os.path.normpath(base / name)) for base in (path.parent, folder)]
        file = next((candidate for candidate in candidates if candidate in known or os.path.isfile(candidate)), None)
        if file is None and len(namesakes := by_name.get(name.rsplit("/", 1)[-1], [])) == 1:
            file = namesakes[0]
        if file is None:
            missing.append(image.name)
        elif file in located:
            raise DataError(f"{path} lists {file} twice ('{located[file].name}' and '{image.name}'); merge the two images")
        else:
            located[file] = image
    return located, categories, missing


def _parse(path: Path) -> tuple[list[_Image], list[str]]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}); export it again or move it away") from error
    try:
        categories = {category["id"]: str(category["name"]) for category in tree["categories"]}
        images: dict[Any, _Image] = {}
        for image in tree["images"]:
            size = (int(image.get("width") or 0), int(image.get("height") or 0))
            if image["id"] in images:
                raise DataError(f"{path} has two images with the id {image['id']}; give each its own")
            images[image["id"]] = _Image(str(image["file_name"]), size if min(size) > 0 else None)
        for annotation in tree.get("annotations", []):
            if annotation.get("iscrowd"):
                continue
            x, y, width, height = map(float, annotation["bbox"])
            if not all(map(math.isfinite, (x, y, width, height))):
                raise ValueError(f"the box {annotation['bbox']} of image {annotation['image_id']} is not finite")
            boxes = images[annotation["image_id"]].boxes
            boxes.setdefault(categories[annotation["category_id"]], []).append((x, y, x + width, y + height))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not COCO as expected ({what}); it needs images, annotations with bbox, and categories"
        ) from error
    return list(images.values()), list(dict.fromkeys(categories.values()))
