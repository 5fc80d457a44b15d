"""The pixels of objects that a person outlined, on a grid of any resolution.

In: an :class:`~dips.types.Outline`, polygons or run lengths. Out: the share of each cell that belongs to the object.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.scoremaps.rle import bounds, decode
from dips.types import FloatArray, Outline, Review

__all__ = ["HALF", "coverage", "object_shares"]

HALF = 0.5
"""Minimum share of a cell for it to count as part of the object."""

_FINE, _LEAST = 1024, 4  # samples along the longer side, and at least along a side of each cell


def coverage(outline: Outline, shape: tuple[int, int]) -> FloatArray:
    """Return the share of each cell ``(h, w)`` of a grid over the outline's window that belongs to the object, 0 to 1.

    Parts of an object are joined. An object smaller than a cell covers a share of it.

    Raises:
        DataError: its run lengths are damaged.

    >>> square = Outline((8, 8), (np.array([[0, 0], [6, 0], [6, 4], [0, 4]], np.float32),))
    >>> coverage(square, (2, 2)).round(2).tolist()
    [[1.0, 0.5], [0.0, 0.0]]
    """
    factor = max(_LEAST, -(-_FINE // max(shape)))
    height, width = shape[0] * factor, shape[1] * factor
    fine = _of_runs(outline, height, width) if outline.runs else _of_polygons(outline, height, width)
    return np.asarray(cv2.resize(fine.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _of_polygons(outline: Outline, height: int, width: int) -> NDArray[np.uint8]:
    fine = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = outline.window
    for polygon in outline.polygons:
        fine |= _filled((polygon / np.array(outline.size) - (x0, y0)) / (x1 - x0, y1 - y0) * (width, height), height, width)
    return fine


def _filled(corners: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.uint8]:
    """Return the cells whose centre is inside a polygon ``(N, 2)``: an odd number of edges is crossed on the way to it.

    OpenCV's own function would include cells that an edge only touches.
    """
    ends = np.roll(corners, -1, axis=0)
    first, last = (np.ceil(y - 0.5).clip(0, height).astype(int) for y in np.sort([corners[:, 1], ends[:, 1]], axis=0))
    counts = last - first  # of the rows whose centre each edge crosses
    edge = np.repeat(np.arange(len(corners)), counts)
    row = np.arange(len(edge)) + np.repeat(first - (counts.cumsum() - counts), counts)
    (x, y), (end_x, end_y) = corners[edge].T, ends[edge].T
    column = np.ceil(x + (row + 0.5 - y) / (end_y - y) * (end_x - x) - 0.5).clip(0, width).astype(int)
    crossed = np.zeros((height, width + 1), np.uint8)
    np.add.at(crossed, (row, column), 1)
    return np.asarray(np.cumsum(crossed, axis=1, dtype=np.uint8)[:, :width] & 1)


def _of_runs(outline: Outline, height: int, width: int) -> NDArray[np.uint8]:
    """Look up the centre of each cell; only the object's own box is decoded, however large the picture is."""
    runs = outline.runs
    fine = np.zeros((height, width), np.uint8)
    if (box := bounds(runs, outline.size)) is None:
        return fine
    crop = decode(runs, outline.size, box=box)
    x0, y0, x1, y1 = outline.window
    columns = np.floor((x0 + (np.arange(width) + 0.5) / width * (x1 - x0)) * outline.size[0]).astype(int) - box[0]
    rows = np.floor((y0 + (np.arange(height) + 0.5) / height * (y1 - y0)) * outline.size[1]).astype(int) - box[1]
    across, down = ((values >= 0) & (values < length) for values, length in zip((columns, rows), crop.shape[::-1], strict=True))
    fine[np.ix_(down, across)] = crop[np.ix_(rows[down], columns[across])]
    return fine


def object_shares(review: Review, shape: tuple[int, ...]) -> FloatArray:
    """Return the share of each cell ``(K, h, w)`` of a grid that belongs to each object: by its outline, or else its box.

    Every object has at least one cell with a share of :data:`HALF` or more. If only a box is known, cells are in or out.
    """
    shares = np.zeros((len(review), *shape), np.float32)
    for position, box in enumerate(review.boxes):
        outline = review.outlines[position] if review.outlines else None
        share = None if outline is None else coverage(outline, (shape[0], shape[1]))
        if share is None or not share.any():  # an outline outside the photo
            share = _covered(box, shape)
        shares[position] = share / share.max() if share.max() < HALF else share  # thinner than a cell
    return shares


def _covered(box: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return a grid ``(h, w)`` with ones in the cells whose centres a box covers, at least one."""
    covered = np.zeros(shape, np.float32)
    x0, y0, x1, y1 = np.clip(box, 0, 1)
    (top, bottom), (left, right) = (_between(low, high, side) for low, high, side in ((y0, y1, shape[0]), (x0, x1, shape[1])))
    covered[top:bottom, left:right] = 1
    return covered


def _between(low: float, high: float, side: int) -> tuple[int, int]:
    """Return start and end (exclusive) of the cells, of ``side``, whose centres lie between two fractions; at least one."""
    first = min(round(low * side), side - 1)
    return first, max(round(high * side), first + 1)
