"""A folder of photos, one folder per class or all in one -> :class:`~dips.data.listing.Listing`.

The class of a photo is the name of the top-level folder it lies in, however deep it lies there.
"""

from __future__ import annotations

from pathlib import Path

from dips.data.listing import Entry, Listing, some
from dips.data.photo_files import SKIPPED_FOLDERS, list_images, walk_images
from dips.types import Problem

__all__ = ["class_folders", "has_photos", "read_folder"]


def read_folder(folder: Path, *, split: str = "all", first: tuple[str, ...] = ()) -> Listing:
    """Read all photos below ``folder``.

    Photos beside class folders are left out; without class folders all photos are taken and have no class. Folders without
    photos are reported and are not classes.

    Args:
        folder: ids are relative to it.
        split: its name.
        first: classes that come first in label order, those of the training split; the others follow, sorted.
    """
    files = list_images(folder)
    paths = [file.relative_to(folder).parts for file in files]
    names = {path[0] for path in paths if len(path) > 1}
    listing = Listing(folder, "folder", [], [], split)
    for file, path in zip(files, paths, strict=True):
        if len(path) > 1 or not names:
            listing.entries.append(Entry(file, "/".join(path), path[0] if names else None))
    if not names:
        return listing
    new = sorted(names - set(first))
    listing.classes = [*first, *new]
    if loose := [path[0] for path in paths if len(path) == 1]:
        message = f"{len(loose)} photos lie outside of the class folders and are left out: {some(loose, 3)}"
        listing.problems.append(Problem(folder, message))
    for name in sorted(set(_subfolders(folder)) - names - {"metadata"}):
        if any((folder / name).glob("*.json")) and name.casefold().startswith("annotation"):
            continue
        listing.problems.append(Problem(folder / name, "no photos in this folder; it is not a class"))
    for name in new if first else ():
        listing.problems.append(Problem(folder / name, f"the training split has no class '{name}'"))
    return listing


def has_photos(folder: Path, *, below: bool = False) -> bool:
    """Return whether a photo lies in or below ``folder``; with ``below``, only photos in its subfolders count."""
    return any(not below or len(path) > 1 for path in walk_images(folder))


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders directly in ``folder`` that hold photos, sorted."""
    return tuple(sorted(name for name in _subfolders(folder) if has_photos(folder / name)))


def _subfolders(folder: Path) -> list[str]:
    entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    return [entry.name for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED_FOLDERS]
