"""What photos and their results are called: paths below the folder that was predicted, and stems that no two photos share."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dips.data.photo_files import VIDEOS, list_images, unreadable_kinds
from dips.errors import DataError
from dips.system.console import log

__all__ = ["name_photos", "stems_of"]

_LONGEST = 180  # bytes of a file name; the temporary files beside it have longer ones, and 255 is the limit


def name_photos(images: Sequence[Path], *, leave_out: Path) -> tuple[dict[Path, str], str]:
    """Every photo of files and folders once, and its name: a relative path with suffix and forward slashes; below which folder.

    The folder is named by its last part alone.

    Photos below ``leave_out`` (the results) do not count.

    Raises:
        DataError: a path does not exist, or there is no photo.
    """
    found: dict[str, Path] = {}
    tops: list[str] = []
    results = os.path.abspath(leave_out) + os.sep
    for given in images:
        if not given.exists():
            raise DataError(f"{given} does not exist; give photos or folders of photos")
        if given.suffix.lower() in VIDEOS and given.is_file():
            raise DataError(f"{given} is a video; 'dips stream' finds the boxes of its frames")
        tops.append(os.path.abspath(given if given.is_dir() else given.parent))
        for path in list_images(given) if given.is_dir() else [given]:
            absolute = os.path.abspath(path)
            if not absolute.startswith(results):
                found.setdefault(absolute, path)
    if not found:
        places = ", ".join(map(str, images))
        raise DataError(f"there are no photos in {places}; JPEG, PNG, BMP, WebP and TIFF files count")
    _tell_others(images)
    try:
        top = os.path.commonpath(tops)
    except ValueError:  # two drives of Windows
        return {path: PurePosixPath(*Path(absolute).parts[1:]).as_posix() for absolute, path in found.items()}, ""
    return {path: Path(os.path.relpath(absolute, top)).as_posix() for absolute, path in found.items()}, Path(top).name


def _tell_others(images: Sequence[Path]) -> None:
    others = [name for given in images if given.is_dir() for name in unreadable_kinds(given)]
    if others:
        more = ", ..." if len(others) > 3 else ""
        names = f"{', '.join(others[:3])}{more} ({len(others)} of kinds that are not read)"
        log(f"not looked at: {names}; convert photos to JPEG, give videos to 'dips stream'")


def stems_of(names: Mapping[Path, str]) -> dict[Path, str]:
    """Paths of results without suffix, different also on disks that see no difference between A and a."""
    bare = {path: name.removesuffix(PurePosixPath(name).suffix) for path, name in names.items()}
    counts = Counter(_folded(stem) for stem in bare.values())
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    for path, stem in bare.items():
        chosen = stem if counts[_folded(stem)] == 1 else names[path]
        last = PurePosixPath(chosen).name
        if _folded(chosen) in taken or len(os.fsencode(last)) > _LONGEST:
            digest = hashlib.sha256(names[path].encode("utf-8", "surrogateescape")).hexdigest()[:12]
            chosen = PurePosixPath(chosen).with_name(f"{last[:40]}-{digest}").as_posix()
        taken.add(_folded(chosen))
        stems[path] = chosen
    return stems


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
