"""CUB-200-2011 as its authors package it -> :class:`~dips.data.listing.Listing`.

The archive holds ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt``, ``bounding_boxes.txt`` (number x y
width height), ``classes.txt`` and ``images/``.
"""

from __future__ import annotations

from pathlib import Path

from dips.data.lines import numbered_lines, parse_numbers
from dips.data.listing import Entry, Listing, boxes_array, missing_photos
from dips.errors import DataError

__all__ = ["find_cub", "read_cub"]


def find_cub(folder: Path) -> Path | None:
    """Return the unpacked archive in ``folder``, which may be ``folder`` itself; None if there is none."""
    for archive in (folder, folder / "CUB_200_2011"):
        if (archive / "images.txt").is_file() and (archive / "image_class_labels.txt").is_file():
            return archive
    return None


def read_cub(archive: Path, split: str) -> Listing:
    """Read one split, ``train`` or ``test``, of the archive.

    Raises:
        DataError: a file is missing or malformed.
    """
    files = _table(archive / "images.txt")
    names = _table(archive / "classes.txt")
    labels = _table(archive / "image_class_labels.txt")
    in_training = _table(archive / "train_test_split.txt")
    box_file = archive / "bounding_boxes.txt"
    boxes = _table(box_file) if box_file.is_file() else {}
    classes = [names[number] for number in sorted(names, key=int)]
    listing = Listing(archive / "images", "cub", [], classes, split, has_boxes=bool(boxes))
    missing = []
    for number, id in files.items():
        if (in_training.get(number) == "1") != (split == "train"):
            continue
        path = listing.root / id
        if labels.get(number) not in names:
            raise DataError(
                f"{archive / 'image_class_labels.txt'}: photo {number} has no class of classes.txt; unpack CUB again"
            )
        if not path.is_file():
            missing.append(id)
            continue
        entry = Entry(path, id, names[labels[number]])
        if number in boxes:
            where = f"{box_file}, photo {number}"
            x, y, width, height = parse_numbers(boxes[number].split(), 4, where=where, text=boxes[number])
            entry.boxes = boxes_array([(x, y, x + width, y + height)])
        listing.entries.append(entry)
    listing.problems += missing_photos(archive / "images.txt", listing.root, missing)
    return listing


def _table(path: Path) -> dict[str, str]:
    rows: dict[str, str] = {}
    for number, line in numbered_lines(path):
        key, _, value = line.partition(" ")
        if not value or not key.isdecimal() or key in rows:
            raise DataError(f"{path}, line {number}: expected a new number and a value, found '{line}'; unpack CUB again")
        rows[key] = value.strip()
    return rows
