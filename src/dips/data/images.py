"""Photo files -> pixels.

In: JPEG, PNG, BMP, WebP or TIFF files as cameras, phones, drones and annotation tools write them. Out: ``HWC uint8 RGB``,
rotated as the EXIF orientation says, so that all coordinates of DiPS are those of the photo as a person sees it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from dips.errors import DataError, ImageError

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "VIDEOS",
    "ByteImage",
    "as_stored",
    "copy_rows",
    "encode_image",
    "fitted_size",
    "gather_images",
    "image_size",
    "is_plain",
    "list_images",
    "read_image",
    "read_image_bytes",
    "resize_image",
    "unreadable_kinds",
    "walk_images",
]

ByteImage = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""File names that count as photos, in lower case."""

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".ts"})
"""File names that count as videos, in lower case."""

MAX_PIXELS = 250_000_000
"""Larger photos are refused: a few kilobytes of file can claim to be gigabytes of pixels."""

# Nothing that starts another program (EPS) is among them. JPEG includes MPO, which DJI drones write as .JPG.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF")
SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})  # of archives, network disks and Windows
_NOT_READ = VIDEOS | {".heic", ".heif", ".avif", ".gif", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".rw2", ".orf", ".jp2"}
_ROWS = 256  # that are copied at a time
_limit_lock = threading.Lock()


def list_images(folder: str | Path) -> list[Path]:
    """All photos below ``folder``, sorted by their path; hidden files and folders are left out, links are followed.

    Raises:
        DataError: ``folder`` is no folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f"{top} is not a folder; give a folder with photos")
    return [top.joinpath(*parts) for parts in sorted(walk_images(top))]


def gather_images(photos: str | Path | Iterable[str | Path]) -> list[Path]:
    """A photo, a folder with all photos below it, or several of these, as files.

    Raises:
        DataError: there is none.
    """
    several = [photos] if isinstance(photos, str | Path) else list(photos)
    paths: list[Path] = []
    for item in map(Path, several):
        paths += list_images(item) if item.is_dir() else [item]
    if not paths:
        raise DataError(f"no photo in {', '.join(map(str, several)) or 'an empty list'}; give photos or folders with photos")
    return paths


def walk_images(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> Iterator[tuple[str, ...]]:
    """Paths of the photos below ``folder``, relative to it and in parts, in no order; those in ``folder`` itself come first.

    ``suffixes``: in lower case, what a name must end in.
    """
    seen: set[str] = set()  # a link to a folder above would never end
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS]
        inside = Path(where).relative_to(folder).parts
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield (*inside, name)


def unreadable_kinds(folder: Path) -> list[str]:
    """Names of files below ``folder`` that are pictures or videos of kinds that are not read, sorted."""
    return ["/".join(parts) for parts in sorted(walk_images(folder, _NOT_READ))]


def read_image(path: str | Path, *, max_side: int | None = None) -> ByteImage:
    """One photo as ``(H, W, 3) uint8 RGB`` in [0, 255], EXIF rotation applied.

    Transparent photos are laid on white. Grey values of 16 bits are scaled from their full range (65535 -> 255), CMYK is
    converted without a colour profile, of animations the first frame is taken.

    Args:
        path: the file.
        max_side: the side of the largest square that the photo will be resized to. A JPEG several times as large is then
            decoded at 1/2, 1/4 or 1/8 of its size, with neither side below ``max_side``, which is several times faster.
            The result is smaller than the photo then: take the photo's own size from :func:`image_size`.

    Raises:
        ImageError: the file is missing, damaged, cut short, no photo, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    return read_image_bytes(data, path, max_side=max_side)


def read_image_bytes(data: bytes, path: str | Path, *, max_side: int | None = None) -> ByteImage:
    """Like :func:`read_image`, for a file that is in memory already; ``path`` is only named in errors."""
    try:
        with open_image(BytesIO(data)) as image:
            if max_side is not None:
                image.draft(None, (max_side, max_side))
            with large_allowed(image):
                image.load()
            return _to_rgb(image)
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise unreadable(path, error) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of the photo in pixels after EXIF rotation, from the file's header alone.

    Raises:
        ImageError: as for :func:`read_image`, as far as the header tells.
    """
    try:
        with Path(path).open("rb") as file, open_image(file) as image:
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
    """``size`` (width, height) with its longer side at most ``side`` pixels; never enlarged, at least a pixel."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_image(image: ByteImage, size: tuple[int, int]) -> ByteImage:
    """``(H, W, 3)`` or ``(H, W)`` uint8 to ``size`` (width, height): area mean where it shrinks, bilinear where it grows."""
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
    with _no_pillow_limit():
        image = Image.open(file, formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read")
    return image


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Pillow warns from 89 million pixels on, which a 12000 x 8000 photo has; our own limit takes its place."""
    with _limit_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def large_allowed(image: Image.Image) -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or image.width * image.height <= limit:
        yield  # the usual case holds no lock, so that threads decode side by side
    else:
        with _no_pillow_limit():
            yield


def orientation_of(image: Image.Image, file: IO[bytes] | None = None) -> int:
    """EXIF orientation 1..8; damaged EXIF counts as upright. With ``file``, pixels are not decoded to find it."""
    try:
        if image.format == "PNG" and file is not None and "exif" not in image.info and not _png_has_exif(file):
            return 1  # Pillow would decode all pixels to look behind them
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
    """The pixels of any kind of image as RGB, in the order of the file."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        grey = _grey_to_bytes(np.asarray(image), _grey_range(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or mode == "P":
        layer = image.convert("RGBA")  # palettes may hold transparency, too
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    elif mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's, whose values are inverted
    return np.array(image.convert("RGB"), dtype=np.uint8)


def is_plain(image: Image.Image) -> bool:
    """Whether pixels become RGB one by one, so that the photo can be copied in pieces."""
    return image.mode in ("RGB", "L") and "transparency" not in image.info


def copy_rows(image: Image.Image, pixels: ByteImage) -> None:
    """Copy a plain image into ``(H, W, 3)``, some rows at a time: Pillow's own way to NumPy holds three copies of it."""
    for top in range(0, image.height, _ROWS):
        rows = np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))).convert("RGB"))
        pixels[top : top + len(rows)] = rows


def as_stored(upright: ByteImage, turn: int) -> ByteImage:
    """A view of an upright photo in the order in which its file holds the pixels; ``turn`` is the EXIF orientation."""
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
    """The value that is white; None where the file does not tell."""
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
    if white is None:  # 32 bits say nothing about the range: take the smallest usual one that holds the values
        top = float(grey.max())
        white = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    return cast(ByteImage, np.clip(np.rint(grey * (255.0 / white)), 0, 255).astype(np.uint8))


def unreadable(path: str | Path, error: Exception) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} does not exist")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"{path} cannot be opened: {error.strerror}")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path} is not a photo that can be read (JPEG, PNG, BMP, WebP, TIFF); remove it or save it again")
    reason = str(error) or type(error).__name__
    return ImageError(f"{path} cannot be read: {reason}; remove it or save it again")


def encode_image(pixels: NDArray[np.integer], suffix: str, *options: int) -> bytes:
    """Return a picture as the bytes of an image file.

    Args:
        pixels: ``(H, W, 3) uint8`` RGB, or grey ``(H, W)``, ``uint8`` or, for PNG, ``uint16``.
        suffix: the kind of file: ``.jpg``, ``.png`` ...
        options: OpenCV's flags and their values, e.g. ``cv2.IMWRITE_JPEG_QUALITY, 90``.

    Raises:
        ImageError: a picture that this kind of file cannot hold, e.g. a JPEG of more than 65,500 pixels a side.
    """
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)
    if not done:
        raise ImageError(
            f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels cannot be written as {suffix}; make it smaller"
        )
    return data.tobytes()
