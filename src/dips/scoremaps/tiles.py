"""Large photos as overlapping tiles: where they lie, and how their score maps become one map of the photo.

In: the size of a photo and the score maps of its tiles, one at a time. Out: one map of the whole photo. Maps are joined before
anything is thresholded, so an object across a seam is one object. NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.types import FloatArray

__all__ = ["FINEST", "Blend", "ClassVote", "Tiles"]

_CELLS = 4_000_000  # of the joined map at most, so that memory does not grow with the photo
_LEAST = 1e-3  # weight at the rim of a tile: where no other tile reaches it alone decides
FINEST = 1e-4
"""How near to 0 and 1 a score may come where its logit is taken."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles that cover a photo, evenly spaced, the outermost flush with its borders.

    Attributes:
        size: width and height of the photo in pixels.
        tile: width and height of every tile; less than asked for where the photo is smaller.
        lefts, tops: where columns and rows of tiles begin.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    @staticmethod
    def plan(size: tuple[int, int], side: int, overlap: float) -> Tiles:
        """The fewest square tiles of ``side`` pixels of which neighbours share at least ``overlap`` (below 1) of their side."""
        lefts, tops = (_starts(length, side, overlap) for length in size)
        return Tiles(size, (min(side, size[0]), min(side, size[1])), lefts, tops)

    def __len__(self) -> int:
        return len(self.lefts) * len(self.tops)

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        """``x0 y0 x1 y1`` of each, row by row, end exclusive."""
        for top, left in product(self.tops, self.lefts):
            yield left, top, left + self.tile[0], top + self.tile[1]


def _starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    if length <= side:
        return (0,)
    steps = math.ceil((length - side) / max(1.0, side * (1 - overlap)))
    return tuple(round(step * (length - side) / steps) for step in range(steps + 1))


class Blend:
    """The mean of the tiles' logits, weighted by a window that falls off towards their rims.

    The map has the resolution of the tiles' own maps, but at most four million cells; it is all that is kept.
    """

    def __init__(self, tiles: Tiles, resolution: int) -> None:
        """``resolution``: side of the tiles' maps in cells."""
        width, height = tiles.size
        scale = min(resolution / max(tiles.tile), math.sqrt(_CELLS / (width * height)))
        self.tiles = tiles
        self.width, self.height = max(1, round(width * scale)), max(1, round(height * scale))
        self._sum = np.zeros((self.height, self.width), np.float32)
        self._weight = np.zeros((self.height, self.width), np.float32)

    def add(self, tile: tuple[int, int, int, int], score_map: FloatArray) -> None:
        """Lay the map ``(h, w)`` in [0, 1] of a tile, one of those that ``tiles`` yields, where it belongs."""
        width, height = self.tiles.size
        x0, x1 = (round(x * self.width / width) for x in tile[::2])
        y0, y1 = (round(y * self.height / height) for y in tile[1::2])
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        window = np.outer(_window(y1 - y0), _window(x1 - x0))
        self._sum[y0:y1, x0:x1] += window * logit(_fitted(score_map, x1 - x0, y1 - y0))
        self._weight[y0:y1, x0:x1] += window

    def with_whole(self, whole: FloatArray) -> FloatArray:
        """The map ``(height, width)`` in [0, 1] of the photo, once every tile was added.

        Args:
            whole: what the networks said of the photo as a whole, ``(h, w)`` in [0, 1]. The higher of the two counts, so that
                objects larger than a tile are seen at once (measured against means of both: docs/results.md).
        """
        tiled = sigmoid(np.asarray(self._sum / self._weight, np.float32))
        return np.maximum(tiled, _fitted(whole, self.width, self.height))


class ClassVote:
    """The classes of a photo from what was said of the whole and of its tiles.

    The photo shows an object if any view does. Which one: the mean over the views, each weighted by its highest score.
    """

    def __init__(self, whole: FloatArray, probabilities: FloatArray, background: int | None) -> None:
        self.background = background
        self._sum = np.zeros(len(probabilities), np.float64)
        self._empty = 1.0
        self.add(whole, probabilities)

    def add(self, score_map: FloatArray, probabilities: FloatArray) -> None:
        """One more view: its map and class probabilities ``(C,)``."""
        objects = probabilities.astype(np.float64)
        if self.background is not None:
            self._empty = min(self._empty, float(objects[self.background]))
            objects[self.background] = 0
        self._sum += objects * float(score_map.max())

    def probabilities(self) -> FloatArray:
        """Of the photo, ``(C,) float32``, summing to 1."""
        total = self._sum.sum()
        if total == 0:  # every map is 0, or every view is sure of the background
            shares = np.full(len(self._sum), 1 / len(self._sum))
            return self._with_background(shares * (self.background is None))
        return self._with_background(self._sum / total)

    def _with_background(self, shares: NDArray[np.float64]) -> FloatArray:
        if self.background is None:
            return shares.astype(np.float32)
        shares = shares * (1 - self._empty)
        shares[self.background] = self._empty
        return shares.astype(np.float32)


def _fitted(score_map: FloatArray, width: int, height: int) -> FloatArray:
    """Means of cells along an axis that shrinks, bilinear along one that grows."""
    rows, columns = score_map.shape
    smaller = (min(width, columns), min(height, rows))
    shrunk = cv2.resize(score_map, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def logit(score_map: FloatArray) -> FloatArray:
    """Log odds, finite also at 0 and 1."""
    inside = np.clip(score_map, FINEST, 1 - FINEST)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """From log odds back to [0, 1]."""
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _window(cells: int) -> FloatArray:
    return np.asarray(np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2 + _LEAST, np.float32)
