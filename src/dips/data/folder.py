"""A folder of photos, one folder per class or all in one -> :class:`~dips.data.listing.Listing`.

The class of a photo is the name of the top-level folder that contains it, at any depth.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dips.data.listing import Entry, Listing
from dips.data.photo_files import SKIPPED_FOLDERS, find_images, has_photos
from dips.data.signatures import TO_JPEG
from dips.system.console import counted
from dips.system.names import some
from dips.types import Problem, Severity

__all__ = ["class_folders", "read_folder"]


def read_folder(folder: Path, *, split: str = "all", first: tuple[str, ...] = (), described: bool = False) -> Listing:
    """Read all photos below ``folder``.

    Photos beside class folders are left out; without class folders, all photos are used and have no class. Folders without
    photos are reported and are not classes. A class folder whose files are all left out is a problem that stops training.

    Args:
        folder: ids are relative to it.
        split: name of the split.
        first: classes that come first in label order, those of the training split; the others follow, sorted.
        described: a file lists the photos, so that not every folder needs to be a class.
    """
    found = find_images(folder)
    files = found.photos
    paths = [file.relative_to(folder).parts for file in files]
    names = {path[0] for path in paths if len(path) > 1}
    listing = Listing(folder, "folder", [], [], split, problems=list(found.problems))
    if names and not described:
        listing.problems = [
            _lost_class(problem, found.left_out[name])
            if (name := problem.path.name) in found.left_out.keys() - names and problem.path.parent == folder
            else problem
            for problem in found.problems
        ]
    for file, path in zip(files, paths, strict=True):
        if len(path) > 1 or not names:
            listing.entries.append(Entry(file, "/".join(path), path[0] if names else None))
    if not names:
        return listing
    new = sorted(names - set(first))
    listing.classes = [*first, *new]
    if loose := [path[0] for path in paths if len(path) == 1]:
        message = (
            f"{counted(len(loose), 'photo', 'lies')} outside of the class folders, left out: {some(loose, 3)}; "
            f"move {'it into the folder of its class' if len(loose) == 1 else 'each into the folder of its class'}"
        )
        listing.problems.append(Problem(folder, message, files=len(loose)))
    told = {problem.path.name for problem in found.problems}
    for name in sorted(set(_subfolders(folder)) - names - told - {"metadata"}):
        if any((folder / name).glob("*.json")) and name.casefold().startswith("annotation"):
            continue
        message = "no photos in this folder; it is not a class"
        listing.problems.append(Problem(folder / name, message, Severity.NOTE))
    for name in new if first else ():
        listing.problems.append(Problem(folder / name, f"the training split has no class '{name}'"))
    return listing


def _lost_class(problem: Problem, files: str) -> Problem:
    message = (
        f"class '{problem.path.name}' has no photo that can be read ({files}); convert these {TO_JPEG}, "
        "or move the folder out of DATA to go on without this class"
    )
    return dataclasses.replace(problem, message=message, severity=Severity.STOPS)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders directly in ``folder`` that hold photos, sorted."""
    return tuple(sorted(name for name in _subfolders(folder) if has_photos(folder / name)))


def _subfolders(folder: Path) -> list[str]:
    entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    return [entry.name for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED_FOLDERS]
