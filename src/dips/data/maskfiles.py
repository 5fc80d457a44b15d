"""True masks -> pixels. In: the image files that a :class:`~dips.types.Sample` names. Out: ``(H, W) uint8`` of 0, 1, 255."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import DataError, ImageError
from dips.types import Sample

__all__ = ["read_mask"]


def read_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The photo's true mask ``(height, width)`` in a frame of ``size`` = (width, height), nearest neighbour.

    1 is the union of its objects, 255 what is ignored and no object, 0 the background.

    Raises:
        DataError: the sample has no mask, or one of its files is missing.
        ImageError: a file is no image that can be read.
    """
    if not sample.masks:
        raise DataError(f"{sample.id}: its true mask is not known; name the files of its masks in localization.txt")
    inside = _read(sample.masks[0], size)
    for file in sample.masks[1:]:
        inside |= _read(file, size)
    mask = inside.astype(np.uint8)
    if sample.ignore is not None:
        mask[_read(sample.ignore, size) & ~inside] = 255
    return mask


def _read(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; put the mask there or take it out of localization.txt") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror or error}") from error
    try:
        # the depth is kept, as 16 bits cut down to 8 would make 0 of the values below 256
        grey = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # an empty file, or one that claims too many pixels
        grey = None
    if grey is None:
        raise ImageError(f"{path} is not a mask that can be read (PNG); save it again")
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST) > 0.5)
