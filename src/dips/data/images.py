"""Photo files -> pixels, and pixels -> image files.

In: JPEG, PNG, BMP, WebP, TIFF, GIF or PPM files as cameras, phones, drones and annotation tools write them. Out: ``HWC uint8
RGB``, rotated according to the EXIF orientation, so that all coordinates refer to the photo as a person sees it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops

from dips.data.deep import deep_to_rgb, is_deep
from dips.data.depth import Depth, Scale, Shown
from dips.data.pillow import (
    as_stored,
    large_allowed,
    on_white,
    open_file,
    open_image,
    orientation_of,
    require_pixels,
    tiff_tags,
    unreadable,
)
from dips.errors import ImageError

__all__ = [
    "ByteImage",
    "copy_rows",
    "decode_image",
    "encode_image",
    "fitted_size",
    "image_size",
    "is_plain",
    "median_side",
    "picture_pixels",
    "read_bytes",
    "read_image",
    "read_image_bytes",
    "read_scaled",
    "read_shown",
    "resize_image",
]

ByteImage = NDArray[np.uint8]

_ROWS = 256  # copied at a time
_AUTO = Depth()


def read_image(path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO) -> ByteImage:
    """Read a photo as ``(H, W, 3) uint8 RGB`` in [0, 255], EXIF rotation applied.

    Transparent photos are composited on white. CMYK is converted without a colour profile; of an animation the first frame
    is read.

    Args:
        path: the file.
        max_side: the side of the largest square that the photo will be resized to. A JPEG several times as large is then
            decoded at 1/2, 1/4 or 1/8 of its size, with neither side below ``max_side``, which is several times faster.
            The result is then smaller than the photo: :func:`image_size` returns the photo's own size.
        depth: how values of more than 8 bits are reduced to 8.

    Raises:
        ImageError: the file is missing, damaged, truncated, not a photo, or has more than ``MAX_PIXELS`` pixels.
    """
    return read_shown(path, max_side=max_side, depth=depth)[0]


def read_scaled(path: str | Path, scale: Scale | None, *, max_side: int | None = None) -> ByteImage:
    """Read a photo as it was shown before, with the same scale of values; without a scale, as :func:`read_image` does."""
    return read_image(path, max_side=max_side, depth=Depth.at(scale))


def read_shown(path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO) -> tuple[ByteImage, Shown | None]:
    """Read a photo as :func:`read_image` does; also return how it was reduced to 8 bits, None if it had no more."""
    return read_image_bytes(read_bytes(path), path, max_side=max_side, depth=depth)


def read_bytes(path: str | Path) -> bytes:
    """Read the file of a photo.

    Raises:
        ImageError: it is missing, or cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from error


def read_image_bytes(
    data: bytes, path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO
) -> tuple[ByteImage, Shown | None]:
    """Read a photo from the bytes of its file, as :func:`read_shown` does; ``path`` is only used in error messages."""
    try:
        with open_image(BytesIO(data)) as image:
            if is_deep(image):
                return deep_to_rgb(image, data, depth)
            if max_side is not None:
                image.draft(None, (max_side, max_side))
            with large_allowed(image):
                image.load()
            return _to_rgb(image), None
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise unreadable(path, error) from error


def picture_pixels(image: Image.Image, name: str | Path, depth: Depth = _AUTO) -> tuple[ByteImage, Shown | None]:
    """Return a Pillow image as :func:`read_shown` reads one from a file; ``name`` is only used in error messages.

    Raises:
        ImageError: it is damaged, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        require_pixels(image)
        with large_allowed(image):
            image.load()
        if image.mode.startswith("I") or image.mode == "F":  # Pillow has already reduced deep colours to 8 bits
            return deep_to_rgb(image, b"", depth)
        return _to_rgb(image), None
    except Exception as error:  # an opened file may still be damaged
        raise unreadable(name, error) from error


def image_size(path: str | Path, data: bytes | None = None) -> tuple[int, int]:
    """Return width and height of a photo in pixels after EXIF rotation; only the file's header is read.

    Args:
        path: the file.
        data: its bytes, if they are in memory; ``path`` is then only used in error messages.

    Raises:
        ImageError: as for :func:`read_image`, as far as the header shows it.
    """
    try:
        with open_file(path) if data is None else BytesIO(data) as file, open_image(file) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow rotates these itself, some versions only when the pixels are read
                tags = tiff_tags(image)
                width, height = tags[256], tags[257]
                orientation = tags.get(ExifTags.Base.Orientation, 1)
            else:
                orientation = orientation_of(image, file)
            return (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    except Exception as error:
        raise unreadable(path, error) from error


def median_side(sizes: Iterable[tuple[int, int]]) -> float:
    """Return the side in pixels of a square with the area of a photo: the median of at least one ``(width, height)``.

    >>> median_side([(40, 10), (30, 30), (100, 100)])
    30.0
    """
    return statistics.median(math.sqrt(width * height) for width, height in sizes)


def fitted_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return ``size`` (width, height) scaled down until its longer side is at most ``side`` pixels; never below one pixel."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_image(image: ByteImage, size: tuple[int, int]) -> ByteImage:
    """Resize ``(H, W, 3)`` or ``(H, W)`` uint8 to ``size`` (width, height): area mean to shrink, bilinear to enlarge."""
    height, width = image.shape[:2]
    target_width, target_height = size
    if (width, height) == (target_width, target_height):
        return image
    result: NDArray[Any] = image
    # one axis may shrink while the other grows (panoramas): cv2 would fall back to bilinear and skip pixels
    small = (min(width, target_width), min(height, target_height))
    if small != (width, height):
        result = cv2.resize(result, small, interpolation=cv2.INTER_AREA)
    if small != (target_width, target_height):
        result = cv2.resize(result, (target_width, target_height), interpolation=cv2.INTER_LINEAR)
    return cast(ByteImage, result.astype(np.uint8, copy=False))


def _to_rgb(image: Image.Image) -> ByteImage:
    turn = orientation_of(image)
    width, height = image.size[::-1] if turn in (5, 6, 7, 8) else image.size
    pixels = np.empty((height, width, 3), np.uint8)
    if is_plain(image):
        copy_rows(image, as_stored(pixels, turn))
    else:
        as_stored(pixels, turn)[:] = _converted(image)
    return pixels


def _converted(image: Image.Image) -> ByteImage:
    """Return the pixels of any 8-bit image as RGB, in the order of the file."""
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or mode == "P":
        image = on_white(image.convert("RGBA"))  # palettes may be transparent, too
    elif mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow assumes that every CMYK JPEG is Adobe's, with inverted values
    return np.array(image.convert("RGB"), dtype=np.uint8)


def is_plain(image: Image.Image) -> bool:
    """Return whether each pixel converts to RGB on its own, so that the photo can be copied in pieces."""
    return image.mode in ("RGB", "L") and "transparency" not in image.info and not is_deep(image)


def copy_rows(image: Image.Image, pixels: ByteImage) -> None:
    """Copy a plain image into ``pixels`` (H, W, 3), some rows at a time: Pillow's own conversion holds three copies of it."""
    for top in range(0, image.height, _ROWS):
        rows = np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))).convert("RGB"))
        pixels[top : top + len(rows)] = rows


def encode_image(pixels: NDArray[np.integer], suffix: str, *options: int) -> bytes:
    """Encode a picture as the bytes of an image file.

    Args:
        pixels: ``(H, W, 3) uint8`` RGB, or grey ``(H, W)``, ``uint8`` or, for PNG, ``uint16``.
        suffix: the format: ``.jpg``, ``.png`` ...
        options: OpenCV's flags and their values, e.g. ``cv2.IMWRITE_JPEG_QUALITY, 90``.

    Raises:
        ImageError: the format cannot hold the picture, e.g. a JPEG of more than 65,500 pixels a side.
    """
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)
    if not done:
        raise ImageError(
            f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels cannot be written as {suffix}; make it smaller"
        )
    return data.tobytes()


def decode_image(data: bytes | NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """Decode the bytes of an image file as OpenCV does; colours are in BGR order.

    Args:
        data: the file's bytes.
        flags: ``cv2.IMREAD_UNCHANGED`` ...

    Returns:
        ``(H, W)`` or ``(H, W, channels)``; None if the bytes are damaged, not in an image format that is also read for photos,
        or claim more than ``MAX_PIXELS`` pixels.
    """
    try:
        data = data if isinstance(data, bytes) else data.tobytes()
        open_image(BytesIO(data)).close()  # OpenCV's own limit is four times as high
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except Exception:  # as in read_image_bytes
        return None
    return pixels
