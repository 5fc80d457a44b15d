"""A folder of photos, one folder per class or all in one -> :class:`~dips.data.listing.Listing`.

The class of a photo is the name of the top-level folder it lies in, however deep it lies there.
"""

from __future__ import annotations

from pathlib import Path

from dips.data.listing import Entry, Listing, some
from dips.data.photo_files import SKIPPED_FOLDERS, find_images, has_photos
from dips.errors import DataError
from dips.system.console import counted
from dips.types import Problem

__all__ = ["class_folders", "read_folder"]


def read_folder(folder: Path, *, split: str = "all", first: tuple[str, ...] = (), described: bool = False) -> Listing:
    """Read all photos below ``folder``.

    Photos beside class folders are left out; without class folders all photos are taken and have no class. Folders without
    photos are reported and are not classes.

    Args:
        folder: ids are relative to it.
        split: its name.
        first: classes that come first in label order, those of the training split; the others follow, sorted.
        described: a file lists the photos, so that not every folder needs to be a class.

    Raises:
        DataError: a class folder holds nothing but files that are left out.
    """
    found = find_images(folder)
    files = found.photos
    paths = [file.relative_to(folder).parts for file in files]
    names = {path[0] for path in paths if len(path) > 1}
    listing = Listing(folder, "folder", [], [], split, problems=list(found.problems))
    lost = [f"{folder / name}: {what}" for name, what in found.left_out.items() if name and name not in names]
    if names and not described and lost:
        raise DataError(f"no photo that can be read in {some(lost)}; convert these to JPEG or PNG, or move the folder away")
    for file, path in zip(files, paths, strict=True):
        if len(path) > 1 or not names:
            listing.entries.append(Entry(file, "/".join(path), path[0] if names else None))
    if not names:
        return listing
    new = sorted(names - set(first))
    listing.classes = [*first, *new]
    if loose := [path[0] for path in paths if len(path) == 1]:
        message = f"{counted(len(loose), 'photo', 'lies')} outside of the class folders, left out: {some(loose, 3)}"
        listing.problems.append(Problem(folder, message))
    told = {problem.path.name for problem in found.problems}
    for name in sorted(set(_subfolders(folder)) - names - told - {"metadata"}):
        if any((folder / name).glob("*.json")) and name.casefold().startswith("annotation"):
            continue
        listing.problems.append(Problem(folder / name, "no photos in this folder; it is not a class"))
    for name in new if first else ():
        listing.problems.append(Problem(folder / name, f"the training split has no class '{name}'"))
    return listing


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders directly in ``folder`` that hold photos, sorted."""
    return tuple(sorted(name for name in _subfolders(folder) if has_photos(folder / name)))


def _subfolders(folder: Path) -> list[str]:
    entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    return [entry.name for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED_FOLDERS]
