"""The inputs of ``model.predict``: files, folders and images in memory.

In: paths, arrays, PIL images, the bytes of image files, or several of these. Out: paths of photos, and :class:`Picture`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dips.data.camera import Camera, camera_of, read_camera
from dips.data.depth import Depth, Shown
from dips.data.images import ByteImage, image_size, picture_pixels, read_image_bytes
from dips.data.photo_files import each_photo
from dips.data.pillow import MAX_PIXELS, upright_size
from dips.errors import DataError, ImageError
from dips.system.names import scheme_of

__all__ = ["Photo", "Picture", "gather_photos", "path_of", "url_path"]

Photo: TypeAlias = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image | bytes
"""The path of a photo or folder, an array ``(H, W, 3)`` RGB or ``(H, W)`` grey, a PIL image, or the bytes of an image file."""

_SINGLE = (str, os.PathLike, np.ndarray, Image.Image, bytes, bytearray, memoryview)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in memory.

    Attributes:
        path: its name, not the path of an existing file.
        size: returns width and height in pixels, with EXIF rotation applied.
        read: returns the same as :func:`~dips.data.images.read_shown`; the arguments are ``max_side`` and ``depth``.
        camera: returns where and when it was taken, if recorded.

    >>> picture = Picture.of(Path("picture-0"), np.zeros((48, 64, 3), np.uint8))
    >>> picture.size(), picture.read(None, Depth())[0].shape
    ((64, 48), (48, 64, 3))
    """

    path: Path
    size: Callable[[], tuple[int, int]]
    read: Callable[[int | None, Depth], tuple[ByteImage, Shown | None]]
    camera: Callable[[], Camera | None] = lambda: None

    @staticmethod
    def behind(url: str, data: Callable[[], bytes]) -> Picture:
        """Wrap an image file behind a URL; ``data`` returns its bytes and is called only when they are needed."""
        return Picture(
            url_path(url),
            lambda: image_size(url, data()),
            lambda max_side, depth: read_image_bytes(data(), url, max_side=max_side, depth=depth),
            lambda: read_camera(data()),
        )

    @staticmethod
    def of(path: Path, photo: Any) -> Picture:
        """Wrap an array, a PIL image or the bytes of an image file.

        Raises:
            DataError: ``photo`` has another type, or is an array that is not an image.
        """
        if isinstance(photo, np.ndarray):
            pixels = _checked(photo, path)
            return Picture(path, lambda: (pixels.shape[1], pixels.shape[0]), lambda max_side, depth: (pixels, None))
        if isinstance(photo, Image.Image):
            size = partial(upright_size, photo)
            return Picture(path, size, lambda max_side, depth: picture_pixels(photo, path, depth), partial(camera_of, photo))
        if isinstance(photo, bytes | bytearray | memoryview):
            data = bytes(photo)
            size = partial(image_size, path, data)
            return Picture(
                path,
                size,
                lambda max_side, depth: read_image_bytes(data, path, max_side=max_side, depth=depth),
                partial(read_camera, data),
            )
        hint = "; give its content, .read()" if hasattr(photo, "read") else ""
        raise DataError(
            f"{path} is of the type {type(photo).__name__}, not a photo{hint}: predict takes paths of photos and folders, "
            "arrays (height, width, 3) of uint8 in RGB, PIL pictures, the bytes of image files, and lists of these"
        )


def url_path(url: str) -> Path:
    """Return a path that represents this URL and no other, although paths have no empty parts.

    >>> url_path("s3://bucket/a//1.jpg").as_posix()
    's3:/bucket/a/%2F/1.jpg'
    """
    scheme, _, rest = url.partition("://")
    return Path(f"{scheme}:/{rest.replace('//', '/%2F/').replace('/./', '/%2E/')}")


def path_of(place: str) -> Path:
    """Return the path of a photo; for a URL, the path that represents it."""
    return url_path(place) if scheme_of(place) else Path(place)


def gather_photos(photos: Photo | Iterable[Photo], *, is_told: bool) -> Iterable[Path | Picture]:
    """Return paths of photos, and images named ``picture-N``, where N is the index in the input, from 0.

    An iterator is consumed lazily; anything else is checked at once, so that errors are raised before the first photo.

    Args:
        is_told: whether paths that do not exist are reported one by one later.

    Raises:
        DataError: there is no photo, none of the paths exists, or an item has an unsupported type.
    """
    if isinstance(photos, _SINGLE):
        items: Iterable[Any] = [photos]
    elif isinstance(photos, Mapping) or hasattr(photos, "read") or not isinstance(photos, Iterable):
        items = [Picture.of(Path("what was given"), photos)]  # raises
    else:
        items = photos
    if not isinstance(items, Sized):
        return _each(items)
    found = list(_each(items))
    words = ", ".join(str(item) for item in items if isinstance(item, str | os.PathLike))
    if not found:
        raise DataError(f"no photo in {words or 'an empty list'}; give photos or folders with photos")
    alone = isinstance(photos, _SINGLE)
    if (alone or not is_told) and not any(isinstance(item, Picture) or item.exists() for item in found):
        raise DataError(f"{words} does not exist; give photos or folders with photos")
    return found


def _each(items: Iterable[Any]) -> Iterator[Path | Picture]:
    for number, item in enumerate(items):
        if isinstance(item, str | os.PathLike):
            yield from each_photo([Path(item)])
        else:
            yield Picture.of(Path(f"picture-{number}"), item)


def _checked(array: NDArray[Any], path: Path) -> ByteImage:
    is_grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if array.dtype != np.uint8 or not (is_grey or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        several = "; give several as a list" if array.ndim == 4 else ""
        raise DataError(
            f"{path} is an array {array.shape} of {array.dtype}{several}; a photo is (height, width, 3) of uint8 in RGB, or "
            "(height, width) in grey"
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{path} has {array.shape[1]} x {array.shape[0]} pixels, more than the {MAX_PIXELS:,} that are read")
    grey = array.reshape(array.shape[:2]) if is_grey else None
    return array if grey is None else np.repeat(grey[:, :, None], 3, axis=2)
