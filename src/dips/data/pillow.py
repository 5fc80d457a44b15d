"""Limits and workarounds for Pillow: which formats to open, how large a picture may be, and where to look for its rotation.

In: photo files. Out: Pillow images that are not decoded yet, and errors that name the file.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from dips.data.signatures import why_not_a_photo
from dips.errors import ImageError
from dips.shards.stores import open_url
from dips.system.names import as_text, scheme_of

__all__ = [
    "MAX_PIXELS",
    "as_stored",
    "large_allowed",
    "on_white",
    "open_file",
    "open_image",
    "orientation_of",
    "png_chunks",
    "require_pixels",
    "tiff_tags",
    "unreadable",
    "upright_size",
]

MAX_PIXELS = 250_000_000
"""Larger photos are rejected: a file of a few kilobytes can claim to hold gigabytes of pixels."""

# No format whose decoder runs another program (EPS). JPEG includes MPO, which DJI drones write as .JPG.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
_CUT_OFF = re.compile("truncated|end of file|not enough|incomplete|EOF", re.IGNORECASE)  # wording of decoders
_limit_lock = threading.Lock()

# Pillow warns about each photo with damaged EXIF, which counts as upright, and also logs its errors. A context manager that
# catches warnings is not thread-safe.
logging.getLogger("PIL").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class _TooLarge(ValueError):
    """A photo of more than ``MAX_PIXELS`` pixels."""


def open_file(path: str | Path) -> IO[bytes]:
    """Open a photo's file or URL; a pipe or a device, which may never end, raises OSError."""
    if scheme_of(place := str(path)):
        return open_url(place)
    if stat.S_IFMT(os.stat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file; remove it")
    return Path(path).open("rb")


def open_image(file: IO[bytes]) -> Image.Image:
    """Open an image without decoding it; unsupported formats and oversized images raise errors, see :func:`unreadable`."""
    try:
        with _no_pillow_limit():
            image = Image.open(file, formats=_FORMATS)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: an unknown TIFF compression
        raise UnidentifiedImageError(why_not_a_photo(file)) from error
    require_pixels(image)
    return image


def require_pixels(image: Image.Image) -> None:
    """Raise an error for a picture of more than ``MAX_PIXELS`` pixels."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _TooLarge(
            f"has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}; cut it into tiles, for example by "
            "'gdal_retile.py -ps 8192 8192 -overlap 512 -targetDir TILES PHOTO' of GDAL (TILES: an empty folder) and use "
            "these in its place, for training each in the folder of the class that it shows"
        )


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Lift Pillow's limit, which warns from 89 million pixels on (a 12000 x 8000 photo); ``MAX_PIXELS`` replaces it."""
    with _limit_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def large_allowed(image: Image.Image) -> Iterator[None]:
    """Lift Pillow's limit while an image that exceeds it is decoded."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or image.width * image.height <= limit:
        yield  # without a lock, so that threads decode in parallel
    else:
        with _no_pillow_limit():
            yield


def orientation_of(image: Image.Image, file: IO[bytes] | None = None) -> int:
    """Return the EXIF orientation, 1..8; damaged EXIF counts as upright. With ``file``, no pixels are decoded to find it."""
    try:
        if image.format == "PNG" and file is not None and "exif" not in image.info and not _png_has_exif(file):
            return 1  # Pillow would decode all pixels to look for EXIF after them
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _png_has_exif(file: IO[bytes]) -> bool:
    position = file.tell()
    try:
        return any(kind in (b"eXIf", b"zTXt", b"iTXt", b"tEXt") for kind, _ in png_chunks(file))
    finally:
        file.seek(position)


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and size of each chunk of a PNG, with ``file`` positioned at the chunk's content."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        start, size = file.tell(), int.from_bytes(head[:4], "big")
        yield head[4:], size
        file.seek(start + size + 4)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a Pillow image in pixels after EXIF rotation."""
    return image.size[::-1] if orientation_of(image) in (5, 6, 7, 8) else image.size


def as_stored(upright: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return a view of an upright photo ``(H, W, 3)`` in the pixel order of its file; ``turn`` is the EXIF orientation."""
    views = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return views.get(turn, upright)


def on_white(layer: Image.Image) -> Image.Image:
    """Composite a transparent picture, RGBA, on white."""
    return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF by their numbers."""
    return cast("Mapping[int, Any]", image.tag_v2)  # type: ignore[attr-defined]


def unreadable(path: str | Path, error: Exception) -> ImageError:
    """Return the :class:`~dips.errors.ImageError` that names the photo, for an error of the operating system or a decoder."""
    if isinstance(error, FileNotFoundError):
        if not os.path.islink(path):
            return ImageError(f"{path} does not exist")
        gone = f"is a link to {as_text(os.readlink(path))}, which does not exist"
        return ImageError(f"{path} {gone}; copy the photo itself here, or remove the link")
    if isinstance(error, OSError) and error.strerror:
        remedy = "" if ";" in error.strerror else "; allow it to be read, or remove it"
        return ImageError(f"{path} cannot be opened: {error.strerror}{remedy}")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path} is not a photo that can be read: {error}")
    if isinstance(error, _TooLarge):
        return ImageError(f"{path} {error}")
    reason = str(error) or type(error).__name__
    if _CUT_OFF.search(reason):
        return ImageError(
            f"{path} cannot be read: the file is incomplete (cut off); copy it again from the camera, or remove it"
        )
    return ImageError(f"{path} cannot be read: {reason}; remove it or save it again")
