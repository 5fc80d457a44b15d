"""DATA as a user names it -> :class:`~dips.types.DataSet`: which split is meant, and which reader understands its photos.

Of the descriptions that are there the first counts: WSOL metadata, COCO json, CSV, the folders alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dips.data.coco import add_coco, find_coco, read_coco
from dips.data.csv_table import csv_splits, read_csv
from dips.data.cub import find_cub, read_cub
from dips.data.folder import class_folders, has_photos, read_folder
from dips.data.listing import SPLITS, Listing, align_classes, assemble, find_background, some, split_name
from dips.data.wsol import find_metadata, read_wsol
from dips.errors import DataError
from dips.types import DataSet, Problem

__all__ = ["available_splits", "load_data"]

Reader = Callable[[], Listing]


def load_data(path: str | Path, *, split: str | None = None, background_class: str = "auto") -> DataSet:
    """Read what is known about the photos of DATA; no photo is opened.

    DATA is a folder of photos or one folder per class, ``train/ val/ test/`` of those (with WSOL metadata in ``metadata/``,
    or with ``train.coco.json`` or ``train.csv`` beside each), the unpacked CUB-200-2011 archive, a COCO json, or a CSV of
    path,label (in a folder, ``labels.csv``).

    Labels follow the training split, also for the other splits: its classes in sorted order (WSOL and CUB: their own
    numbers), then any class that only this split has. A data set from elsewhere may have other classes than a model:
    :func:`~dips.data.listing.align_classes` relates them by name. Ids are relative to the split's own folder if it has one.

    Args:
        path: DATA, or one of its splits.
        split: ``train``, ``val``, ``test``, ``all`` or the name of any other folder in DATA. None means DATA itself if it is
            not divided, else its training split.
        background_class: name of the class without object; ``auto`` finds one called none or background, empty means that
            there is none.

    Raises:
        DataError: nothing is there, the split or the background class is unknown, or an annotation file is malformed.
    """
    top = _existing(path)
    split = None if split is None else split_name(split)
    readers = _split_readers(top)
    if split == "all" and readers:
        parts = [assemble(read(), "") for read in readers.values()]
        return _merge(top if top.is_dir() else top.parent, parts, background_class)
    return assemble(_reader(top, split, readers)(), background_class)


def available_splits(path: str | Path) -> tuple[str, ...]:
    """Return the splits of DATA in the order train, val, test, others; ``("all",)`` if it is not divided.

    Raises:
        DataError: DATA does not exist.
    """
    return tuple(_split_readers(_existing(path))) or ("all",)


def _existing(path: str | Path) -> Path:
    top = Path(os.path.abspath(Path(path).expanduser()))
    if not top.exists():
        raise DataError(f"{top} does not exist; give a folder of photos, a COCO json or a CSV")
    if top.is_file() and not (_is_table(top) or top.suffix.lower() == ".json"):
        raise DataError(f"{top} is neither a folder nor a COCO json nor a CSV; give one of these")
    return top


def _is_table(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in (".csv", ".tsv")


def _split_readers(top: Path) -> dict[str, Reader]:
    """Return the reader of each split of DATA, in the order train, val, test, others; nothing if it is not divided."""
    readers: dict[str, Reader] = {}
    if top.is_dir():
        if (archive := find_cub(top)) is not None:
            return {split: partial(read_cub, archive, split) for split in ("train", "test")}
        folders = _split_folders(top)
        for split in SPLITS:
            if split in folders:
                readers[split] = partial(_read_photos, folders[split], split, training=folders.get("train"))
            elif _is_described(top, split):
                readers[split] = partial(_read_photos, top, split, shared=True)
    table = top if _is_table(top) else top / "labels.csv"
    if not readers and _is_table(table):
        names = sorted(csv_splits(table), key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
        read = partial(read_csv, top) if table is top else partial(_read_photos, top, shared=True)
        readers = {name: partial(read, split=name) for name in names}
    return readers


def _reader(top: Path, split: str | None, readers: dict[str, Reader]) -> Reader:
    """Return the reader of one split of DATA."""
    if not readers:
        name = split_name(top.stem.removesuffix(".coco") if top.is_file() else top.name)
        name = name if name in SPLITS else "all"
        if split in (None, "all", name):
            return partial(_read_undivided, top, name)
    elif split is None:
        if "train" not in readers and len(readers) > 1:
            raise DataError(f"{top} has no training split; choose one of {some(readers)} (--split)")
        split = "train" if "train" in readers else next(iter(readers))
    if split in readers:
        return readers[split]
    if split is not None and top.is_dir() and split in class_folders(top):
        return partial(_read_photos, top / split, split)  # any folder beside train/ and test/, such as photos/
    available = f"there are {some(readers)}" if readers else "it is not divided: use the split 'all'"
    raise DataError(f"{top} has no split '{split}'; {available}")


def _read_undivided(top: Path, split: str) -> Listing:
    if _is_table(top):
        return read_csv(top, split)
    if top.is_file():
        return read_coco(top, top.parent, split=split)
    return _read_photos(top, split, training=_split_folders(top.parent).get("train") if split in ("val", "test") else None)


def _read_photos(folder: Path, split: str, *, training: Path | None = None, shared: bool = False) -> Listing:
    """Read a folder of photos by the first description of it that fits.

    Args:
        folder: the photos.
        split: their split.
        training: folder of the training split, whose classes come first.
        shared: the folder holds other splits, too, so that only the photos count that the description lists.
    """
    metadata = find_metadata(folder, split)
    if metadata is None and split_name(folder.name) == split:  # dataset/NAME/val beside metadata/NAME/val
        metadata = find_metadata(folder.parent, split)
    if metadata is not None and (wsol := read_wsol(metadata, folder)) is not None:
        return wsol.listing()
    if shared:
        coco = path if (path := folder / f"{split}.coco.json").is_file() else None
        tables = (folder / f"{split}.csv", folder / "labels.csv")
    else:
        coco = find_coco(folder)
        tables = (folder.parent / f"{folder.name}.csv", folder / "labels.csv")
    table = next((table for table in tables if table.is_file()), None)
    if coco is None and table is not None:
        listing = read_csv(table, split)
    elif coco is None and shared:
        raise DataError(f"{metadata} lists no photo that exists in {folder}; put the photos there or give their folder")
    else:
        first = class_folders(training) if training not in (None, folder) else ()
        listing = read_folder(folder, split=split, first=first)
        if coco is not None and len(listing.classes) > shared:  # a single folder in a shared one, as images/, is not a class
            add_coco(listing, coco, listed_only=shared)
        elif coco is not None:
            listing = read_coco(coco, folder, split=split, listed_only=shared)
    if metadata is not None:
        listing.problems.insert(
            0, Problem(metadata, f"lists no photo that exists in {folder} and is not used; correct its ids, or move it away")
        )
    return listing


def _is_described(top: Path, split: str) -> bool:
    """Return whether DATA describes a split that has no separate folder."""
    if split_name(top.name) in SPLITS:  # DATA is a split itself
        return False
    metadata = find_metadata(top, split)
    if metadata is not None and split_name(metadata.name) == split:
        return True
    return (top / f"{split}.coco.json").is_file() or (top / f"{split}.csv").is_file()


def _split_folders(top: Path) -> dict[str, Path]:
    """Return the folders called train, val or test, unless they are classes: flat folders of photos beside others."""
    children = [child for child in sorted(top.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    named = {split_name(child.name): child for child in children if split_name(child.name) in SPLITS}
    filled = {split: folder for split, folder in named.items() if has_photos(folder)}
    if any(has_photos(folder, below=True) or _is_described(top, split) for split, folder in filled.items()):
        return filled
    others = any(has_photos(child) for child in children if child not in named.values())
    return {} if others else filled


def _merge(top: Path, parts: list[DataSet], background_class: str) -> DataSet:
    """Return all splits as one data set, with ids relative to ``top``."""
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    samples = [
        dataclasses.replace(sample, id=Path(os.path.relpath(sample.path, top)).as_posix())
        for part in parts
        for sample in align_classes(part, classes).samples
    ]
    return DataSet(
        root=top,
        classes=classes,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        split="all",
        background=find_background(classes, background_class, top),
        layout=parts[0].layout,
        problems=tuple(problem for part in parts for problem in part.problems),
    )
