"""Photo files -> pixels, and pixels -> image files.

In: JPEG, PNG, BMP, WebP, TIFF, GIF or PPM files as cameras, phones, drones and annotation tools write them. Out: ``HWC uint8
RGB``, rotated according to the EXIF orientation, so that all coordinates refer to the photo as a person sees it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from dips.data.depth import Depth, Scale, Shown, Values, as_bytes
from dips.data.signatures import why_not_a_photo
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
    "read_scaled",
    "read_shown",
    "read_values",
    "resize_image",
    "upright_size",
]

ByteImage = NDArray[np.uint8]

MAX_PIXELS = 250_000_000
"""Larger photos are rejected: a file of a few kilobytes can claim to hold gigabytes of pixels."""

# No format whose decoder runs another program (EPS). JPEG includes MPO, which DJI drones write as .JPG.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
_ROWS = 256  # copied at a time
_AUTO = Depth()
_limit_lock = threading.Lock()

# Pillow warns of each photo with damaged EXIF, which counts as upright, and logs what its errors say, too. A context that
# catches warnings is not safe in threads.
logging.getLogger("PIL").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class _TooLarge(ValueError):
    """A photo of more than ``MAX_PIXELS`` pixels."""


def read_image(path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO) -> ByteImage:
    """Read a photo as ``(H, W, 3) uint8 RGB`` in [0, 255], EXIF rotation applied.

    Transparent photos are composited on white. CMYK is converted without a colour profile, and an animation is its first frame.

    Args:
        path: the file.
        max_side: the side of the largest square that the photo will be resized to. A JPEG several times as large is then
            decoded at 1/2, 1/4 or 1/8 of its size, with neither side below ``max_side``, which is several times faster.
            The result is then smaller than the photo: :func:`image_size` gives the photo's own size.
        depth: how values of more than 8 bits are brought to 8.

    Raises:
        ImageError: the file is missing, damaged, truncated, not a photo, or has more than ``MAX_PIXELS`` pixels.
    """
    return read_shown(path, max_side=max_side, depth=depth)[0]


def read_scaled(path: str | Path, scale: Scale | None, *, max_side: int | None = None) -> ByteImage:
    """Read a photo as it was shown before: with the scale that its values had; otherwise as :func:`read_image`."""
    return read_image(path, max_side=max_side, depth=Depth.at(scale))


def read_shown(path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO) -> tuple[ByteImage, Shown | None]:
    """Read a photo as :func:`read_image` does; also say how it was brought to 8 bits, None if it had no more."""
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise unreadable(path, error) from error
    return read_image_bytes(data, path, max_side=max_side, depth=depth)


def read_image_bytes(
    data: bytes, path: str | Path, *, max_side: int | None = None, depth: Depth = _AUTO
) -> tuple[ByteImage, Shown | None]:
    """Read a photo from the bytes of its file, as :func:`read_shown` does; ``path`` only serves error messages."""
    try:
        with open_image(BytesIO(data)) as image:
            if is_deep(image):
                return _deep_to_rgb(image, data, depth)
            if max_side is not None:
                image.draft(None, (max_side, max_side))
            with large_allowed(image):
                image.load()
            return _to_rgb(image), None
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise unreadable(path, error) from error


def read_values(path: str | Path) -> Values | None:
    """Read the values of a photo of more than 8 bits, not rotated; None, from the header alone, if it has no more.

    Raises:
        ImageError: as for :func:`read_image`.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            if not is_deep(image):
                return None
            file.seek(0)
            return _values(image, file.read())[0]
    except Exception as error:
        raise unreadable(path, error) from error


def picture_pixels(image: Image.Image, name: str | Path, depth: Depth = _AUTO) -> tuple[ByteImage, Shown | None]:
    """Return a picture of Pillow as :func:`read_shown` reads one from a file; ``name`` only serves error messages.

    Raises:
        ImageError: it is damaged, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        _require_pixels(image)
        with large_allowed(image):
            image.load()
        if image.mode.startswith("I") or image.mode == "F":  # of deep colours Pillow has kept 8 bits
            return _deep_to_rgb(image, b"", depth)
        return _to_rgb(image), None
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
        with open_file(path) if data is None else BytesIO(data) as file, open_image(file) as image:
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


def open_file(path: str | Path) -> IO[bytes]:
    """Open a photo's file; a pipe or a device, which may never end, raises OSError."""
    if stat.S_IFMT(os.stat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file; remove it")
    return Path(path).open("rb")


def open_image(file: IO[bytes]) -> Image.Image:
    """Open an image without decoding it; formats that are not read and images that are too large raise errors, see
    :func:`unreadable`."""
    try:
        with _no_pillow_limit():
            image = Image.open(file, formats=_FORMATS)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: a TIFF's compression
        raise UnidentifiedImageError(why_not_a_photo(file)) from error
    _require_pixels(image)
    return image


def _require_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _TooLarge(
            f"it claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read; cut it into tiles, for example "
            "by 'gdal_retile.py -ps 8192 8192 -overlap 512 -targetDir TILES PHOTO' of GDAL, or remove it"
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
    """Return the pixels of any kind of image of 8 bits as RGB, in the order of the file."""
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or mode == "P":
        image = _on_white(image.convert("RGBA"))  # palettes may be transparent, too
    elif mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow assumes that every CMYK JPEG is Adobe's, with inverted values
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _on_white(layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)


def is_plain(image: Image.Image) -> bool:
    """Return whether each pixel converts to RGB on its own, so that the photo can be copied in pieces."""
    return image.mode in ("RGB", "L") and "transparency" not in image.info and not is_deep(image)


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


def is_deep(image: Image.Image) -> bool:
    """Return whether the values of an image that is not decoded yet have more than 8 bits; of colours Pillow keeps 8."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "TIFF" and _tiff_tags(image).get(258, (8,))[0] == 16:
        return True
    return any(_raw_mode(tile).partition(";")[2] in _DEEP for tile in _tiles(image))


_DEEP = ("16L", "16B", "16N")
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def _tiles(image: Image.Image) -> list[Any]:
    return getattr(image, "tile", None) or []


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _deep_to_rgb(image: Image.Image, data: bytes, depth: Depth) -> tuple[ByteImage, Shown]:
    turn = orientation_of(image)
    values, alpha = _values(image, data)
    shown = depth.shown(values if alpha is None else values._replace(pixels=values.pixels[alpha > 0][:, None]))
    levels = as_bytes(values, shown.scale)
    if levels.ndim == 2:
        levels = cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    if alpha is not None:
        levels = np.array(_on_white(Image.fromarray(np.dstack([levels, alpha]))).convert("RGB"), dtype=np.uint8)
    if image.format == "TIFF" or turn == 1:  # Pillow has turned a TIFF
        return levels, shown
    height, width = levels.shape[:2]
    upright = np.empty((width, height, 3) if turn in (5, 6, 7, 8) else (height, width, 3), np.uint8)
    as_stored(upright, turn)[:] = levels
    return upright, shown


def _values(image: Image.Image, data: bytes) -> tuple[Values, NDArray[np.uint8] | None]:
    """Return the values of a deep image in the order of its file, or upright if it is a TIFF, and how opaque pixels are."""
    tags = _tiff_tags(image) if image.format == "TIFF" else {}
    if image.mode in ("RGB", "RGBA"):
        if tags.get(284, 1) == 2:
            raise ValueError("its 16-bit colours are stored one band after the other (planar)")
        pixels = _two_bytes(image, data)
        alpha = (pixels[..., 3] >> 8).astype(np.uint8) if pixels.shape[2] == 4 else None
        return Values(pixels[..., :3], 65535.0, None, "16-bit colours"), alpha
    with large_allowed(image):
        image.load()
    bits, sign = (tags.get(key, (default,))[0] for key, default in ((258, 16), (339, 1)))
    is_float = image.mode == "F"
    white = None if is_float or bits > 16 else float(2 ** (bits - (sign == 2)) - 1)
    pixels, missing = np.asarray(image), _missing(tags.get(42113))  # GDAL's tag
    if pixels.dtype == np.int32 and (bits, sign) == (32, 1):
        pixels = pixels.view(np.uint32)  # Pillow knows no unsigned ones
    if tags.get(262) == 0:  # white is zero, which Pillow leaves to its caller
        top = 0.0 if white is None else white
        pixels = -pixels if white is None else (int(white) - pixels.astype(np.int32)).astype(pixels.dtype)
        missing = None if missing is None else top - missing
    return Values(pixels, white, missing, f"{bits if tags else 16}-bit {'float' if is_float else 'grey'}"), None


def _two_bytes(image: Image.Image, data: bytes) -> NDArray[np.uint16]:
    """Return 16-bit colours ``(H, W, 3 or 4)``, of which Pillow gives the higher byte only."""
    if image.format == "PNG":
        colours = decode_image(data, cv2.IMREAD_UNCHANGED)
        if colours is None or colours.dtype != np.uint16 or colours.ndim != 3:
            raise ValueError("its 16-bit colours are damaged")
        order = [2, 1, 0, 3][: colours.shape[2]]
        return np.ascontiguousarray(colours[..., order], dtype=np.uint16)
    with open_image(BytesIO(data)) as other:  # read in the other byte order, the lower byte is the one that is kept
        other.tile = [_in_other_order(tile) for tile in _tiles(other)]  # type: ignore[attr-defined]
        with large_allowed(image):
            image.load()
            other.load()
        return np.asarray(np.asarray(image).astype(np.uint16) << 8 | np.asarray(other), np.uint16)


def _in_other_order(tile: Any) -> Any:
    raw, arguments = _raw_mode(tile), tile[3]
    raw = raw[:-1] + _OTHER_ORDER[raw[-1]]
    return (*tile[:3], (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw)


def _missing(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    return cast("Mapping[int, Any]", image.tag_v2)  # type: ignore[attr-defined]


def unreadable(path: str | Path, error: Exception) -> ImageError:
    """Return the :class:`~dips.errors.ImageError` that names the photo, for an error of the system or of a decoder."""
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} does not exist")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"{path} cannot be opened: {error.strerror}")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path} is not a photo that can be read: {error}")
    if isinstance(error, _TooLarge):
        return ImageError(f"{path} cannot be read: {error}")
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
        ``(H, W)`` or ``(H, W, channels)``; None if the bytes are damaged, no image that is read as a photo, either, or claim
        more than ``MAX_PIXELS`` pixels.
    """
    try:
        data = data if isinstance(data, bytes) else data.tobytes()
        open_image(BytesIO(data)).close()  # OpenCV's own limit is four times as high
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except Exception:  # as in read_image_bytes
        return None
    return pixels
