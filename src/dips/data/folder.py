"""A folder of photos, one folder per class or all in one -> :class:`~dips.data.listing.Listing`.

The class of a photo is the name of the folder directly below the given one, however deep the photo lies in it.
"""

from __future__ import annotations

from pathlib import Path

from dips.data.listing import Entry, Listing, some
from dips.data.photo_files import SKIPPED_FOLDERS, list_images, walk_images
from dips.types import Problem

__all__ = ["class_folders", "has_photos", "read_folder"]


def read_folder(folder: Path, *, split: str = "all", first: tuple[str, ...] = ()) -> Listing:
    """All photos below ``folder``.

    Photos that lie beside class folders are left out; without any class folder all photos are taken, with no class. Class
    folders without photos are reported and are no classes.

    Args:
        folder: what the ids will be relative to.
        split: its name.
        first: classes that come first in label order, those of the training split; the others follow, sorted.
    """
    files = list_images(folder)
    parts = [file.relative_to(folder).parts for file in files]
    found = {inside[0] for inside in parts if len(inside) > 1}
    problems = []
    if found:
        loose = ["/".join(inside) for inside in parts if len(inside) == 1]
        if loose:
            message = f"{len(loose)} photos lie outside of the class folders and are left out: {some(loose, 3)}"
            problems.append(Problem(folder, message))
        for empty in sorted(set(_subfolders(folder)) - found - {"metadata"}):
            problems.append(Problem(folder / empty, "no photos in this folder; it is not taken as a class"))
        for name in sorted(found - set(first)) if first else ():
            problems.append(Problem(folder / name, f"the training split has no class '{name}'"))
    entries = [
        Entry(path=file, id="/".join(inside), name=inside[0] if found else None)
        for file, inside in zip(files, parts, strict=True)
        if len(inside) > 1 or not found
    ]
    classes = [*first, *sorted(found - set(first))] if found else []
    return Listing(root=folder, layout="folder", entries=entries, classes=classes, split=split, problems=problems)


def has_photos(folder: Path, *, below: bool = False) -> bool:
    """Whether a photo lies in ``folder``, or with ``below`` in one of its own folders."""
    return any(not below or len(inside) > 1 for inside in walk_images(folder))


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the folders directly in ``folder`` that hold photos, sorted."""
    return tuple(sorted(name for name in _subfolders(folder) if has_photos(folder / name)))


def _subfolders(folder: Path) -> list[str]:
    skipped = {entry.name for entry in folder.iterdir() if entry.name.startswith(".")} | SKIPPED_FOLDERS
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name not in skipped]
