"""Photos, downscaled and held in memory for any number of passes.

In: a source of photos, on disk or behind URLs. Out: :class:`PhotoSet`. Unreadable photos are skipped and reported.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dips.data.depth import Depth
from dips.data.images import decode_image, encode_image, fitted_size, read_image_bytes, resize_image
from dips.data.problems import left_out, reasons
from dips.data.scale import depth_of
from dips.data.sources import Fetcher, Source
from dips.errors import DataError, ImageError
from dips.shards.plan import Item
from dips.system.console import counted, track
from dips.types import Problem

__all__ = ["PhotoSet", "read_photos"]

_THREADS = 4
_QUALITY = 95
_LEAST = 2  # photos: a single one has nothing to be distinguished from


@dataclass(frozen=True)
class PhotoSet:
    """Photos in memory, as JPEGs of some 30 kB each.

    Attributes:
        encoded: the encoded photos.
        fingerprint: SHA-256 over the sorted hashes of their files.
        problems: photos that were skipped, and other problems of the source.
        skipped: number of photos that could not be read.
    """

    encoded: tuple[bytes, ...] = field(repr=False)
    fingerprint: str
    problems: tuple[Problem, ...] = ()
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Tensor:
        """Return a photo, ``(3, H, W) uint8`` RGB."""
        pixels = decode_image(self.encoded[index], cv2.IMREAD_COLOR)
        assert pixels is not None  # it was encoded by this program
        return torch.from_numpy(np.ascontiguousarray(pixels[:, :, ::-1])).permute(2, 0, 1)


def read_photos(source: Source, *, side: int, limit: int) -> PhotoSet:
    """Read photos and downscale them.

    Args:
        source: where the photos are.
        side: maximum length of a photo's longer side in memory, in pixels.
        limit: maximum number of photos, evenly spread over the source; 0 means all.

    Raises:
        DataError: fewer than two photos can be read.
    """
    items = source.spread(limit or source.count)
    depth = depth_of([item.uri for item in items], Depth())
    fetch = Fetcher()

    def read(item: Item) -> tuple[str, bytes] | Problem:
        try:
            data = fetch(item.uri)
            pixels, _ = read_image_bytes(data, item.uri, max_side=side, depth=depth)
        except ImageError as error:
            return left_out(Path(item.uri), error)
        small = resize_image(pixels, fitted_size((pixels.shape[1], pixels.shape[0]), side))
        return hashlib.sha256(data).hexdigest(), encode_image(small, ".jpg", cv2.IMWRITE_JPEG_QUALITY, _QUALITY)

    with ThreadPoolExecutor(_THREADS) as pool:
        answers = list(track(pool.map(read, items), "reading photos", total=len(items)))
    unreadable = [answer for answer in answers if isinstance(answer, Problem)]
    read_ones = [answer for answer in answers if not isinstance(answer, Problem)]
    if len(read_ones) < _LEAST:
        why = reasons(unreadable)
        raise DataError(
            f"{counted(len(read_ones), 'photo')} can be read, and an adaptation needs at least {_LEAST}; give more{why}"
        )
    fingerprint = hashlib.sha256("".join(sorted(digest for digest, _ in read_ones)).encode()).hexdigest()
    encoded = tuple(data for _, data in read_ones)
    return PhotoSet(encoded, fingerprint, (*source.problems, *unreadable), len(unreadable))
