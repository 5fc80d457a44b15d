"""Fingerprints of photos, by which one evaluation recognizes the photos of another.

No photo may be measured at a threshold that it helped to choose.

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
    """Return four bytes per photo, derived from its path whether or not it exists, as sorted base64.

    >>> shared_photos(fingerprints([Path("a.jpg"), Path("b.jpg")]), fingerprints([Path("b.jpg")]))
    1
    """
    digests = [hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=4).digest() for path in paths]
    return base64.b64encode(b"".join(sorted(digests))).decode()


def shared_photos(first: str, second: str) -> int:
    """Return how many photos two :func:`fingerprints` have in common; 0 if all of them may be due to chance.

    Raises:
        ValueError: a text is not the output of :func:`fingerprints`.
    """
    one, other = (np.frombuffer(base64.b64decode(text, validate=True), np.uint32) for text in (first, second))
    common = len(np.intersect1d(one, other))
    return common if common > 10 * len(one) * len(other) / 2**32 + 0.5 else 0
