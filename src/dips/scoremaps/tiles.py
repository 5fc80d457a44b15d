"""Large photos as overlapping tiles: where they are, and how their score maps become one map of the photo.

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

__all__ = ["LOGIT_MARGIN", "Blend", "CellBlend", "ClassVote", "Tiles"]

MAX_CELLS = 4_000_000  # of the joined map, so that memory does not grow with the photo
RIM_WEIGHT = 1e-3  # at the rim of a tile; above 0, so that cells which only one tile covers have a mean
WHOLE_WEIGHT = 0.5  # of the whole photo's map, relative to the tiles' (docs/experiments.md)
LOGIT_MARGIN = 1e-4
"""Scores are clipped this far from 0 and 1 before their logit is computed."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles that cover a photo, evenly spaced, the outermost flush with its borders.

    Attributes:
        size: width and height of the photo in pixels.
        tile: width and height of every tile; no larger than the photo.
        lefts, tops: where columns and rows of tiles begin.

    >>> tiles = Tiles.plan((1000, 400), 400, 0.25)
    >>> len(tiles), list(tiles)
    (3, [(0, 0, 400, 400), (300, 0, 700, 400), (600, 0, 1000, 400)])
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    @staticmethod
    def plan(size: tuple[int, int], side: int, overlap: float) -> Tiles:
        """Return the fewest square tiles of ``side`` pixels of which neighbours share at least a fraction ``overlap`` < 1."""
        lefts, tops = (_starts(length, side, overlap) for length in size)
        return Tiles(size, (min(side, size[0]), min(side, size[1])), lefts, tops)

    def __len__(self) -> int:
        return len(self.lefts) * len(self.tops)

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield ``x0 y0 x1 y1`` of each, row by row, end exclusive."""
        for top, left in product(self.tops, self.lefts):
            yield left, top, left + self.tile[0], top + self.tile[1]


def _starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    if length <= side:
        return (0,)
    steps = math.ceil((length - side) / max(1.0, side * (1 - overlap)))
    return tuple(round(step * (length - side) / steps) for step in range(steps + 1))


class Blend:
    """The mean of the tiles' logits, weighted by a window that falls off towards their rims.

    The map has the resolution of the tiles' own maps, but at most four million cells; nothing else is kept.

    Args:
        tiles: the photo's tiles.
        resolution: side of the tiles' maps in cells.

    >>> tiles = Tiles.plan((80, 40), 40, 0.5)
    >>> blend = Blend(tiles, 20)
    >>> for tile in tiles:
    ...     blend.add(tile, np.full((20, 20), 0.5, np.float32))
    >>> blend.with_whole(np.zeros((20, 20), np.float32)).shape
    (20, 40)
    """

    def __init__(self, tiles: Tiles, resolution: int) -> None:
        width, height = tiles.size
        scale = min(resolution / max(tiles.tile), math.sqrt(MAX_CELLS / (width * height)))
        self.tiles = tiles
        self.width, self.height = max(1, round(width * scale)), max(1, round(height * scale))
        self._sum = np.zeros((self.height, self.width), np.float32)
        self._weight = np.zeros((self.height, self.width), np.float32)

    def add(self, tile: tuple[int, int, int, int], score_map: FloatArray) -> None:
        """Add the map ``(h, w)`` in [0, 1] of a tile, one of ``tiles``."""
        x0, y0, x1, y1 = _cells_of(tile, self.tiles.size, (self.width, self.height))
        window = np.outer(_window(y1 - y0), _window(x1 - x0))
        self._sum[y0:y1, x0:x1] += window * logit(_fitted(score_map, x1 - x0, y1 - y0))
        self._weight[y0:y1, x0:x1] += window

    def with_whole(self, whole: FloatArray) -> FloatArray:
        """Return the map ``(height, width)`` in [0, 1] of the photo, once every tile has been added.

        Args:
            whole: the map of the photo as a whole, ``(h, w)`` in [0, 1]. Its logits have a small weight: enough for objects
                larger than a tile, not enough to blur the others (measured: docs/experiments.md).
        """
        joined = self._sum / self._weight + WHOLE_WEIGHT * logit(_fitted(whole, self.width, self.height))
        return sigmoid(np.asarray(joined / (1 + WHOLE_WEIGHT), np.float32))


class CellBlend:
    """The mean of the class logits in the tiles' cells, weighted like the maps of :class:`Blend`.

    Args:
        tiles: the photo's tiles.
        whole: logits of the classes ``(C, h, w)`` in the cells of the photo as a whole; those of tiles have the same shape.

    >>> tiles = Tiles.plan((80, 40), 40, 0.5)
    >>> blend = CellBlend(tiles, np.zeros((3, 2, 2), np.float32))
    >>> for tile in tiles:
    ...     blend.add(tile, np.ones((3, 2, 2), np.float32))
    >>> blend.logits().shape
    (3, 2, 4)
    """

    def __init__(self, tiles: Tiles, whole: FloatArray) -> None:
        width, height = tiles.size
        self._whole, self._tiles = whole, tiles
        classes = len(whole)
        scale = min(max(whole.shape[1:]) / max(tiles.tile), math.sqrt(MAX_CELLS / (classes * width * height)))
        self._width, self._height = max(1, round(width * scale)), max(1, round(height * scale))
        self._sum = np.zeros((classes, self._height, self._width), np.float32)
        self._weight = np.zeros((self._height, self._width), np.float32)

    def add(self, tile: tuple[int, int, int, int], logits: FloatArray) -> None:
        """Add the logits ``(C, h, w)`` of a tile, one of those in ``tiles``."""
        x0, y0, x1, y1 = _cells_of(tile, self._tiles.size, (self._width, self._height))
        window = np.outer(_window(y1 - y0), _window(x1 - x0))
        for total, plane in zip(self._sum, logits, strict=True):
            total[y0:y1, x0:x1] += window * _fitted(plane, x1 - x0, y1 - y0)
        self._weight[y0:y1, x0:x1] += window

    def logits(self) -> FloatArray:
        """Return the photo's logits ``(C, height, width)``, once every tile has been added."""
        whole = np.stack([_fitted(plane, self._width, self._height) for plane in self._whole])
        return np.asarray((self._sum / self._weight + WHOLE_WEIGHT * whole) / (1 + WHOLE_WEIGHT), np.float32)


class ClassVote:
    """The class probabilities of a photo, from those of the whole and of its tiles.

    The photo shows an object if any view does; its class is the mean over the views, each weighted by its highest score.

    Args:
        whole, probabilities: the first view, see :meth:`add`.
        background: label of the class without object, if there is one.

    >>> vote = ClassVote(np.full((2, 2), 0.1, np.float32), np.array([0.9, 0.1, 0.0], np.float32), background=0)
    >>> vote.add(np.full((2, 2), 0.8, np.float32), np.array([0.2, 0.0, 0.8], np.float32))
    >>> [f"{value:.2f}" for value in vote.probabilities()]
    ['0.20', '0.01', '0.79']
    """

    def __init__(self, whole: FloatArray, probabilities: FloatArray, background: int | None) -> None:
        self.background = background
        self._sum = np.zeros(len(probabilities), np.float64)
        self._empty = 1.0
        self.add(whole, probabilities)

    def add(self, score_map: FloatArray, probabilities: FloatArray) -> None:
        """Add a view: its map ``(h, w)`` in [0, 1] and class probabilities ``(C,)``."""
        objects = probabilities.astype(np.float64)
        if self.background is not None:
            self._empty = min(self._empty, float(objects[self.background]))
            objects[self.background] = 0
        self._sum += objects * float(score_map.max())

    def probabilities(self) -> FloatArray:
        """Return the probabilities of the photo, ``(C,) float32``, summing to 1."""
        total = self._sum.sum()
        if total == 0:  # every map is 0, or every view is sure of the background
            fractions = np.full(len(self._sum), 1 / len(self._sum))
            return self._with_background(fractions * (self.background is None))
        return self._with_background(self._sum / total)

    def _with_background(self, fractions: NDArray[np.float64]) -> FloatArray:
        if self.background is None:
            return fractions.astype(np.float32)
        fractions = fractions * (1 - self._empty)
        fractions[self.background] = self._empty
        return fractions.astype(np.float32)


def _cells_of(tile: tuple[int, int, int, int], size: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the cells ``x0 y0 x1 y1`` of a tile, end exclusive, in a grid over a photo of ``size``; at least one."""
    (x0, x1), (y0, y1) = ([round(end * cells[axis] / size[axis]) for end in tile[axis::2]] for axis in (0, 1))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _fitted(score_map: FloatArray, width: int, height: int) -> FloatArray:
    """Return the map resized: means of cells along an axis that shrinks, bilinear along one that grows."""
    rows, columns = score_map.shape
    smaller = (min(width, columns), min(height, rows))
    shrunk = cv2.resize(score_map, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def logit(score_map: FloatArray) -> FloatArray:
    """Return log odds, finite also at scores of 0 and 1."""
    inside = np.clip(score_map, LOGIT_MARGIN, 1 - LOGIT_MARGIN)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return log odds as scores in [0, 1]."""
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _window(cells: int) -> FloatArray:
    return np.asarray(np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2 + RIM_WEIGHT, np.float32)
