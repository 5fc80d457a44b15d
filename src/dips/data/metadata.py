"""WSOL evaluation metadata (Choe et al., CVPR 2020) -> :class:`Metadata`; no photo is needed.

``metadata/<split>/`` holds ``image_ids.txt``, ``class_labels.txt`` (id,label), ``image_sizes.txt`` (id,width,height) and
``localization.txt`` with one line per object: id,x0,y0,x1,y1 (CUB, ILSVRC), or id,mask,ignored with paths of image files
(OpenImages; only the first line of a photo names its ignored region, if there is one). Boxes refer to the size in
``image_sizes.txt``.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dips.data.lines import numbered_lines, parse_numbers
from dips.data.photo_files import SUFFIXES
from dips.errors import DataError
from dips.system.names import some

__all__ = ["Metadata", "read_class_names", "read_metadata"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One split of WSOL metadata.

    There may be millions of photos, so boxes are stored as flat arrays, which take a fifth of the memory of lists of tuples.

    Attributes:
        ids: the photos in the order of ``image_ids.txt``.
        labels: class number of every id; empty if the file is missing.
        sizes: ``(width, height)`` that the boxes refer to.
        boxes: coordinates ``x0, y0, x1, y1`` of all objects of an id, one after the other.
        masks: mask files of all objects of an id, relative to a folder that the metadata does not name.
        ignore: file of the ignored region, for the ids that have one.

    >>> data = Metadata(ids=("a.jpg",), sizes={"a.jpg": (64, 48)}, boxes={"a.jpg": array("d", (1, 2, 9, 8))})
    >>> data.labels, list(data.boxes["a.jpg"])
    ({}, [1.0, 2.0, 9.0, 8.0])
    """

    ids: tuple[str, ...]
    labels: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    boxes: dict[str, array[float]] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)
    ignore: dict[str, str] = field(default_factory=dict)


def read_metadata(folder: str | Path) -> Metadata:
    """Read ``metadata/<split>/``; only ``image_ids.txt`` is required.

    Raises:
        DataError: a file is malformed (the message names the line), or an id is listed twice or has no label.
    """
    folder = Path(folder)
    data = Metadata(ids=tuple(line for _, line in numbered_lines(folder / "image_ids.txt")))
    if doubled := [id for id, count in Counter(data.ids).items() if count > 1]:
        raise DataError(f"{folder / 'image_ids.txt'} lists {some(doubled, 3)} twice; remove the second line")
    shared = dict(zip(data.ids, data.ids, strict=True))  # one string per id, whichever file names it
    if (path := folder / "class_labels.txt").is_file():
        for _, id, (label,) in _rows(path, 1):
            if data.labels.setdefault(shared.get(id, id), int(label)) != label:
                raise DataError(f"{path} gives {id} two labels, {data.labels[id]} and {label:g}; remove one of the lines")
        if missing := [id for id in data.ids if id not in data.labels]:
            raise DataError(f"{path} has no label for {some(missing, 3)}; add them or remove them from image_ids.txt")
    if (path := folder / "image_sizes.txt").is_file():
        sizes: dict[tuple[int, int], tuple[int, int]] = {}  # one tuple per size, as few differ
        for _, id, (width, height) in _rows(path, 2):
            if width < 1 or height < 1:
                raise DataError(f"{path} gives {id} the size {width:g} x {height:g}; write its width and height in pixels")
            size = (int(width), int(height))
            data.sizes[shared.get(id, id)] = sizes.setdefault(size, size)
    if (path := folder / "localization.txt").is_file():
        _, first = next(numbered_lines(path), (0, ""))
        if _is_file_name(first.rsplit(",", 2)[-2:][0]):
            _read_masks(path, data)
        else:
            _read_boxes(path, data, shared)
    return data


def _read_boxes(path: Path, data: Metadata, shared: dict[str, str]) -> None:
    for number, id, (x0, y0, x1, y1) in _rows(path, 4):
        if x1 < x0 or y1 < y0:
            box = f"{x0:g},{y0:g},{x1:g},{y1:g}"
            raise DataError(f"{path}, line {number}: the box {box} of {id} ends before it starts; write x0,y0,x1,y1")
        data.boxes.setdefault(shared.get(id, id), array("d")).extend((x0, y0, x1, y1))


def _read_masks(path: Path, data: Metadata) -> None:
    for number, line in numbered_lines(path):
        id, *files = (field.strip() for field in line.rsplit(",", 2))
        if not id or len(files) != 2 or not _is_file_name(files[0]) or (files[1] and not _is_file_name(files[1])):
            raise DataError(
                f"{path}, line {number}: expected id,mask,ignored with names of image files, found '{line}'; correct the line"
            )
        mask, ignored = files
        data.masks.setdefault(id, []).append(mask)
        if ignored and data.ignore.setdefault(id, ignored) != ignored:
            raise DataError(f"{path}, line {number}: {id} has two ignored regions, {data.ignore[id]} and {ignored}; keep one")


def _is_file_name(text: str) -> bool:
    return os.path.splitext(text)[1].lower() in SUFFIXES


def _rows(path: Path, count: int) -> Iterator[tuple[int, str, tuple[float, ...]]]:
    for number, line in numbered_lines(path):
        id, *fields = line.rsplit(",", count)  # from the right: names may contain commas
        yield number, id, parse_numbers(fields, count, where=f"{path}, line {number}", text=line)


def read_class_names(folder: Path, data: Metadata) -> tuple[Callable[[str], str | None], list[str], list[int]]:
    """Read the names of the classes, which are those of the photos' folders.

    Args:
        folder: ``metadata/<split>/``; the other splits beside it are read as well, so that all agree on the classes.
        data: its content.

    Returns:
        a function from an id to its class name; the names in label order; and their numbers in ``class_labels.txt``.

    Raises:
        DataError: two splits number the classes differently.
    """
    if not data.labels:
        folder_names = sorted({name for name in map(_folder_name, data.ids) if name})
        return lambda id: _folder_name(id) or None, folder_names, list(range(len(folder_names)))
    names: dict[int, tuple[str, Path]] = {}
    labels: set[int] = set(data.labels.values())
    for split in sorted(folder.parent.iterdir()):
        path = split / "class_labels.txt"
        if not path.is_file():
            continue
        folders: dict[int, set[str]] = {}
        for id, label in data.labels.items() if split == folder else _labels(path):
            folders.setdefault(label, set()).add(_folder_name(id))
        labels.update(folders)
        for label, name in _unique_names(folders, split.name).items():
            other, source = names.setdefault(label, (name, path))
            if other != name:
                raise DataError(
                    f"{source} and {path} disagree: label {label} is '{other}' in one and '{name}' in the other; number the "
                    "classes alike in all splits"
                )
    order = sorted(labels)
    title = {label: names[label][0] if label in names else f"class {label}" for label in order}
    return lambda id: title[data.labels[id]], [title[label] for label in order], order


def _labels(path: Path) -> Iterator[tuple[str, int]]:
    for number, line in numbered_lines(path):  # a million in ILSVRC's training split, hence the shortcut
        id, _, label = line.rpartition(",")
        yield id, int(label if label.isdecimal() else parse_numbers([label], 1, where=f"{path}, line {number}", text=line)[0])


def _folder_name(id: str) -> str:
    return id.rpartition("/")[0].rpartition("/")[2]


def _unique_names(folders: dict[int, set[str]], split: str) -> dict[int, str]:
    """Return the folder of each label's photos as its name, if every label has its own folder; else nothing."""
    single = {label: next(iter(names)) for label, names in folders.items() if len(names) == 1}
    unique = len(single) == len(folders) == len(set(single.values())) and not {"", ".", split} & set(single.values())
    return single if unique else {}
