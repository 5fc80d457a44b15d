"""Photos with WSOL evaluation metadata, or the metadata alone -> :class:`WsolSplit`.

In: a folder ``metadata/<split>/`` and, unless the photos are absent, the folder that holds them. Out: the photos with their
classes, boxes and masks. Boxes refer to the size in ``image_sizes.txt``, whatever the size of the photo files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dips.data.listing import SPLIT_ALIASES, SPLITS, Entry, Listing, split_name
from dips.data.locate import locate
from dips.data.metadata import Metadata, read_class_names, read_metadata
from dips.data.photo_files import find_images
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import Problem

__all__ = ["WsolSplit", "find_metadata", "find_splits", "read_wsol"]

_SPLIT_FOLDERS = (*SPLITS, *SPLIT_ALIASES)


@dataclass(frozen=True, slots=True)
class WsolSplit:
    """The photos of one split that WSOL metadata lists.

    Attributes:
        root: folder that the photos' paths are relative to.
        split: name of the split.
        ids: the photos' ids in ``image_ids.txt``, in its order.
        entry: returns what is known about the photo with such an id. Entries are created on demand, as there may be millions.
        classes: class names in label order.
        numbers: the classes' numbers in ``class_labels.txt``.
        has_boxes: whether there are any boxes.
        problems: what is missing or was left out.
    """

    root: Path
    split: str
    ids: tuple[str, ...]
    entry: Callable[[str], Entry]
    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    has_boxes: bool
    problems: tuple[Problem, ...]

    def listing(self) -> Listing:
        """Return all photos at once, as readers of other layouts do."""
        entries = [self.entry(id) for id in self.ids]
        return Listing(self.root, "wsol", entries, list(self.classes), self.split, self.has_boxes, list(self.problems))


def read_wsol(metadata: Path, folder: Path | None = None) -> WsolSplit | None:
    """Read one split of WSOL metadata.

    Args:
        metadata: ``metadata/<split>/``.
        folder: the photos (absolute): only those that exist in it are used, with ids relative to it. With None, all photos are
            used whether they exist or not, with the ids of ``image_ids.txt``; their paths are where they should be.

    Returns:
        None if ``folder`` holds none of the photos.

    Raises:
        DataError: the metadata is malformed, or names masks of which none exists.
    """
    data, top = read_metadata(metadata), _data_folder(metadata)
    if folder is None:
        base: Path | None = _best_base(data.ids, _usual_folders(metadata, [], "images")) or top
    else:
        folders = [top, folder, folder.parent, folder / "images", top / "images"]
        base = _best_base(data.ids, folders) or _base_but_for_accents(data.ids, folders, folder)
    if base is None:
        return None
    name_of, classes, numbers = read_class_names(metadata, data)
    if folder is None:
        ids, problems, mask_folders = data.ids, _unlisted_objects(metadata, data), [base]
        elsewhere = dict[str, Path]()
    else:
        ids, elsewhere, problems = _find_photos(metadata, data, base, folder)
        mask_folders = [base, folder, folder.parent]
        if not ids:
            return None
    masks, mask_problems = _find_masks(metadata, data, ids, _usual_folders(metadata, mask_folders, "masks"))

    def entry(id: str) -> Entry:
        path, id_in_root = elsewhere.get(id, base / id), id
        if folder is not None:
            path = Path(os.path.normpath(path))
            id_in_root = path.relative_to(folder).as_posix()
        boxes = np.array(np.reshape(data.boxes[id], (-1, 4)), np.float32) if id in data.boxes else None
        objects, ignored = masks.get(id, ((), None))
        return Entry(path, id_in_root, name_of(id), boxes, data.sizes.get(id), objects, ignored)

    return WsolSplit(
        root=folder or base,
        split=split_name(metadata.name),
        ids=ids,
        entry=entry,
        classes=tuple(classes),
        numbers=tuple(numbers),
        has_boxes=bool(data.boxes),
        problems=(*mask_problems, *problems),
    )


def _find_photos(
    metadata: Path, data: Metadata, base: Path, folder: Path
) -> tuple[tuple[str, ...], dict[str, Path], list[Problem]]:
    """Return the photos that are listed and exist in ``folder``.

    Returns:
        the ids; the files of those whose accents are encoded differently than in the id; and problems: the photos that only
        the list or the folder has.
    """
    paths = {id: path for id in data.ids if (path := os.path.normpath(base / id)).startswith(f"{folder}{os.sep}")}
    absent = [id for id, path in paths.items() if not os.path.isfile(path)]
    located = locate(absent, (base,), lambda: find_images(folder).photos, whole=True)
    lost = {*located.missing, *located.doubled}
    ids = tuple(id for id in paths if id not in lost)
    problems = located.problems(metadata / "image_ids.txt", folder)
    if folder != base:  # the folder holds this split only, so photos that are not listed were forgotten
        listed = {located.files.get(id) or Path(paths[id]) for id in ids}
        masks = {PurePosixPath(name).name for group in (*data.masks.values(), data.ignore.values()) for name in group}
        found = find_images(folder)
        problems += found.problems
        if forgotten := [file for file in found.photos if file not in listed and file.name not in masks]:
            names = some((file.relative_to(folder).as_posix() for file in forgotten), 3)
            message = (
                f"{counted(len(forgotten), 'photo', 'is')} not listed in {metadata}, left out: {names}; list or remove them"
            )
            problems.append(Problem(folder, message))
    return ids, located.files, problems


def _unlisted_objects(metadata: Path, data: Metadata) -> list[Problem]:
    listed = set(data.ids)
    if not (others := [id for id in (*data.boxes, *data.masks) if id not in listed]):
        return []
    message = f"{counted(len(others), 'photo', 'is')} not listed in image_ids.txt, left out: {some(others, 3)}; add them there"
    return [Problem(metadata / "localization.txt", message)]


def _find_masks(
    metadata: Path, data: Metadata, ids: Iterable[str], folders: Sequence[Path]
) -> tuple[dict[str, tuple[tuple[Path, ...], Path | None]], list[Problem]]:
    """Return the files of the masks and of the ignored region of the photos that have masks, if all of a photo's files exist.

    Args:
        metadata: for error messages.
        data: its content.
        ids: the photos in question.
        folders: what the files' paths may be relative to.

    Raises:
        DataError: there should be masks, but no photo has all of its files.
    """
    masked = [id for id in ids if id in data.masks]
    if not masked:
        return {}, []
    first = [data.masks[id][0] for id in masked]
    base = _best_base(first, folders) or _best_base(first, folders, probes=len(first))
    masks: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    missing = []
    for id in masked:
        names = [*data.masks[id], *([data.ignore[id]] if id in data.ignore else [])]
        files = [os.path.join(base or folders[0], name) for name in names]
        if absent := next((file for file in files if not os.path.isfile(file)), None):
            missing.append(absent)
        else:
            paths = tuple(map(Path, files))
            masks[id] = (paths[:-1], paths[-1]) if id in data.ignore else (paths, None)
    source = metadata / "localization.txt"
    if not masks:
        where = f"{base}" if base else some(map(str, folders))
        raise DataError(
            f"{source}: {missing[0]} and the other masks are missing, looked for in {where}; put the masks' folders into "
            f"{base or folders[0]}, or remove localization.txt"
        )
    message = (
        f"{counted(len(missing), 'photo', 'lacks')} files of masks, so that no masks are used there: "
        f"{some(missing, 3)}; put the files there"
    )
    return masks, [Problem(source, message)] if missing else []


def find_metadata(folder: Path, split: str) -> Path | None:
    """Return the metadata of the photos in ``folder`` (absolute), from a folder ``metadata/`` in it or up to two levels above.

    In ``folder``, it is that of ``split``; above, the first folder on the way down to ``folder`` is the split. ``metadata/``
    may hold one folder per data set, with the data set's name.
    """
    for above in (folder, *folder.parents[:2]):
        top = above / "metadata"
        if not top.is_dir():
            continue
        inside = folder.relative_to(above).parts
        names = (inside[0], split_name(inside[0])) if inside else (split,)
        candidates = [base / name for base in (top, top / above.name) for name in names] + [top / folder.name / split]
        for candidate in candidates:
            if (candidate / "image_ids.txt").is_file():
                return candidate
    return None


def find_splits(top: Path, split: str) -> dict[str, Path]:
    """Return the splits that metadata in ``top`` describes, with their folders.

    Args:
        top: the folder that holds ``metadata/``, this folder itself, or the folder of a data set or of a split in it.
        split: the split that will be read; it decides between data sets.

    Raises:
        DataError: several data sets have the split.
    """
    if (top / "image_ids.txt").is_file():
        name = split_name(top.name)
        return {name if name in _SPLIT_FOLDERS else split: top}
    for base in (top / "metadata", top):
        if not base.is_dir():
            continue
        for folder in (base, base / top.name):
            if splits := _splits_in(folder, split):
                return splits
        data_sets = {child.name: splits for child in sorted(base.iterdir()) if (splits := _splits_in(child, split))}
        matches = [name for name in data_sets if split in data_sets[name]]
        if len(matches) > 1:
            raise DataError(f"{base} describes several data sets, {some(matches)}; give one of them, as {base / matches[0]}")
        if data_sets:
            return data_sets[matches[0] if matches else next(iter(data_sets))]
    return {}


def _splits_in(folder: Path, split: str) -> dict[str, Path]:
    names = dict.fromkeys((*_SPLIT_FOLDERS, split))
    return {split_name(name): folder / name for name in names if os.path.isfile(folder / name / "image_ids.txt")}


def _data_folder(metadata: Path) -> Path:
    """Return the folder that holds ``metadata/``; without a folder of this name, the one that holds the split's folder."""
    holder = next((parent for parent in metadata.parents[:2] if parent.name == "metadata"), None)
    return metadata.parent if holder is None else holder.parent


def _usual_folders(metadata: Path, first: Sequence[Path], inside: str) -> list[Path]:
    """Return where the files that ``metadata`` names may be: ``first``, the data set's folders, and ``inside`` in each."""
    top, data_set = _data_folder(metadata), metadata.parent
    folders = [*first, top, top / metadata.name]
    if data_set.parent.name == "metadata":
        folders += [top / data_set.name, top / "dataset" / data_set.name]
    return list(dict.fromkeys([*folders, *(folder / inside for folder in folders)]))


def _base_but_for_accents(ids: Sequence[str], folders: Sequence[Path], photos: Path, *, probes: int = 50) -> Path | None:
    """Return the first of ``folders`` with photos whose ids differ only in the encoding of accents; None if there is none."""
    if not (accented := [id for id in ids if not id.isascii()]):
        return None
    files = find_images(photos).photos
    sample = accented[:: max(1, len(accented) // probes)]
    return next((folder for folder in folders if locate(sample, (folder,), lambda: files, whole=True).files), None)


def _best_base(names: Sequence[str], folders: Iterable[Path], *, probes: int = 50) -> Path | None:
    """Return the folder that holds most of the files, judged by about ``probes`` of them; None if none holds any."""
    sample = names[:: max(1, len(names) // probes)]
    hits = {folder: sum(os.path.isfile(os.path.join(folder, name)) for name in sample) for folder in folders}
    best = max(hits, key=lambda folder: hits[folder])
    return best if hits[best] else None
