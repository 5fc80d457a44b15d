"""A photo of any size, decoded once and read in windows; large photos are kept in a temporary file instead of memory.

In: a photo file. Out: windows of it as ``HWC uint8 RGB``, upright, so that a tile only costs its own pixels.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from dips.data.depth import Depth
from dips.data.images import ByteImage, copy_rows, image_size, is_plain, read_image
from dips.data.pillow import as_stored, large_allowed, open_file, open_image, orientation_of, unreadable
from dips.errors import ImageError

__all__ = ["PhotoWindows", "open_photo"]

MAX_PIXELS_IN_MEMORY = 16_000_000
"""Photos with more pixels are kept on disk while they are read in windows."""


class PhotoWindows:
    """A decoded photo that is read in rectangles.

    Attributes:
        size: width and height in pixels, EXIF rotation applied.

    >>> photo = PhotoWindows(np.zeros((480, 640, 3), np.uint8), (640, 480))
    >>> photo.window(100, 0, 164, 48).shape
    (48, 64, 3)
    """

    def __init__(self, pixels: ByteImage | IO[bytes], size: tuple[int, int]) -> None:
        self.size = size
        self._pixels = pixels

    def window(self, x0: int, y0: int, x1: int, y1: int) -> ByteImage:
        """Return the pixels ``(y1 - y0, x1 - x0, 3) uint8`` of a rectangle inside the photo, end exclusive."""
        if isinstance(self._pixels, np.ndarray):
            return np.ascontiguousarray(self._pixels[y0:y1, x0:x1])
        return np.array(_mapped(self._pixels, self.size, "r")[y0:y1, x0:x1])


@contextmanager
def open_photo(path: Path, depth: Depth | None = None) -> Iterator[PhotoWindows]:
    """Decode a photo; its pixels are released at the end of the block.

    Args:
        depth: how values of more than 8 bits are reduced to 8.

    Raises:
        ImageError: as for :func:`~dips.data.images.read_image`, or there is no space for the temporary file.
    """
    with ExitStack() as stack:
        size = image_size(path)
        if size[0] * size[1] > MAX_PIXELS_IN_MEMORY:
            file = stack.enter_context(tempfile.TemporaryFile())
            if _decode_into(path, file, size):
                yield PhotoWindows(file, size)
                return
        yield PhotoWindows(read_image(path, depth=depth or Depth()), size)


def _decode_into(path: Path, file: IO[bytes], size: tuple[int, int]) -> bool:
    """Copy the pixels into ``file``; return False for the rare photos that can only be converted as a whole."""
    try:
        with open_file(path) as source, open_image(source) as image:
            if not is_plain(image):
                return False
            with large_allowed(image):
                image.load()
            turn = orientation_of(image)
            _reserve(path, file, size[0] * size[1] * 3)
            copy_rows(image, as_stored(_mapped(file, size, "r+"), turn))
            return True
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def _reserve(path: Path, file: IO[bytes], count: int) -> None:
    """Reserve the file's space: if the disk filled up while mapped memory is written, the process would be killed."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, count)
        else:
            file.truncate(count)
    except OSError as error:
        where = f"{tempfile.gettempdir()} ({error.strerror}); free some space there, or name another folder with TMPDIR"
        raise ImageError(f"{path} needs {count / 1e9:.1f} GB of temporary space in {where}") from error


def _mapped(file: IO[bytes], size: tuple[int, int], mode: Any) -> ByteImage:
    """Return the file as an upright photo; each call maps it again, so that pages already read do not count as used memory."""
    return cast(ByteImage, np.memmap(file, np.uint8, mode, shape=(size[1], size[0], 3)))
