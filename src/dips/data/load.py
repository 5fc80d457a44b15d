"""DATA as a user names it -> :class:`~dips.types.DataSet`: which split is meant and how its photos are described.

Of the descriptions that are there the first counts: WSOL metadata, COCO json, CSV, the folders alone.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from dips.data.benchmarks import is_cub, read_cub, read_wsol
from dips.data.folder import class_folders, has_photos, read_folder
from dips.data.listing import SPLITS, Listing, align_classes, assemble, find_background, some, split_name
from dips.data.metadata import find_metadata
from dips.data.tables import add_coco, csv_splits, find_coco, is_coco, read_coco, read_csv
from dips.errors import DataError
from dips.types import DataSet, Problem

__all__ = ["available_splits", "load_data"]


def load_data(path: str | Path, *, split: str | None = None, background_class: str = "auto") -> DataSet:
    """Read what is known about the photos of DATA; no photo is opened.

    DATA is a folder of photos or one folder per class, ``train/ val/ test/`` of those (with WSOL metadata in ``metadata/``,
    or with ``train.coco.json`` or ``train.csv`` beside each), the unpacked CUB-200-2011 archive, a COCO json, or a CSV of
    path,label (also found as ``labels.csv`` in a folder).

    Args:
        path: DATA, or one of its splits.
        split: ``train``, ``val``, ``test``, ``all`` or the name of any other folder in DATA. None takes DATA itself if it is
            not divided, else its training split.
        background_class: name of the class without object; ``auto`` = one called none or background, if any; empty = no such.

    Labels follow the training split, also for the other splits: its classes in sorted order (WSOL and CUB: their own
    numbers), then any class that only this split has. A data set from elsewhere may have other classes than the model:
    :func:`~dips.data.listing.align_classes` relates them by name. Ids are relative to the split's own folder if it has one.

    Raises:
        DataError: nothing there, unknown split or background class, malformed annotation file.
    """
    top = _existing(path)
    split = None if split is None else split_name(split)
    if split == "all" and (splits := available_splits(top)) != ("all",):
        parts = [load_data(top, split=name, background_class="") for name in splits]
        return _merge(top if top.is_dir() else top.parent, parts, background_class)
    return assemble(_read(top, split), background_class)


def available_splits(path: str | Path) -> tuple[str, ...]:
    """The splits that DATA is divided into, in the order train, val, test; ``("all",)`` where it is not divided.

    Raises:
        DataError: DATA does not exist.
    """
    top = _existing(path)
    if top.is_file():
        found = set(csv_splits(top)) if _is_table(top) else set()
    elif _cub_folder(top) is not None:
        found = {"train", "test"}
    else:
        found = set(_split_folders(top)) | {split for split in SPLITS if _described(top, split)}
        if not found and (table := top / "labels.csv").is_file():
            found = set(csv_splits(table))
    rank = {split: place for place, split in enumerate(SPLITS)}
    return tuple(sorted(found, key=lambda split: (rank.get(split, len(rank)), split))) or ("all",)


def _existing(path: str | Path) -> Path:
    top = Path(os.path.abspath(Path(path).expanduser()))
    if not top.exists():
        raise DataError(f"{top} does not exist; give a folder of photos, a COCO json or a CSV")
    if top.is_file() and not (_is_table(top) or top.suffix.lower() == ".json"):
        raise DataError(f"{top} is neither a folder nor a COCO json nor a CSV; give one of these")
    return top


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in (".csv", ".tsv")


def _cub_folder(top: Path) -> Path | None:
    return next((folder for folder in (top, top / "CUB_200_2011") if is_cub(folder)), None)


def _read(top: Path, split: str | None) -> Listing:
    known = available_splits(top)
    if known == ("all",):
        own = split_name(top.stem.removesuffix(".coco")) if top.is_file() else split_name(top.name)
        own = own if own in SPLITS else "all"
        if split in (None, "all", own):
            return _read_undivided(top, own)
    elif split is None:
        if "train" not in known and len(known) > 1:
            raise DataError(f"{top} has no training split; say which of {some(known)} is meant (--split)")
        split = "train" if "train" in known else known[0]
    if split in known:
        return _read_known(top, split)
    if split in class_folders(top):
        return _read_folder(top / split, split)  # any folder beside train/ and test/, such as photos/
    there = "it is not divided: take the split 'all'" if known == ("all",) else f"there are {some(known)}"
    raise DataError(f"{top} has no split '{split}'; {there}")


def _read_undivided(top: Path, split: str) -> Listing:
    if _is_table(top):
        return read_csv(top, split)
    if top.is_file():
        return read_coco(top, top.parent, split=split)
    beside = _split_folders(top.parent).get("train") if split in ("val", "test") else None
    return _read_folder(top, split, training=beside)


def _read_known(top: Path, split: str) -> Listing:
    """A split that DATA is known to have: of a file, the CUB archive, a folder of its own, or photos that it shares."""
    if top.is_file():
        return read_csv(top, split)
    if (archive := _cub_folder(top)) is not None:
        return read_cub(archive, split)
    folders = _split_folders(top)
    if split in folders:
        return _read_folder(folders[split], split, training=None if split == "train" else folders.get("train"))
    if (metadata := find_metadata(top, split)) is not None and (listing := read_wsol(top, metadata)) is not None:
        return listing
    if is_coco(coco := top / f"{split}.coco.json"):
        listing = read_folder(top, split=split)
        if len(listing.classes) < 2:  # a single folder such as images/ is no class
            return read_coco(coco, top, split=split)
        add_coco(listing, coco, listed_only=True)
        return listing
    if (table := top / f"{split}.csv").is_file():
        return read_csv(table, split)
    if (table := top / "labels.csv").is_file():
        return read_csv(table, split)
    raise DataError(
        f"{find_metadata(top, split)} lists no photo that exists in {top}; put the photos there or give their folder"
    )


def _read_folder(folder: Path, split: str, training: Path | None = None) -> Listing:
    """A folder that holds one split and nothing else."""
    problems = []
    metadata = find_metadata(folder, split)
    if metadata is None and split_name(folder.name) == split:  # dataset/NAME/val beside metadata/NAME/val
        metadata = find_metadata(folder.parent, split)
    if metadata is not None:
        if (listing := read_wsol(folder, metadata)) is not None:
            return listing
        problems.append(Problem(metadata, f"lists no photo that exists in {folder}; it is not used"))
    tables = (folder.parent / f"{folder.name}.csv", folder / "labels.csv")
    table = next((table for table in tables if table.is_file()), None)
    if (coco := find_coco(folder)) is None and table is not None:
        listing = read_csv(table, split)
    else:
        listing = read_folder(folder, split=split, first=class_folders(training) if training is not None else ())
        if coco is not None and listing.classes:
            add_coco(listing, coco)
        elif coco is not None:
            listing = read_coco(coco, folder, split=split, listed_only=False)
    listing.problems[:0] = problems
    return listing


def _described(top: Path, split: str) -> bool:
    """Whether DATA describes a split that has no folder of its own."""
    if split_name(top.name) in SPLITS:  # DATA is a split itself
        return False
    metadata = find_metadata(top, split)
    if metadata is not None and split_name(metadata.name) == split:
        return True
    return is_coco(top / f"{split}.coco.json") or (top / f"{split}.csv").is_file()


def _split_folders(top: Path) -> dict[str, Path]:
    """Folders called train, val or test, unless they are classes: flat folders of photos beside others."""
    children = [child for child in sorted(top.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    named = {split_name(child.name): child for child in children if split_name(child.name) in SPLITS}
    filled = {split: folder for split, folder in named.items() if has_photos(folder)}
    if any(has_photos(folder, below=True) or _described(top, split) for split, folder in filled.items()):
        return filled
    others = any(has_photos(child) for child in children if child not in named.values())
    return {} if others else filled


def _merge(top: Path, parts: list[DataSet], background_class: str) -> DataSet:
    """All splits as one data set, with ids relative to ``top``."""
    first = parts[0]
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    aligned = [align_classes(part, classes) for part in parts]
    samples = [
        dataclasses.replace(sample, id=Path(os.path.relpath(sample.path, top)).as_posix())
        for part in aligned
        for sample in part.samples
    ]
    return DataSet(
        root=top,
        classes=classes,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        split="all",
        background=find_background(classes, background_class, top),
        layout=first.layout,
        problems=tuple(problem for part in parts for problem in part.problems),
    )
