"""Large photos as training data: overlapping tiles that are samples of their own, with the photo's label and its boxes.

In: a data set. Out: the same data set in tiles, and the pixels of a sample, whether it is a tile or a whole photo.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dips.data.depth import Depth
from dips.data.images import ByteImage, image_size, median_side, read_image
from dips.data.split import spread
from dips.data.windows import open_photo
from dips.errors import ConfigError, ImageError
from dips.scoremaps.tiles import Tiles
from dips.system.console import log
from dips.types import DataSet, FloatArray, Sample

__all__ = ["MUCH_LARGER", "in_tiles", "read_sample", "read_tiles", "tile_side"]

MUCH_LARGER = 2.5
"""Times the side that networks see: in photos of this size or more, objects of ordinary size may be too small."""

_LARGER = 2  # times that side: photos of this size or more can be cut into tiles
_ACROSS = 4  # tiles side by side in a photo, unless what the networks see is smaller
_LOOKED_AT = 200  # photos whose size is read
_VISIBLE = 0.3  # share of a box: a tile with less of it does not show the object, unless it fills that share of the tile
_SLIVER = 0.02  # share of a tile's side: boxes are not drawn more precisely


def tile_side(data: DataSet, side: int, seen: int) -> int:
    """Return the side of the training tiles in pixels, 0 to train on whole photos; log a hint if tiles may be better.

    Args:
        data: the training photos.
        side: ``train.tile``: -1 takes a quarter of the photos' side, at most ``seen``, if they are large enough.
        seen: side in pixels of the square that the CNN sees.

    Raises:
        ConfigError: tiles are requested, but there is no class without object, so that nothing tells which tiles show one.
    """
    typical = _typical_side(data) if side <= 0 else 0.0
    larger = typical / seen
    if side == 0 and larger >= MUCH_LARGER:
        log(
            f"the photos are {larger:.1f} times as wide and high as what the networks see; if their objects are small, learn "
            "from them in tiles: --set train.tile=-1"
        )
    if side == 0 or (side < 0 and larger < _LARGER):
        return 0
    if data.background is None:
        raise ConfigError(
            "train.tile needs photos that show no object, to tell which tiles of the others show one; put some into a folder "
            "called 'none' (or name one with data.background_class), or set train.tile=0"
        )
    return side if side > 0 else min(seen, round(typical / _ACROSS))


def _typical_side(data: DataSet) -> float:
    sizes: list[tuple[int, int]] = []
    for sample in spread(data.samples, _LOOKED_AT):
        with suppress(ImageError):  # reported when all photos are read
            sizes.append(image_size(sample.path))
    return median_side(sizes) if sizes else 0.0


def in_tiles(data: DataSet, side: int, overlap: float) -> DataSet:
    """Return a data set whose samples are tiles, as :meth:`~dips.scoremaps.tiles.Tiles.plan` places them.

    Photos that are no larger than a tile stay whole, as do those whose size cannot be read. Masks are left out. If a tile shows
    only a small part of a box, its boxes are unknown, and it does not count as reviewed.
    """
    return dataclasses.replace(data, samples=tuple(tile for sample in data.samples for tile in _tiles(sample, side, overlap)))


def _tiles(sample: Sample, side: int, overlap: float) -> tuple[Sample, ...]:
    try:
        size = image_size(sample.path)
    except ImageError:  # reported when it is read
        return (sample,)
    tiles = Tiles.plan(size, side, overlap)
    if len(tiles) < 2:
        return (sample,)
    boxes = None
    if sample.boxes is not None:
        frame = sample.frame or size
        boxes = np.asarray(sample.boxes * np.array([size[0] / frame[0], size[1] / frame[1]] * 2, np.float32), np.float32)
    return tuple(_tile(sample, size, boxes, tile) for tile in tiles)


def _tile(sample: Sample, size: tuple[int, int], boxes: FloatArray | None, tile: tuple[int, int, int, int]) -> Sample:
    x0, y0, x1, y1 = tile
    parts = visible = None
    if boxes is not None:
        parts = np.asarray(np.clip(boxes, (x0, y0, x0, y0), (x1, y1, x1, y1)) - np.array([x0, y0, x0, y0]), np.float32)
        visible = _visible(boxes, parts, (x1 - x0, y1 - y0), crumbs=sample.reviewed)
    seen = None if visible is None or parts is None else parts[visible]
    window = (x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1])
    shown = () if visible is None else visible
    outlines = tuple(outline and dataclasses.replace(outline, window=window) for outline in compress(sample.outlines, shown))
    return dataclasses.replace(
        sample,
        id=f"{sample.id}#{x0},{y0}",
        boxes=seen,
        frame=(x1 - x0, y1 - y0),
        masks=(),
        ignore=None,
        reviewed=sample.reviewed and seen is not None,
        window=tile,
        outlines=outlines,
        box_labels=tuple(compress(sample.box_labels, shown)),
    )


def _visible(boxes: FloatArray, parts: FloatArray, tile: tuple[int, int], *, crumbs: bool) -> NDArray[np.bool_] | None:
    """Return which boxes ``(K,)`` a tile shows; None if it only shows small parts of some.

    Args:
        parts: parts of the boxes inside the tile, ``(K, 4)``.
        tile: its width and height in pixels.
        crumbs: small parts also count beside a larger one, as everything outside of the boxes is learned as background.
    """
    least = _VISIBLE * np.minimum(_areas(boxes), tile[0] * tile[1])
    shown = (_areas(parts) > 0) & (_areas(parts) >= least)
    small = ~shown & ((parts[:, 2:] - parts[:, :2]).min(1, initial=np.inf) >= _SLIVER * max(tile))
    if small.any() and not shown.any():
        return None
    return np.asarray(shown | small if crumbs else shown)


def _areas(boxes: FloatArray) -> FloatArray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)


def read_sample(sample: Sample, *, max_side: int, depth: Depth) -> ByteImage:
    """Read the pixels ``(H, W, 3) uint8`` RGB of a sample, whole photos as :func:`~dips.data.images.read_image` does.

    Raises:
        ImageError: as for that function.
    """
    if sample.window is None:
        return read_image(sample.path, max_side=max_side, depth=depth)
    return read_tiles(sample.path, [sample.window], depth)[0]


def read_tiles(path: Path, windows: list[tuple[int, int, int, int]], depth: Depth) -> list[ByteImage]:
    """Read tiles of one photo, which is decoded once.

    Raises:
        ImageError: as for :func:`~dips.data.windows.open_photo`.
    """
    with open_photo(path, depth) as photo:
        return [photo.window(*window) for window in windows]
