"""A folder -> the photo files below it.

Hidden files and folders are skipped, and so are the folders that archives, network drives and Windows leave behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dips.errors import DataError

__all__ = ["SKIPPED_FOLDERS", "SUFFIXES", "VIDEOS", "gather_images", "list_images", "unreadable_kinds", "walk_images"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Suffixes of photos, in lower case."""

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".ts"})
"""Suffixes of videos, in lower case."""

SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})
"""Names of folders that archives, network drives and Windows make."""

_OTHER_PICTURES = {".heic", ".heif", ".avif", ".gif", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".rw2", ".orf", ".jp2"}


def list_images(folder: str | Path) -> list[Path]:
    """Return all photos below ``folder``, sorted by path; links are followed.

    Raises:
        DataError: ``folder`` is not a folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f"{top} is not a folder; give a folder with photos")
    return [top.joinpath(*parts) for parts in sorted(walk_images(top))]


def gather_images(photos: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the files of a photo, of all photos below a folder, or of several of these.

    Raises:
        DataError: there are no photos.
    """
    items = [Path(photos)] if isinstance(photos, str | Path) else list(map(Path, photos))
    paths = [path for item in items for path in (list_images(item) if item.is_dir() else [item])]
    if not paths:
        raise DataError(f"no photo in {', '.join(map(str, items)) or 'an empty list'}; give photos or folders with photos")
    return paths


def walk_images(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the path of every photo below ``folder``, relative to it.

    Photos directly in ``folder`` come first, otherwise the order is arbitrary. ``suffixes`` are those of the files to find, in
    lower case.
    """
    visited: set[str] = set()  # a link to a parent folder would never end
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS]
        inside = Path(current).relative_to(folder).parts
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield (*inside, name)


def unreadable_kinds(folder: Path) -> list[str]:
    """Return the names of videos and of pictures in unsupported formats below ``folder``, sorted."""
    return ["/".join(parts) for parts in sorted(walk_images(folder, VIDEOS | _OTHER_PICTURES))]
