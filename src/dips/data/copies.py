"""Photo files -> which of them have the same content under several names, and what is wrong with that.

No photo is decoded: files of the same size are compared by their last bytes, and only those that agree are read in full.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from dips.system.files import file_sha256
from dips.types import Problem, Sample, Severity

__all__ = ["content_digest", "copy_problems", "find_copies"]

_TAIL = 4096  # bytes: two different compressed photos hardly ever end alike

_Key = TypeVar("_Key", bound=Hashable)


def find_copies(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256, as hex, of each file with a copy among ``paths``; empty and unreadable files are left out.

    >>> find_copies([])
    {}
    """
    same_size = _shared((path, _size(path)) for path in paths)
    same_end = _shared((path, _end(path, size)) for path, size in same_size)
    return dict(_shared((path, content_digest(path)) for path, _ in same_end))


def copy_problems(parts: Mapping[str, Iterable[Sample]], copies: Mapping[Path, str]) -> list[Problem]:
    """Return a problem for each photo that is a copy of an earlier one; copies across splits come first.

    Args:
        parts: photos by the name of their split.
        copies: as :func:`find_copies` returns it.
    """
    first: dict[str, tuple[str, Sample]] = {}
    leaks, others = list[Problem](), list[Problem]()
    for name, samples in parts.items():
        for sample in samples:
            if (digest := copies.get(sample.path)) is None:
                continue
            part, twin = first.setdefault(digest, (name, sample))
            if part != name:
                used = "which training leaves out of val" if {part, name} == {"train", "val"} else "both are used"
                message = f"is the same photo as {twin.path} of the split {part}: a leak, {used}; remove one of the two"
                leaks.append(Problem(sample.path, message, Severity.SPOILS))
            elif set(twin.labels) != set(sample.labels):
                message = (
                    f"is the same photo as {twin.path} in another class, both are used; remove it where it does not belong, "
                    "or, if it shows both, list it once with both classes in a CSV (path,label|label)"
                )
                others.append(Problem(sample.path, message, Severity.SPOILS))
            elif twin is not sample:
                message = f"is the same photo as {twin.path}, both are used; remove one of the two"
                others.append(Problem(sample.path, message, Severity.ODD))
    return leaks + others


def _shared(items: Iterable[tuple[Path, _Key | None]]) -> list[tuple[Path, _Key]]:
    """Return the items whose key occurs more than once, in their order; the key None does not count."""
    known = [(path, key) for path, key in items if key is not None]
    counts = Counter(key for _, key in known)
    return [(path, key) for path, key in known if counts[key] > 1]


def _size(path: Path) -> int | None:
    try:
        return os.path.getsize(path) or None
    except OSError:
        return None


def _end(path: Path, size: int) -> tuple[int, bytes] | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL))
            return size, file.read(_TAIL)
    except OSError:
        return None


def content_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, as hex; None if it cannot be read, which is reported where it is decoded."""
    try:
        return file_sha256(path)
    except OSError:
        return None
