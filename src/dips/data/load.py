"""DATA as given by the user -> :class:`~dips.types.DataSet`: which split is meant, and which reader understands its photos.

The first description that exists counts: WSOL metadata, COCO json, CSV, Label Studio, the folders alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dips.data.coco import add_coco, read_coco
from dips.data.coco_files import annotation_files, find_coco, unused_files
from dips.data.coco_json import parse_coco
from dips.data.csv_columns import CLASS_COLUMNS
from dips.data.csv_table import csv_splits, read_csv
from dips.data.cub import find_cub, read_cub
from dips.data.folder import class_folders, read_folder
from dips.data.labels import align_classes, find_background, without_contradictions
from dips.data.labelstudio import find_labelstudio, is_labelstudio, read_labelstudio
from dips.data.listing import SPLITS, Listing, assemble, split_name
from dips.data.locate import photos_of, subset_name
from dips.data.photo_files import find_images, has_photos
from dips.data.wsol import find_metadata, read_wsol
from dips.errors import DataError
from dips.system.names import some
from dips.types import DataSet, Problem, Severity

__all__ = ["available_splits", "load_data", "require_divided", "require_split"]

Reader = Callable[[], Listing]

_TABLES = ("labels.csv", CLASS_COLUMNS, "_annotations.csv")  # the last two are Roboflow's names


def load_data(
    path: str | Path,
    *,
    split: str | None = None,
    background_class: str = "auto",
    label_column: str = "",
    strict: bool = True,
) -> DataSet:
    """Read what is known about the photos of DATA; no photo is opened.

    DATA is a folder of photos or one folder per class, ``train/ val/ test/`` of those (with WSOL metadata in ``metadata/``,
    or with ``train.coco.json`` or ``train.csv`` beside each), the unpacked CUB-200-2011 archive, a COCO json (in a folder also
    ``annotations/instances_NAME.json`` beside ``images/NAME/``, ``NAME/`` or ``images/``), a CSV of path,label (in a folder,
    ``labels.csv``), or the tasks of Label Studio (in a folder, its only such file).

    Labels follow the training split, also for the other splits: its classes in sorted order (WSOL and CUB: their own
    numbers), then any class that only this split has. A data set from elsewhere may have other classes than a model:
    :func:`~dips.data.labels.align_classes` matches them by name. Ids are relative to the split's own folder if it has one.

    Args:
        path: DATA, or one of its splits.
        split: ``train``, ``val``, ``test``, ``all`` or the name of any other folder in DATA. None means DATA itself if it is
            not divided, else its training split.
        background_class: name of the class without object; ``auto`` finds one called none or background, empty means that
            there is none.
        label_column: name of the column of a CSV, or of the question of Label Studio, that holds the class; empty to find it.
        strict: raise an error for a class without a photo that can be read; otherwise it is among the problems.

    Raises:
        DataError: nothing is there, the split or the background class is unknown, or an annotation file is malformed.
    """
    top = _existing(path)
    split = None if split is None else split_name(split)
    readers = _split_readers(top, label_column)
    if split == "all" and readers:
        parts = [assemble(read(), "") for read in readers.values()]
        dataset = _merge(top if top.is_dir() else top.parent, parts, background_class)
    else:
        dataset = assemble(_reader(top, split, readers, label_column)(), background_class)
    if strict and (stops := [p for p in dataset.problems if p.severity is Severity.STOPS]):
        raise DataError("; ".join(f"{problem.path}: {problem.message}" for problem in stops))
    return dataset


def available_splits(path: str | Path) -> tuple[str, ...]:
    """Return the splits of DATA in the order train, val, test, others; ``("all",)`` if it is not divided.

    Raises:
        DataError: DATA does not exist.
    """
    return tuple(_split_readers(_existing(path))) or ("all",)


def require_divided(path: str | Path) -> None:
    """Check that DATA has parts, one to learn from and another to measure on.

    Raises:
        DataError: it has none, or does not exist.
    """
    if available_splits(path) == ("all",):
        raise DataError(f"{path} is not divided into parts; to compare methods give the folder that holds train/ and test/")


def require_split(path: str | Path, split: str | None = None) -> None:
    """Check that DATA is there and has the split, without listing its photos.

    Raises:
        DataError: as for :func:`load_data`.
    """
    top = _existing(path)
    readers = _split_readers(top)
    if not (readers and split == "all"):
        _reader(top, None if split is None else split_name(split), readers, "")


def _existing(path: str | Path) -> Path:
    top = Path(os.path.abspath(Path(path).expanduser()))
    if not top.exists():
        raise DataError(f"{top} does not exist; give a folder of photos, a COCO json, a CSV or the JSON of Label Studio")
    if top.is_file() and not (_is_table(top) or top.suffix.lower() == ".json"):
        raise DataError(f"{top} is neither a folder nor a COCO json, a CSV or the JSON of Label Studio; give one of these")
    return top


def _is_table(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in (".csv", ".tsv")


def _split_readers(top: Path, label_column: str = "") -> dict[str, Reader]:
    """Return the reader of each split of DATA, in the order train, val, test, others; nothing if it is not divided."""
    readers: dict[str, Reader] = {}
    if top.is_dir():
        if (archive := find_cub(top)) is not None:
            return {split: partial(read_cub, archive, split) for split in ("train", "test")}
        folders = _split_folders(top)
        for split in SPLITS:
            if split in folders:
                readers[split] = partial(_read_photos, folders[split], split, label_column, training=folders.get("train"))
            elif _is_described(top, split):
                readers[split] = partial(_read_photos, top, split, label_column, shared=True)
    table = top if _is_table(top) else top / "labels.csv"
    if not readers and _is_table(table):
        names = sorted(csv_splits(table), key=_split_order)
        read = partial(read_csv, top) if table is top else partial(_read_photos, top, shared=True)
        readers = {name: partial(read, split=name, label_column=label_column) for name in names}
    if not readers and top.is_dir():
        parts = annotation_files(top)
        if len(parts) > 1 or not parts.keys().isdisjoint(SPLITS):
            readers = {name: partial(_read_part, parts[name], name, label_column) for name in sorted(parts, key=_split_order)}
    return readers


def _split_order(name: str) -> tuple[int, str]:
    return SPLITS.index(name) if name in SPLITS else len(SPLITS), name


def _reader(top: Path, split: str | None, readers: dict[str, Reader], label_column: str) -> Reader:
    """Return the reader of one split of DATA."""
    if not readers:
        name = subset_name(top) if top.is_file() else split_name(top.name)
        name = name if name in SPLITS else "all"
        if split in (None, "all", name):
            return partial(_read_undivided, top, name, label_column)
    elif split is None:
        if "train" not in readers and len(readers) > 1:
            raise DataError(f"{top} has no training split; choose one of {some(readers)} (--split)")
        split = "train" if "train" in readers else next(iter(readers))
    if split in readers:
        return readers[split]
    if split is not None and top.is_dir() and split in class_folders(top):
        return partial(_read_photos, top / split, split, label_column)  # any folder beside train/ and test/, such as photos/
    available = (
        f"there are {some(readers)}" if readers else "it is not divided into train/, test/ ...: take all of it, --split all"
    )
    raise DataError(f"{top} has no split '{split}'; {available}")


def _read_undivided(top: Path, split: str, label_column: str) -> Listing:
    if _is_table(top):
        return read_csv(top, split, label_column=label_column)
    if top.is_file() and is_labelstudio(top):
        return read_labelstudio(top, photos_of(top), split=split, label_column=label_column)
    if top.is_file():
        return read_coco(parse_coco(top), photos_of(top), split=split)
    training = _split_folders(top.parent).get("train") if split in ("val", "test") else None
    return _read_photos(top, split, label_column, training=training)


def _read_part(path: Path, split: str, label_column: str) -> Listing:
    """Read the photos of one of several COCO files in ``annotations/``."""
    folder = photos_of(path)
    if folder == path.parent.parent:  # class folders beside annotations/
        return _read_photos(folder, split, label_column, shared=True, coco=path)
    return read_coco(parse_coco(path), folder, split=split, listed_only=split_name(folder.name) != split)


def _read_photos(
    folder: Path,
    split: str,
    label_column: str = "",
    *,
    training: Path | None = None,
    shared: bool = False,
    coco: Path | None = None,
) -> Listing:
    """Read a folder of photos by the first description of it that fits.

    Args:
        folder: the photos.
        split: their split.
        label_column: name of the class column of a CSV.
        training: folder of the training split, whose classes come first.
        shared: the folder also holds other splits, so that only the photos that the description lists count.
        coco: their COCO file; None to look for one.
    """
    metadata = find_metadata(folder, split)
    if metadata is None and split_name(folder.name) == split:  # dataset/NAME/val beside metadata/NAME/val
        metadata = find_metadata(folder.parent, split)
    if metadata is not None and (wsol := read_wsol(metadata, folder)) is not None:
        return wsol.listing()
    if shared:
        coco = path if (path := folder / f"{split}.coco.json").is_file() else coco
        tables = [folder / f"{split}.csv", folder / "labels.csv"]
    else:
        coco = find_coco(folder)
        tables = [folder.parent / f"{folder.name}.csv", *(folder / name for name in _TABLES)]
    table = next((table for table in tables if table.is_file()), None)
    if coco is None and table is not None:
        listing = read_csv(table, split, label_column=label_column)
    elif coco is None and shared:
        raise DataError(f"{metadata} lists no photo that exists in {folder}; put the photos there or give their folder")
    else:
        first = class_folders(training) if training not in (None, folder) else ()
        listing = read_folder(folder, split=split, first=first, described=coco is not None)
        tasks = find_labelstudio(folder) if coco is None and len(listing.classes) < 2 else None
        if tasks is not None:
            listing = read_labelstudio(tasks, folder, split=split, label_column=label_column, listed_only=False)
        elif coco is None:
            listing.problems += unused_files(folder, tables=not listing.classes)
        elif (described := _describe(listing, coco, shared=shared)) is not listing:
            listing = described
            listing.problems += find_images(folder).problems
        if coco is not None and table is not None and not shared:
            message = (
                f"not used, as {coco.name} describes the same photos; to use it, give the file itself in place of its folder"
            )
            listing.problems.append(Problem(table, message, Severity.NOTE))
    if metadata is not None:
        listing.problems.insert(
            0, Problem(metadata, f"lists no photo that exists in {folder} and is not used; correct its ids, or move it away")
        )
    return listing


def _describe(listing: Listing, coco: Path, *, shared: bool) -> Listing:
    """Return the photos of a folder as a COCO file describes them, by class folders if there are any."""
    data, folder = parse_coco(coco), listing.root
    inside = photos_of(coco) if coco.is_relative_to(folder) else folder
    if inside != folder and inside.is_relative_to(folder):  # images/ beside annotations/
        return read_coco(data, inside, split=listing.split, listed_only=False)
    # a single folder, such as images/, is not a class unless it has the name of one
    if len(listing.classes) > 1 or (not shared and listing.classes and listing.classes[0] in data.categories):
        add_coco(listing, data, listed_only=shared)
        return listing
    return read_coco(data, folder, split=listing.split, listed_only=shared)


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
    filled = {split: folder for split, folder in named.items() if has_photos(folder) or find_images(folder).left_out}
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
    merged = DataSet(
        root=top,
        classes=classes,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        split="all",
        background=find_background(classes, background_class, top),
        layout=parts[0].layout,
        problems=tuple(problem for part in parts for problem in part.problems),
    )
    return without_contradictions(merged)
