"""Pictures of more than 8 bits -> their full values: Pillow would keep only the higher byte of colours.

In: Pillow images, not decoded yet. Out: :class:`~dips.data.depth.Values`, and what :mod:`dips.data.depth` makes of them.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dips.data.depth import Depth, Shown, Values, as_bytes
from dips.data.pillow import as_stored, large_allowed, on_white, open_file, open_image, orientation_of, tiff_tags, unreadable

__all__ = ["deep_to_rgb", "is_deep", "read_values"]

_DEEP = ("16L", "16B", "16N")
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def read_values(path: str | Path) -> Values | None:
    """Read the values of a photo of more than 8 bits, not rotated; None, from the header alone, if it has no more.

    Raises:
        ImageError: as for :func:`~dips.data.images.read_image`.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            if not is_deep(image):
                return None
            file.seek(0)
            return _values(image, file.read())[0]
    except Exception as error:
        raise unreadable(path, error) from error


def is_deep(image: Image.Image) -> bool:
    """Return whether the values of an image that is not decoded yet have more than 8 bits; Pillow keeps 8 bits of colours."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "TIFF" and tiff_tags(image).get(258, (8,))[0] == 16:
        return True
    return any(_raw_mode(tile).partition(";")[2] in _DEEP for tile in _tiles(image))


def _tiles(image: Image.Image) -> list[Any]:
    return getattr(image, "tile", None) or []


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def deep_to_rgb(image: Image.Image, data: bytes, depth: Depth) -> tuple[NDArray[np.uint8], Shown]:
    """Return a deep image upright as ``(H, W, 3) uint8 RGB``, and how it was reduced to 8 bits.

    Args:
        image: see :func:`is_deep`.
        data: the bytes of its file.
        depth: how values are reduced to 8 bits.
    """
    turn = orientation_of(image)
    values, alpha = _values(image, data)
    shown = depth.shown(values if alpha is None else values._replace(pixels=values.pixels[alpha > 0][:, None]))
    levels = as_bytes(values, shown.scale)
    if levels.ndim == 2:
        levels = cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    if alpha is not None:
        levels = np.array(on_white(Image.fromarray(np.dstack([levels, alpha]))).convert("RGB"), dtype=np.uint8)
    if image.format == "TIFF" or turn == 1:  # Pillow has already rotated a TIFF
        return levels, shown
    height, width = levels.shape[:2]
    upright = np.empty((width, height, 3) if turn in (5, 6, 7, 8) else (height, width, 3), np.uint8)
    as_stored(upright, turn)[:] = levels
    return upright, shown


def _values(image: Image.Image, data: bytes) -> tuple[Values, NDArray[np.uint8] | None]:
    """Return the values of a deep image in the order of its file, or upright if it is a TIFF, and how opaque pixels are."""
    tags = tiff_tags(image) if image.format == "TIFF" else {}
    if image.mode in ("RGB", "RGBA"):
        if tags.get(284, 1) == 2:
            raise ValueError("its 16-bit colours are stored one band after the other (planar)")
        pixels = _two_bytes(image, data)
        alpha = (pixels[..., 3] >> 8).astype(np.uint8) if pixels.shape[2] == 4 else None
        return Values(pixels[..., :3], 65535.0, None, "16-bit colours"), alpha
    with large_allowed(image):
        image.load()
    is_float, is_wide = image.mode == "F", image.mode in ("I", "F")
    default = 32 if is_wide and image.format not in ("PNG", "PPM") else 16  # Pillow keeps the 16 bits of these two in 32
    signed = 2 if default == 32 and not tags else 1
    bits, sign = (tags.get(key, (value,))[0] for key, value in ((258, default), (339, signed)))
    white = None if is_float or bits > 16 else float(2 ** (bits - (sign == 2)) - 1)
    pixels, missing = np.asarray(image), _missing(tags.get(42113))  # GDAL's tag
    if pixels.dtype == np.int32 and (bits, sign) == (32, 1):
        pixels = pixels.view(np.uint32)  # Pillow has no unsigned 32-bit values
    if tags.get(262) == 0:  # white is zero, which Pillow leaves to its caller
        top = 0.0 if white is None else white
        pixels = -pixels if white is None else (int(white) - pixels.astype(np.int32)).astype(pixels.dtype)
        missing = None if missing is None else top - missing
    return Values(pixels, white, missing, f"{bits}-bit {'float' if is_float else 'grey'}"), None


def _two_bytes(image: Image.Image, data: bytes) -> NDArray[np.uint16]:
    """Return 16-bit colours ``(H, W, 3 or 4)``, of which Pillow only returns the higher byte."""
    if image.format == "PNG":
        colours = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if colours is None or colours.dtype != np.uint16 or colours.ndim != 3:
            raise ValueError("its 16-bit colours are damaged")
        order = [2, 1, 0, 3][: colours.shape[2]]
        return np.ascontiguousarray(colours[..., order], dtype=np.uint16)
    with open_image(BytesIO(data)) as other:  # in the other byte order, the lower byte is kept
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
