"""The field's two benchmark layouts -> :class:`~dips.data.listing.Listing`.

- WSOL evaluation metadata (Choe et al., CVPR 2020): ``metadata/<split>/`` with ``image_ids.txt``, ``class_labels.txt``
  (id,label), ``image_sizes.txt`` (id,width,height) and ``localization.txt`` (id,x0,y0,x1,y1; a line per box). The boxes are in
  the frame of ``image_sizes``, whatever the size of the files here.
- CUB-200-2011 as its authors pack it: ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt``,
  ``bounding_boxes.txt`` (number x y width height), ``classes.txt`` and ``images/``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dips.data.images import list_images
from dips.data.listing import Entry, Listing, boxes_array, some, split_name
from dips.errors import DataError
from dips.types import Problem

__all__ = ["Metadata", "find_metadata", "is_cub", "read_cub", "read_metadata", "read_wsol"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One split of WSOL metadata; no photo is needed for it.

    Attributes:
        ids: the photos in the order of ``image_ids.txt``.
        labels: class number of every id; empty where the file is missing.
        sizes: ``(width, height)`` of the frame the boxes are in.
        boxes: ``(x0, y0, x1, y1)`` of every object; empty where the file is missing.
    """

    ids: tuple[str, ...]
    labels: dict[str, int]
    sizes: dict[str, tuple[int, int]]
    boxes: dict[str, list[tuple[float, float, float, float]]]


def read_metadata(folder: str | Path) -> Metadata:
    """Read ``metadata/<split>/``; only ``image_ids.txt`` must be there.

    Raises:
        DataError: a file is malformed (named with its line), an id is listed twice or has no label.
    """
    folder = Path(folder)
    ids = tuple(line for _, line in _lines(folder / "image_ids.txt"))
    doubled = [id for id, count in Counter(ids).items() if count > 1]
    if doubled:
        raise DataError(f"{folder / 'image_ids.txt'} lists {some(doubled, 3)} twice; remove the second line")
    labels: dict[str, int] = {}
    if (path := folder / "class_labels.txt").is_file():
        for id, (label,) in _rows(path, 1):
            if labels.setdefault(id, int(label)) != label:
                raise DataError(f"{path} gives {id} two labels, {labels[id]} and {label:g}; remove one of the lines")
        if missing := [id for id in ids if id not in labels]:
            raise DataError(f"{path} has no label for {some(missing, 3)}; add them or take them out of image_ids.txt")
    sizes: dict[str, tuple[int, int]] = {}
    if (path := folder / "image_sizes.txt").is_file():
        for id, (width, height) in _rows(path, 2):
            if width < 1 or height < 1:
                raise DataError(f"{path} gives {id} the size {width:g} x {height:g}; write its width and height in pixels")
            sizes[id] = (int(width), int(height))
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    if (path := folder / "localization.txt").is_file():
        for id, (x0, y0, x1, y1) in _rows(path, 4):
            boxes.setdefault(id, []).append((x0, y0, x1, y1))
    return Metadata(ids=ids, labels=labels, sizes=sizes, boxes=boxes)


def find_metadata(folder: Path, split: str) -> Path | None:
    """The WSOL metadata of the photos in ``folder`` (absolute): in ``metadata/`` inside it, beside it or one further above.

    Inside, it is that of ``split``; further above, the split is the first folder on the way down. ``metadata/`` may hold one
    folder per data set, named like it.
    """
    for above in (folder, *folder.parents[:2]):
        top = above / "metadata"
        if not top.is_dir():
            continue
        inside = folder.relative_to(above).parts
        names = (inside[0], split_name(inside[0])) if inside else (split,)
        places = [base / name for base in (top, top / above.name) for name in names] + [top / folder.name / split]
        for place in places:
            if (place / "image_ids.txt").is_file():
                return place
    return None


def read_wsol(folder: Path, metadata: Path) -> Listing | None:
    """The photos in ``folder`` that ``metadata`` (one split's folder) lists; None where it lists none of them."""
    data = read_metadata(metadata)
    top = next(parent for parent in metadata.parents if parent.name == "metadata").parent
    base = _find_base(data.ids, [top, folder, folder.parent, folder / "images", top / "images"])
    if base is None:
        return None
    names, order = _class_names(metadata, data)
    inside = f"{folder}{os.sep}"
    entries, missing = [], []
    for id in data.ids:
        file = os.path.normpath(base / id)
        if not file.startswith(inside):
            continue
        if not os.path.isfile(file):
            missing.append(id)
            continue
        boxes = boxes_array(data.boxes[id]) if id in data.boxes else None
        entries.append(
            Entry(
                path=Path(file),
                id=Path(file).relative_to(folder).as_posix(),
                name=names[id],
                boxes=boxes,
                frame=data.sizes.get(id),
            )
        )
    if not entries:
        return None
    problems = []
    if missing:
        message = f"{len(missing)} photos that are listed do not exist in {folder}: {some(missing, 3)}"
        problems.append(Problem(metadata / "image_ids.txt", message))
    if folder != base:  # the folder holds this split alone, so what is not listed was forgotten
        known = {entry.path for entry in entries}
        if forgotten := [file for file in list_images(folder) if file not in known]:
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


def _find_base(ids: tuple[str, ...], candidates: list[Path]) -> Path | None:
    probe = ids[:: max(1, len(ids) // 50)]
    hits = {base: sum((base / id).is_file() for id in probe) for base in candidates}
    best = max(hits, key=lambda base: hits[base])
    return best if hits[best] else None


def _class_names(metadata: Path, data: Metadata) -> tuple[dict[str, str | None], list[str]]:
    """Class name of every id and the names in label order, the same for all splits of one metadata folder."""
    if not data.labels:
        by_folder: dict[str, str | None] = {id: PurePosixPath(id).parent.name or None for id in data.ids}
        return by_folder, sorted({name for name in by_folder.values() if name})
    names: dict[int, tuple[str, Path]] = {}
    labels: set[int] = set(data.labels.values())
    for split in sorted(metadata.parent.iterdir()):
        path = split / "class_labels.txt"
        if not path.is_file():
            continue
        given = data.labels if split == metadata else {id: int(label) for id, (label,) in _rows(path, 1)}
        labels.update(given.values())
        for label, name in _folder_names(given, split.name).items():
            before, where = names.setdefault(label, (name, path))
            if before != name:
                raise DataError(
                    f"{where} and {path} disagree: label {label} is '{before}' in one and '{name}' in the other; number the "
                    "classes alike in all splits"
                )
    order = sorted(labels)
    title = {label: names[label][0] if label in names else f"class {label}" for label in order}
    return {id: title[data.labels[id]] for id in data.ids}, [title[label] for label in order]


def _folder_names(labels: dict[str, int], split: str) -> dict[int, str]:
    """Names of labels after the folders of their photos, where each has a folder of its own; else nothing."""
    folders: dict[int, set[str]] = {}
    for id, label in labels.items():
        folders.setdefault(label, set()).add(PurePosixPath(id).parent.name)
    single = {label: next(iter(found)) for label, found in folders.items() if len(found) == 1}
    clear = len(single) == len(folders) == len(set(single.values())) and not {"", split} & set(single.values())
    return single if clear else {}


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
            x, y, width, height = _numbers(boxes[number].split(), 4, f"{box_file}, photo {number}")
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
    for number, line in _lines(path):
        key, _, value = line.partition(" ")
        if not value or not key.isdigit() or key in rows:
            raise DataError(f"{path}, line {number}: expected a new number and a value, found '{line}'; unpack CUB again")
        rows[key] = value.strip()
    return rows


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it belongs to this layout, put it back") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _rows(path: Path, values: int) -> Iterable[tuple[str, tuple[float, ...]]]:
    for number, line in _lines(path):
        id, *fields = line.rsplit(",", values)  # from the right: names may hold commas
        yield id, _numbers(fields, values, f"{path}, line {number}")


def _numbers(fields: list[str], values: int, where: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(field) for field in fields)
    except ValueError:
        numbers = ()
    if len(numbers) != values or not all(abs(number) < 1e9 for number in numbers):
        raise DataError(f"{where}: expected {values} numbers, found '{','.join(fields)}'; mend the line")
    return numbers
