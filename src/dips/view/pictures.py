"""Photos as JPEGs for the browser: upright, scaled down, with the most recent ones cached in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2

from dips.data.images import encode_image, fitted_size, image_size, read_scaled, resize_image
from dips.errors import ImageError
from dips.view.predictions import Photo

__all__ = ["LARGE_SIDE", "SMALL_SIDE", "Pictures"]

LARGE_SIDE = 2048
"""Maximum length in pixels of the longer side of the photo that boxes are drawn on."""
SMALL_SIDE = 160
"""The same for the list of photos."""
LARGE_QUALITY, SMALL_QUALITY = 90, 80  # JPEG quality

MAX_CACHE_BYTES = 64 * 2**20
MAX_READERS = 2  # a photo of 250 million pixels that is not a JPEG needs 1.8 GB while it is read


class Pictures:
    """The photos of a prediction folder, as JPEGs.

    .. code-block:: python

        predictions = read_predictions(Path("out"))
        data = Pictures(predictions.folder).jpeg(predictions.photos[0], SMALL_SIDE)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Semaphore(MAX_READERS)

    def jpeg(self, photo: Photo, side: int) -> bytes:
        """Return the photo with no side longer than ``side`` pixels.

        Raises:
            ImageError: the photo cannot be read, or does not have the size of the predicted photo.
        """
        key = (photo.record, side)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        with self._reading:
            data = self._read(photo, side)
        with self._lock:
            self._cache[key] = data
            size = sum(map(len, self._cache.values()))
            while size > MAX_CACHE_BYTES and len(self._cache) > 1:
                size -= len(self._cache.popitem(last=False)[1])
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
        image = resize_image(read_scaled(path, photo.scale, max_side=side if max(size) > side else None), target)
        quality = SMALL_QUALITY if side <= SMALL_SIDE else LARGE_QUALITY
        return encode_image(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)
