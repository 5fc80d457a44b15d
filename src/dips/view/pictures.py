"""Photos as JPEGs that a browser shows: upright, scaled down, the last ones kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2

from dips.data.images import fitted_size, image_size, read_image, resize_image
from dips.errors import ImageError
from dips.view.predictions import Photo

__all__ = ["LARGE", "SMALL", "Pictures"]

LARGE = 2048
"""Pixels of the longer side of the photo that boxes are drawn on, at most."""
SMALL = 160
"""The same for the list of photos."""

_KEPT = 64 * 2**20  # bytes
_AT_ONCE = 2  # a photo of 250 million pixels that is no JPEG needs 1.8 GB while it is read


class Pictures:
    """The photos of a prediction folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Semaphore(_AT_ONCE)

    def jpeg(self, photo: Photo, side: int) -> bytes:
        """The photo with no side longer than ``side`` pixels.

        Raises:
            ImageError: it cannot be read, or is not as large as it was when it was predicted.
        """
        key = (photo.record, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._reading:
            data = self._read(photo, side)
        with self._lock:
            self._kept[key] = data
            held = sum(map(len, self._kept.values()))
            while held > _KEPT and len(self._kept) > 1:
                held -= len(self._kept.popitem(last=False)[1])
        return data

    def _read(self, photo: Photo, side: int) -> bytes:
        path = photo.locate(self._folder)
        size = image_size(path)
        if size != (photo.width, photo.height):
            raise ImageError(
                f"{path} has {size[0]} x {size[1]} pixels, but had {photo.width} x {photo.height} when it was predicted; "
                "predict it again"
            )
        target = fitted_size(size, side)
        image = resize_image(read_image(path, max_side=side if max(size) > side else None), target)
        done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90 if side > SMALL else 80])
        if not done:
            raise ImageError(f"{path} cannot be shown as a JPEG ({target[0]} x {target[1]} pixels)")
        return data.tobytes()
