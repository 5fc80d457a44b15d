"""Photo files -> pixels, and pixels -> image files.

In: JPEG, PNG, BMP, WebP or TIFF files as cameras, phones, drones and annotation tools write them. Out: ``HWC uint8 RGB``,
rotated according to the EXIF orientation, so that all coordinates refer to the photo as a person sees it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from dips.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "ByteImage",
    "as_stored",
    "copy_rows",
    "decode_image",
    "encode_image",
    "fitted_size",
    "image_size",
    "is_plain",
    "picture_pixels",
    "read_image",
    "read_image_bytes",
    "resize_image",
    "upright_size",
]

ByteImage = NDArray[np.uint8]

MAX_PIXELS = 250_000_000
"""Larger photos are rejected: a file of a few kilobytes can claim to hold gigabytes of pixels."""

# No format whose decoder runs another program (EPS). JPEG includes MPO, which DJI drones write as .JPG.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF")
_ROWS = 256  # copied at a time
_limit_lock = threading.Lock()


def read_image(path: str | Path, *, max_side: int | None = None) -> ByteImage:
    """Read a photo as ``(H, W, 3) uint8 RGB`` in [0, 255], EXIF rotation applied.

    Transparent photos are composited on white. 16-bit grey values are scaled from their full range (65535 -> 255), CMYK is
    converted without a colour profile, and an animation is its first frame.

    Args:
        path: the file.
        max_side: the side of the largest square that the photo will be resized to. A JPEG several times as large is then
            decoded at 1/2, 1/4 or 1/8 of its size, with neither side below ``max_side``, which is several times faster.
            The result is then smaller than the photo: :func:`image_size` gives the photo's own size.

    Raises:
        ImageError: the file is missing, damaged, truncated, not a photo, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    return read_image_bytes(data, path, max_side=max_side)


def read_image_bytes(data: bytes, path: str | Path, *, max_side: int | None = None) -> ByteImage:
    """Read a photo from the bytes of its file, as :func:`read_image` does; ``path`` only serves error messages."""
    try:
        with open_image(BytesIO(data)) as image:
            if max_side is not None:
                image.draft(None, (max_side, max_side))
            with large_allowed(image):
                image.load()
            return _to_rgb(image)
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise unreadable(path, error) from error


def picture_pixels(image: Image.Image, name: str | Path) -> ByteImage:
    """Return a picture of Pillow as :func:`read_image` reads one from a file; ``name`` only serves error messages.

    Raises:
        ImageError: it is damaged, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        _require_pixels(image)
        with large_allowed(image):
            image.load()
        return _to_rgb(image)
    except Exception as error:  # a file that is opened may still be damaged
        raise unreadable(name, error) from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture of Pillow in pixels after EXIF rotation."""
    return image.size[::-1] if orientation_of(image) in (5, 6, 7, 8) else image.size


def image_size(path: str | Path, data: bytes | None = None) -> tuple[int, int]:
    """Return width and height of a photo in pixels after EXIF rotation; only the file's header is read.

    Args:
        path: the file.
        data: its bytes, where they are in memory; ``path`` then only serves error messages.

    Raises:
        ImageError: as for :func:`read_image`, as far as the header shows it.
    """
    try:
        with Path(path).open("rb") if data is None else BytesIO(data) as file, open_image(file) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow turns these itself, some versions only when the pixels are read
                tags = _tiff_tags(image)
                width, height = tags[256], tags[257]
                orientation = tags.get(ExifTags.Base.Orientation, 1)
            else:
                orientation = orientation_of(image, file)
            return (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    except Exception as error:
        raise unreadable(path, error) from error


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


def open_image(file: IO[bytes]) -> Image.Image:
    """Open an image without decoding it; formats that are not read and images that are too large raise Pillow's errors."""
    with _no_pillow_limit():
        image = Image.open(file, formats=_FORMATS)
    _require_pixels(image)
    return image


def _require_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read")


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
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] in (b"eXIf", b"zTXt", b"iTXt", b"tEXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(position)


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
    """Return the pixels of any kind of image as RGB, in the order of the file."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        grey = _grey_to_bytes(np.asarray(image), _grey_range(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or mode == "P":
        layer = image.convert("RGBA")  # palettes may be transparent, too
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    elif mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow assumes that every CMYK JPEG is Adobe's, with inverted values
    return np.array(image.convert("RGB"), dtype=np.uint8)


def is_plain(image: Image.Image) -> bool:
    """Return whether each pixel converts to RGB on its own, so that the photo can be copied in pieces."""
    return image.mode in ("RGB", "L") and "transparency" not in image.info


def copy_rows(image: Image.Image, pixels: ByteImage) -> None:
    """Copy a plain image into ``pixels`` (H, W, 3), some rows at a time: Pillow's own conversion holds three copies of it."""
    for top in range(0, image.height, _ROWS):
        rows = np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))).convert("RGB"))
        pixels[top : top + len(rows)] = rows


def as_stored(upright: ByteImage, turn: int) -> ByteImage:
    """Return an upright photo ``(H, W, 3)``, viewed in the pixel order of its file; ``turn`` is the EXIF orientation."""
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


def _grey_range(image: Image.Image) -> float | None:
    """Return the value of white; None where the file does not define it."""
    if image.format == "TIFF":
        tags = _tiff_tags(image)
        bits = tags.get(258, (16,))[0]
        signed = tags.get(339, (1,))[0] == 2
        return float(2 ** (bits - signed) - 1) if bits < 32 else None
    return 65535.0 if image.mode != "F" else None


def _tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    return cast("Mapping[int, Any]", image.tag_v2)  # type: ignore[attr-defined]


def _grey_to_bytes(values: NDArray[np.generic], white: float | None) -> ByteImage:
    grey = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if white is None:  # 32 bits do not imply a range: take the smallest usual one that covers the values
        top = float(grey.max())
        white = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    return cast(ByteImage, np.clip(np.rint(grey * (255.0 / white)), 0, 255).astype(np.uint8))


def unreadable(path: str | Path, error: Exception) -> ImageError:
    """Return the :class:`~dips.errors.ImageError` that names the photo, for an error of the system or of a decoder."""
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} does not exist")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"{path} cannot be opened: {error.strerror}")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path} is not a photo that can be read (JPEG, PNG, BMP, WebP, TIFF); remove it or save it again")
    reason = str(error) or type(error).__name__
    return ImageError(f"{path} cannot be read: {reason}; remove it or save it again")


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
    """Decode the bytes of an image file as OpenCV does; colours come in the order BGR.

    Args:
        data: the file's bytes.
        flags: ``cv2.IMREAD_UNCHANGED`` ...

    Returns:
        ``(H, W)`` or ``(H, W, channels)``; None if the bytes are damaged, or no image.
    """
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # no bytes at all, or a header that claims too many pixels
        return None
    return pixels
