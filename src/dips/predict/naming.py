"""Names of photos and their results: paths below the folder that was predicted, and stems that no two photos share."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dips.data.listing import reasons
from dips.data.photo_files import VIDEOS, expand, find_images
from dips.data.signatures import KINDS
from dips.errors import DataError
from dips.system.console import log
from dips.system.files import as_text
from dips.types import Problem

__all__ = ["name_photos", "stems_of", "texts_of"]

MAX_NAME_BYTES = 180  # of a file; temporary files beside it have longer names, and 255 is the limit


def name_photos(images: Sequence[Path], *, leave_out: Path) -> tuple[dict[Path, str], str, list[Problem]]:
    """Find the photos in files and folders, and name each by its path below the deepest folder that holds all of them.

    Args:
        images: photos, and folders that are searched with all their subfolders; stars stand for the files that fit.
        leave_out: a folder whose photos do not count, as it holds the results.

    Returns:
        each photo once, with its name: a relative path with suffix and forward slashes; the last part of the folder's path; and
        what else lies there, which is left out.

    Raises:
        DataError: a path does not exist, or there is no photo.
    """
    photos: dict[str, Path] = {}
    tops: list[str] = []
    results = os.path.abspath(leave_out) + os.sep
    left_out: list[Problem] = []
    for item in expand(images):
        if not item.exists():
            raise DataError(f"{item} does not exist; give photos or folders of photos")
        if item.suffix.lower() in VIDEOS and item.is_file():
            raise DataError(f"{item} is a video; 'dips stream' finds the boxes of its frames")
        tops.append(os.path.abspath(item if item.is_dir() else item.parent))
        found = find_images(item) if item.is_dir() else None
        for path in [item] if found is None else found.photos:
            absolute = os.path.abspath(path)
            if not absolute.startswith(results):
                photos.setdefault(absolute, path)
        left_out += () if found is None else (p for p in found.problems if os.path.abspath(p.path) + os.sep != results)
    if not photos:
        raise DataError(
            f"there are no photos in {', '.join(map(str, images))}; these kinds are read: {KINDS}{reasons(left_out, *images)}"
        )
    try:
        top = os.path.commonpath(tops)
    except ValueError:  # two drives of Windows
        names = {path: PurePosixPath(*Path(absolute).parts[1:]).as_posix() for absolute, path in photos.items()}
        return names, "", left_out
    names = {path: Path(os.path.relpath(absolute, top)).as_posix() for absolute, path in photos.items()}
    return names, Path(top).name, left_out


def stems_of(names: Mapping[Path, str]) -> dict[Path, str]:
    """Return for each photo the path of its results without suffix; they differ even on disks that do not tell A from a.

    >>> photos = ("a.jpg", "a.png", "b.jpg")
    >>> list(stems_of({Path(name): name for name in photos}).values())
    ['a.jpg', 'a.png', 'b']
    """
    bare = {path: name.removesuffix(PurePosixPath(name).suffix) for path, name in names.items()}
    counts = Counter(_folded(stem) for stem in bare.values())
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    for path, stem in bare.items():
        chosen = stem if counts[_folded(stem)] == 1 else names[path]
        last = PurePosixPath(chosen).name
        if _folded(chosen) in taken or len(os.fsencode(last)) > MAX_NAME_BYTES:
            chosen = PurePosixPath(chosen).with_name(f"{last[:40]}-{_digest(names[path])}").as_posix()
        taken.add(_folded(chosen))
        stems[path] = chosen
    return stems


def texts_of(names: Mapping[Path, str]) -> dict[Path, str]:
    """Return the names as text, see :func:`~dips.system.files.as_text`, which stay different; say which ones are spelled.

    >>> list(texts_of({Path("a"): "M%FChle.jpg", Path("b"): "1.jpg"}).values())
    ['M%FChle.jpg', '1.jpg']
    """
    texts = {path: as_text(name) for path, name in names.items()}
    spelled = [path for path, name in names.items() if _is_bytes(name)]
    taken = {name for path, name in names.items() if path not in set(spelled)} if spelled else set()
    for path in spelled:
        if texts[path] in taken:
            whole = PurePosixPath(texts[path])
            texts[path] = whole.with_name(f"{whole.stem}-{_digest(names[path])}{whole.suffix}").as_posix()
    if spelled:
        log(
            f"{len(spelled)} names are not UTF-8 text, such as {texts[spelled[0]]}: so results call them inside, but their "
            "files have the photos' own names"
        )
    return texts


def _is_bytes(name: str) -> bool:
    """Return whether a name is none that UTF-8 can hold."""
    try:
        os.fsencode(name).decode()
    except ValueError:
        return True
    return False


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
