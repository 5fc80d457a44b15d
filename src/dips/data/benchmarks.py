"""The field's two benchmark layouts -> :class:`~dips.data.listing.Listing`.

- photos with WSOL evaluation metadata, as :mod:`dips.data.metadata` reads it. The boxes are in the frame of
  ``image_sizes.txt``, whatever the size of the files here.
- CUB-200-2011 as its authors pack it: ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt``,
  ``bounding_boxes.txt`` (number x y width height), ``classes.txt`` and ``images/``.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from dips.data.listing import Entry, Listing, boxes_array, some, split_name
from dips.data.metadata import (
    class_names,
    data_folder,
    find_base,
    find_masks,
    numbered_lines,
    numbers,
    read_metadata,
    usual_places,
)
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.types import Problem

__all__ = ["is_cub", "read_cub", "read_wsol"]


def read_wsol(folder: Path, metadata: Path) -> Listing | None:
    """The photos in ``folder`` that ``metadata`` (one split's folder) lists; None where it lists none of them.

    Raises:
        DataError: the metadata is malformed, or it names masks and none of them is there.
    """
    data = read_metadata(metadata)
    top = data_folder(metadata)
    base = find_base(data.ids, [top, folder, folder.parent, folder / "images", top / "images"])
    if base is None:
        return None
    name_of, order, _ = class_names(metadata, data)
    inside = f"{folder}{os.sep}"
    files, missing = {}, []
    for id in data.ids:
        file = os.path.normpath(base / id)
        if not file.startswith(inside):
            continue
        if not os.path.isfile(file):
            missing.append(id)
            continue
        files[id] = Path(file)
    if not files:
        return None
    masks, problems = find_masks(data, files, metadata, usual_places(metadata, [base, folder, folder.parent], "masks"))
    entries = []
    for id, path in files.items():
        objects, ignored = masks.get(id, ((), None))
        entries.append(
            Entry(
                path=path,
                id=path.relative_to(folder).as_posix(),
                name=name_of(id),
                boxes=boxes_array(data.boxes[id]) if id in data.boxes else None,
                frame=data.sizes.get(id),
                masks=objects,
                ignore=ignored,
            )
        )
    if missing:
        message = f"{len(missing)} photos that are listed do not exist in {folder}: {some(missing, 3)}"
        problems.append(Problem(metadata / "image_ids.txt", message))
    if folder != base:  # the folder holds this split alone, so what is not listed was forgotten
        known = set(files.values())
        drawn = {PurePosixPath(name).name for group in (*data.masks.values(), data.ignore.values()) for name in group}
        if forgotten := [file for file in list_images(folder) if file not in known and file.name not in drawn]:
            message = f"{len(forgotten)} photos are not listed in {metadata} and are left out: "
            problems.append(Problem(folder, message + some((file.relative_to(folder).as_posix() for file in forgotten), 3)))
    return Listing(
        root=folder,
        layout="wsol",
        entries=entries,
        classes=order,
        split=split_name(metadata.name),
        has_boxes=bool(data.boxes),
        problems=problems,
    )


def is_cub(folder: Path) -> bool:
    """Whether ``folder`` is the unpacked CUB-200-2011 archive."""
    return (folder / "images.txt").is_file() and (folder / "image_class_labels.txt").is_file()


def read_cub(folder: Path, split: str | None) -> Listing:
    """One split (``train`` unless given, ``test`` or ``all``) of the CUB-200-2011 archive.

    Raises:
        DataError: a file is missing or malformed, or the split is unknown.
    """
    split = split or "train"
    if split not in ("train", "test", "all"):
        raise DataError(f"{folder} (CUB-200-2011) has no split '{split}'; there are train, test and all")
    files = _table(folder / "images.txt")
    names = _table(folder / "classes.txt")
    labels = _table(folder / "image_class_labels.txt")
    training = _table(folder / "train_test_split.txt") if split != "all" else {}
    box_file = folder / "bounding_boxes.txt"
    boxes = _table(box_file) if box_file.is_file() else {}
    entries, missing = [], []
    for number, id in files.items():
        if split != "all" and (training.get(number) == "1") != (split == "train"):
            continue
        path = folder / "images" / id
        if labels.get(number) not in names:
            raise DataError(
                f"{folder / 'image_class_labels.txt'}: photo {number} has no class of classes.txt; unpack CUB again"
            )
        if not path.is_file():
            missing.append(id)
            continue
        corners = None
        if number in boxes:
            x, y, width, height = numbers(boxes[number].split(), 4, f"{box_file}, photo {number}", boxes[number])
            corners = boxes_array([(x, y, x + width, y + height)])
        entries.append(Entry(path=path, id=id, name=names[labels[number]], boxes=corners))
    problems = []
    if missing:
        message = f"{len(missing)} photos that are listed do not exist: {some(missing, 3)}"
        problems.append(Problem(folder / "images.txt", message))
    return Listing(
        root=folder / "images",
        layout="cub",
        entries=entries,
        classes=[names[number] for number in sorted(names, key=int)],
        split=split,
        has_boxes=bool(boxes),
        problems=problems,
    )


def _table(path: Path) -> dict[str, str]:
    rows: dict[str, str] = {}
    for number, line in numbered_lines(path):
        key, _, value = line.partition(" ")
        if not value or not key.isdigit() or key in rows:
            raise DataError(f"{path}, line {number}: expected a new number and a value, found '{line}'; unpack CUB again")
        rows[key] = value.strip()
    return rows
