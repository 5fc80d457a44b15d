"""WSOL evaluation metadata (Choe et al., CVPR 2020) -> :class:`Metadata`; no photo is needed for it.

``metadata/<split>/`` holds ``image_ids.txt``, ``class_labels.txt`` (id,label), ``image_sizes.txt`` (id,width,height) and
``localization.txt``: a line per object, id,x0,y0,x1,y1 (CUB, ILSVRC) or id,mask,ignored with paths of image files
(OpenImages; only the first line of a photo names the ignored region, if any). Boxes are in the frame of ``image_sizes``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dips.data.listing import some, split_name
from dips.data.packed_rows import PackedRows
from dips.data.photo_files import SUFFIXES
from dips.errors import DataError
from dips.types import Problem

__all__ = [
    "Metadata",
    "class_names",
    "data_folder",
    "find_base",
    "find_masks",
    "find_metadata",
    "numbered_lines",
    "numbers",
    "read_metadata",
    "usual_places",
]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One split of WSOL metadata.

    Attributes:
        ids: the photos in the order of ``image_ids.txt``.
        labels: class number of every id; empty where the file is missing.
        sizes: ``(width, height)`` of the frame the boxes are in.
        boxes: ``(x0, y0, x1, y1)`` of every object; empty where the file is missing or names masks.
        masks: paths of the masks of every object, relative to a folder that is not said; empty where there are boxes.
        ignore: path of the ignored region, for the ids that have one.
    """

    ids: tuple[str, ...]
    labels: dict[str, int]
    sizes: dict[str, tuple[int, int]]
    boxes: PackedRows
    masks: dict[str, list[str]]
    ignore: dict[str, str]


def read_metadata(folder: str | Path) -> Metadata:
    """Read ``metadata/<split>/``; only ``image_ids.txt`` must be there.

    Raises:
        DataError: a file is malformed (named with its line), an id is listed twice or has no label.
    """
    folder = Path(folder)
    ids = tuple(line for _, line in numbered_lines(folder / "image_ids.txt"))
    doubled = [id for id, count in Counter(ids).items() if count > 1]
    if doubled:
        raise DataError(f"{folder / 'image_ids.txt'} lists {some(doubled, 3)} twice; remove the second line")
    same = dict(zip(ids, ids, strict=True))  # one string per id, whatever file names it
    labels: dict[str, int] = {}
    if (path := folder / "class_labels.txt").is_file():
        for _, id, (label,) in _rows(path, 1):
            if labels.setdefault(same.get(id, id), int(label)) != label:
                raise DataError(f"{path} gives {id} two labels, {labels[id]} and {label:g}; remove one of the lines")
        if missing := [id for id in ids if id not in labels]:
            raise DataError(f"{path} has no label for {some(missing, 3)}; add them or take them out of image_ids.txt")
    sizes: dict[str, tuple[int, int]] = {}
    alike: dict[tuple[int, int], tuple[int, int]] = {}  # few sizes differ, so most are the same object
    if (path := folder / "image_sizes.txt").is_file():
        for _, id, (width, height) in _rows(path, 2):
            if width < 1 or height < 1:
                raise DataError(f"{path} gives {id} the size {width:g} x {height:g}; write its width and height in pixels")
            size = (int(width), int(height))
            sizes[same.get(id, id)] = alike.setdefault(size, size)
    boxes = PackedRows({id: number for number, id in enumerate(ids)}, 4)
    data = Metadata(ids=ids, labels=labels, sizes=sizes, boxes=boxes, masks={}, ignore={})
    if (path := folder / "localization.txt").is_file():
        _, first = next(numbered_lines(path), (0, ""))
        (_read_masks if _is_file_name(first.rsplit(",", 2)[-2:][0]) else _read_boxes)(path, data)
    return data


def _read_boxes(path: Path, data: Metadata) -> None:
    for number, id, (x0, y0, x1, y1) in _rows(path, 4):
        if x1 < x0 or y1 < y0:
            box = f"{x0:g},{y0:g},{x1:g},{y1:g}"
            raise DataError(f"{path}, line {number}: the box {box} of {id} ends before it starts; write x0,y0,x1,y1")
        data.boxes.add(id, (x0, y0, x1, y1))


def _read_masks(path: Path, data: Metadata) -> None:
    for number, line in numbered_lines(path):
        id, *files = (field.strip() for field in line.rsplit(",", 2))
        if not id or len(files) != 2 or not _is_file_name(files[0]) or (files[1] and not _is_file_name(files[1])):
            raise DataError(
                f"{path}, line {number}: expected id,mask,ignored with names of image files, found '{line}'; mend it"
            )
        mask, ignored = files
        data.masks.setdefault(id, []).append(mask)
        if ignored and data.ignore.setdefault(id, ignored) != ignored:
            raise DataError(f"{path}, line {number}: {id} has two ignored regions, {data.ignore[id]} and {ignored}; keep one")


def _is_file_name(text: str) -> bool:
    return os.path.splitext(text)[1].lower() in SUFFIXES


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


def data_folder(metadata: Path) -> Path:
    """The folder that holds ``metadata/``; without a folder of this name, the one that holds the split's folder."""
    holder = next((parent for parent in metadata.parents[:2] if parent.name == "metadata"), None)
    return metadata.parent if holder is None else holder.parent


def usual_places(metadata: Path, first: Sequence[Path], inside: str) -> list[Path]:
    """Where files that ``metadata`` (one split's folder) names may lie: in ``first``, in the data set's folder, or in
    folders of the name ``inside`` in these.
    """
    top, data_set = data_folder(metadata), metadata.parent
    bases = [*first, top, top / metadata.name]
    if data_set.parent.name == "metadata":
        bases += [top / data_set.name, top / "dataset" / data_set.name]
    return list(dict.fromkeys([*bases, *(base / inside for base in bases)]))


def find_base(names: Sequence[str], places: Iterable[Path], *, most: int = 50) -> Path | None:
    """The place that holds most of the files, judged by about ``most`` of them; None where none holds any."""
    probe = names[:: max(1, len(names) // most)]
    hits = {base: sum(os.path.isfile(os.path.join(base, name)) for name in probe) for base in places}
    best = max(hits, key=lambda base: hits[base])
    return best if hits[best] else None


def find_masks(
    data: Metadata, ids: Iterable[str], metadata: Path, places: Sequence[Path]
) -> tuple[dict[str, tuple[tuple[Path, ...], Path | None]], list[Problem]]:
    """Files of the true masks and of the ignored region of those of ``ids`` that have masks and whose files are all there.

    Args:
        data: what ``metadata`` (one split's folder) says.
        ids: the photos in question.
        metadata: named in errors and problems.
        places: folders that the masks' paths may be relative to.

    Raises:
        DataError: there should be masks, but no photo has all of its files.
    """
    wanted = [id for id in ids if id in data.masks]
    if not wanted:
        return {}, []
    first = [data.masks[id][0] for id in wanted]
    root = find_base(first, places) or find_base(first, places, most=len(first))
    found: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    missing = []
    for id in wanted:
        ignored = data.ignore.get(id)
        files = [os.path.join(root or places[0], name) for name in (*data.masks[id], *([ignored] if ignored else []))]
        lost = next((file for file in files if not os.path.isfile(file)), None)
        if lost is not None:
            missing.append(lost)
            continue
        paths = tuple(map(Path, files))
        found[id] = (paths[:-1], paths[-1]) if ignored else (paths, None)
    source = metadata / "localization.txt"
    if not found:
        where = f"{root}" if root else some(map(str, places))
        raise DataError(
            f"{source}: {missing[0]} and the other masks are missing, looked for in {where}; put the masks' folders into "
            f"{root or places[0]}, or take localization.txt away"
        )
    if not missing:
        return found, []
    message = f"{len(missing)} photos lack files of their masks and have no true mask: {some(missing, 3)}"
    return found, [Problem(source, message)]


def class_names(metadata: Path, data: Metadata) -> tuple[Callable[[str], str | None], list[str], list[int]]:
    """The class name of an id, as a function; the names in label order, the same for all splits of one metadata folder; and
    the numbers that ``class_labels.txt`` has for them.

    Raises:
        DataError: two splits number the classes differently.
    """
    if not data.labels:
        folder_names = sorted({name for name in map(_folder_name, data.ids) if name})
        return lambda id: _folder_name(id) or None, folder_names, list(range(len(folder_names)))
    names: dict[int, tuple[str, Path]] = {}
    labels: set[int] = set(data.labels.values())
    for split in sorted(metadata.parent.iterdir()):
        path = split / "class_labels.txt"
        if not path.is_file():
            continue
        folders: dict[int, set[str]] = {}
        for id, label in data.labels.items() if split == metadata else _labels(path):
            folders.setdefault(label, set()).add(_folder_name(id))
        labels.update(folders)
        for label, name in _single_names(folders, split.name).items():
            before, where = names.setdefault(label, (name, path))
            if before != name:
                raise DataError(
                    f"{where} and {path} disagree: label {label} is '{before}' in one and '{name}' in the other; number the "
                    "classes alike in all splits"
                )
    order = sorted(labels)
    title = {label: names[label][0] if label in names else f"class {label}" for label in order}
    return lambda id: title[data.labels[id]], [title[label] for label in order], order


def _labels(path: Path) -> Iterator[tuple[str, int]]:
    for number, line in numbered_lines(path):  # a million in ILSVRC's training split, hence no detours
        id, _, label = line.rpartition(",")
        yield id, int(label if label.isdecimal() else numbers([label], 1, f"{path}, line {number}", line)[0])


def _folder_name(id: str) -> str:
    return id.rpartition("/")[0].rpartition("/")[2]


def _single_names(folders: dict[int, set[str]], split: str) -> dict[int, str]:
    """Names of labels after the folders of their photos, where each has a folder of its own; else nothing."""
    single = {label: next(iter(found)) for label, found in folders.items() if len(found) == 1}
    clear = len(single) == len(folders) == len(set(single.values())) and not {"", ".", split} & set(single.values())
    return single if clear else {}


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, stripped, with their numbers.

    Raises:
        DataError: it is missing or no text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line := line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it belongs to this layout, put it back") from error


def numbers(fields: list[str], values: int, where: str, found: str) -> tuple[float, ...]:
    """``fields`` as that many numbers, all of them below 1e9.

    Raises:
        DataError: they are not; it says ``where`` that is and what was ``found`` there.
    """
    try:
        given = tuple(map(float, fields))
    except ValueError:
        given = ()
    if len(given) != values or not all(-1e9 < number < 1e9 for number in given):
        raise DataError(f"{where}: expected {values} numbers, found '{found}'; mend the line")
    return given


def _rows(path: Path, values: int) -> Iterator[tuple[int, str, tuple[float, ...]]]:
    for number, line in numbered_lines(path):
        id, *fields = line.rsplit(",", values)  # from the right: names may hold commas
        yield number, id, numbers(fields, values, f"{path}, line {number}", line)
