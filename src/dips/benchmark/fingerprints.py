"""Fingerprints of photos, by which one evaluation knows the photos of another.

No photo may help to choose a threshold that it is measured at.

In: paths. Out: text for JSON, four bytes per photo.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

__all__ = ["fingerprints", "shared_photos"]


def fingerprints(paths: Iterable[Path]) -> str:
    """Return four bytes per photo, which follow from where it lies, or would lie, as sorted base64.

    >>> shared_photos(fingerprints([Path("a.jpg"), Path("b.jpg")]), fingerprints([Path("b.jpg")]))
    1
    """
    digests = [hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=4).digest() for path in paths]
    return base64.b64encode(b"".join(sorted(digests))).decode()


def shared_photos(first: str, second: str) -> int:
    """Return how many photos two :func:`fingerprints` have in common; 0 where chance may account for all of them.

    Raises:
        ValueError: not what :func:`fingerprints` returns.
    """
    one, other = (np.frombuffer(base64.b64decode(text, validate=True), np.uint32) for text in (first, second))
    common = len(np.intersect1d(one, other))
    return common if common > 10 * len(one) * len(other) / 2**32 + 0.5 else 0
