"""Boxes of all thresholds of a score map in one pass: component trees instead of a search of contours per threshold.

In: an 8-bit map. Out: boxes, each with the range of cuts at which it is one (the foreground of cut ``c`` is ``map > c``), and
for every cut the box of the contour that encloses most. The same boxes as those of :mod:`dips.evaluate.contours`.

Three facts make it exact:

- Going from high cuts to low, 8-connected components of the foreground only grow and merge, so one union-find over the pixels
  in descending order meets every component of every cut. Holes, 4-connected, grow and merge the same way from low to high.
- A pixel lies in a hole of cut ``c`` if it is background, but cannot reach the frame over background. *Filled*, the map has at
  each pixel the highest value on the lowest way to the frame; the pixel lies in a hole for ``map <= c < filled``.
- The largest contour is the border of a component that lies in no hole of another: of a component of the filled map, which
  has no holes. The polygon through its border pixels covers every square between four pixel centres that are all inside, and
  half of a square with three of them inside: a count that a new pixel changes by its neighbours alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["tree_boxes"]

Ints = NDArray[np.int32]


def tree_boxes(levels: NDArray[np.uint8], *, single: bool = True, multiple: bool = True) -> tuple[Ints, Ints, Ints]:
    """Inclusive boxes of the contours of ``levels > cut`` for all cuts from 0 to the maximum less one.

    Args:
        levels: ``(H, W) uint8``, not all zero.
        single: whether the largest contours are wanted.
        multiple: whether all boxes are wanted.

    Returns:
        boxes ``(M, 4) int32``, ``x0 y0 x1 y1``, both ends inside; ranges ``(M, 2) int32``, first and last cut of each box;
        largest ``(maximum, 4) int32``, for every cut the box of the contour with the largest area. What is not wanted is empty.
    """
    height, width = levels.shape
    stride = width + 2
    padded = np.zeros((height + 2, stride), np.uint8)
    padded[1:-1, 1:-1] = levels
    flat = padded.ravel()
    filled, by_filled = _flood(flat, height, width)
    around = np.array([-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1])
    ends = np.zeros_like(flat)
    if np.array_equal(filled, flat):  # no hole at any cut: one tree has everything
        return _components(flat, by_filled, ends, around, stride, single)  # type: ignore[no-any-return]
    boxes, ranges, largest = np.zeros((0, 4), np.int32), np.zeros((0, 2), np.int32), np.zeros((0, 4), np.int32)
    if single:
        largest = _components(filled, by_filled, ends, around, stride, True)[2]
    if multiple:
        order = _sorted(flat, height, width)
        boxes, ranges, _ = _components(flat, order, ends, around, stride, False)
        # seen upside down a hole is a component: value v becomes 255 - v, and cut c becomes 254 - c
        inside = np.where(flat < filled, 255 - flat, 0).astype(np.uint8)
        beside = around[[1, 3, 4, 6]]
        holes, upside_down, _ = _components(inside, order[::-1].copy(), 255 - filled, beside, stride, False)
        holes += np.array([-1, -1, 1, 1], np.int32)  # the border of a hole is a pixel larger on each side
        boxes, ranges = np.concatenate([boxes, holes]), np.concatenate([ranges, 254 - upside_down[:, ::-1]])
    return boxes, ranges, largest


@njit(cache=True, nogil=True)
def _flood(levels: Any, height: Any, width: Any) -> Any:
    """The map with holes filled, padded and flat as ``levels``; and its pixels in descending order of that."""
    stride = width + 2
    filled = np.zeros(levels.size, np.uint8)
    seen = np.ones(levels.size, np.bool_)
    following = np.empty(levels.size, np.int32)
    head = np.full(256, -1, np.int32)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            pixel = y * stride + x
            if y in (1, height) or x in (1, width):
                filled[pixel] = levels[pixel]
                following[pixel] = head[levels[pixel]]
                head[levels[pixel]] = pixel
            else:
                seen[pixel] = False
    left = height * width
    order = np.empty(left, np.int32)
    for level in range(256):
        while head[level] >= 0:
            pixel = head[level]
            head[level] = following[pixel]
            left -= 1
            order[left] = pixel
            for step in (-stride, -1, 1, stride):
                other = pixel + step
                if not seen[other]:
                    seen[other] = True
                    reached = max(np.int64(levels[other]), level)
                    filled[other] = reached
                    following[other] = head[reached]
                    head[reached] = other
    return filled, order


@njit(cache=True, nogil=True)
def _sorted(levels: Any, height: Any, width: Any) -> Any:
    """The pixels of a padded map in descending order of their values."""
    stride = width + 2
    starts = np.zeros(257, np.int64)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            starts[255 - levels[y * stride + x] + 1] += 1
    starts = np.cumsum(starts)
    order = np.empty(height * width, np.int32)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            pixel = y * stride + x
            place = 255 - levels[pixel]
            order[starts[place]] = pixel
            starts[place] += 1
    return order


# What is known of a component, at its root: its box, the highest cut at which it has that box, its pixels, twice the area of
# the polygon through its border pixels, its first pixel in reading order. 32 bytes, half of a line of the cache.
_X0, _Y0, _X1, _Y1, _SINCE, _SIZE, _AREA, _FIRST = range(8)


@njit(cache=True, nogil=True)
def _components(levels: Any, order: Any, ends: Any, around: Any, stride: Any, areas: Any) -> Any:
    """Boxes of the components of ``levels > cut`` with their cuts; with ``areas`` the largest of every cut too.

    Args:
        levels: padded and flat; pixels of value 0 belong to no component.
        order: the pixels in descending order of ``levels``.
        ends: the lowest cut of a component that is left at the end, at each of its pixels.
        around: the neighbours that connect, as offsets; with ``areas`` all eight, and the map has no holes.
    """
    parent = np.full(levels.size, -1, np.int32)
    known = np.empty((levels.size, 8), np.int32)
    boxes = np.empty((2 * order.size, 4), np.int32)
    ranges = np.empty((2 * order.size, 2), np.int32)
    found = 0
    peak = np.int64(levels[order[0]])
    largest = np.zeros((peak if areas else 0, 4), np.int32)
    leading = np.empty(order.size if areas else 0, np.int32)  # roots with the greatest area so far
    mark = np.full(levels.size if areas else 0, -1, np.int32)
    leaders, most, current = 0, 0, peak
    for pixel in order:
        level = np.int64(levels[pixel])
        if level == 0:
            continue
        if areas and level < current:
            leaders = _lead(parent, known, leading, leaders, mark, largest, level, current)
        current = level
        y, x = pixel // stride - 1, pixel % stride - 1
        root = -1
        for step in around:
            other = parent[pixel + step]
            if other < 0 or other == root:
                continue
            other = _root(parent, other)
            if root < 0:
                root = other
                found = _extend(known, root, x, y, x, y, level, boxes, ranges, found)
                known[root, _SIZE] += 1
                known[root, _FIRST] = min(known[root, _FIRST], pixel)
            elif other != root:
                if known[other, _SIZE] > known[root, _SIZE]:
                    root, other = other, root
                found = _end(known, other, level, boxes, ranges, found)
                x0, y0, x1, y1 = known[other, _X0], known[other, _Y0], known[other, _X1], known[other, _Y1]
                found = _extend(known, root, x0, y0, x1, y1, level, boxes, ranges, found)
                known[root, _SIZE] += known[other, _SIZE]
                known[root, _AREA] += known[other, _AREA]
                known[root, _FIRST] = min(known[root, _FIRST], known[other, _FIRST])
                parent[other] = root
        if root < 0:
            root = pixel
            known[root, _X0], known[root, _Y0], known[root, _X1], known[root, _Y1] = x, y, x, y
            known[root, _SINCE], known[root, _SIZE], known[root, _AREA], known[root, _FIRST] = level - 1, 1, 0, pixel
        parent[pixel] = root
        if areas:
            known[root, _AREA] += _squares(parent, pixel, stride)
            if known[root, _AREA] > most:
                most, leaders = known[root, _AREA], 0
            if known[root, _AREA] == most:
                leading[leaders] = root
                leaders += 1
    if areas:
        _lead(parent, known, leading, leaders, mark, largest, 0, current)
    for pixel in order:
        if parent[pixel] == pixel:
            found = _end(known, pixel, ends[pixel], boxes, ranges, found)
    return boxes[:found].copy(), ranges[:found].copy(), largest


@njit(cache=True, nogil=True)
def _root(parent: Any, pixel: Any) -> Any:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


@njit(cache=True, nogil=True)
def _end(known: Any, root: Any, level: Any, boxes: Any, ranges: Any, found: Any) -> Any:
    """Write down the root's box with the cuts from ``level`` up, unless it has it only below."""
    if known[root, _SINCE] < level:
        return found
    for side in range(4):
        boxes[found, side] = known[root, side]
    ranges[found, 0], ranges[found, 1] = level, known[root, _SINCE]
    return found + 1


@njit(cache=True, nogil=True)
def _extend(known: Any, root: int, x0: int, y0: int, x1: int, y1: int, level: int, boxes: Any, ranges: Any, found: int) -> int:
    """Make the root's box hold another; the old one is written down where it differs."""
    if x0 < known[root, _X0] or y0 < known[root, _Y0] or x1 > known[root, _X1] or y1 > known[root, _Y1]:
        found = _end(known, root, level, boxes, ranges, found)
        known[root, _X0], known[root, _Y0] = min(known[root, _X0], x0), min(known[root, _Y0], y0)
        known[root, _X1], known[root, _Y1] = max(known[root, _X1], x1), max(known[root, _Y1], y1)
        known[root, _SINCE] = level - 1
    return found


@njit(cache=True, nogil=True)
def _squares(parent: Any, pixel: Any, stride: Any) -> Any:
    """What a new pixel adds to twice the polygon's area: one for each square of pixels that now has three or four."""
    up, down, left, right = (
        parent[pixel - stride] >= 0,
        parent[pixel + stride] >= 0,
        parent[pixel - 1] >= 0,
        parent[pixel + 1] >= 0,
    )
    total = 0
    total += (parent[pixel - stride - 1] >= 0) + up + left >= 2
    total += (parent[pixel - stride + 1] >= 0) + up + right >= 2
    total += (parent[pixel + stride - 1] >= 0) + down + left >= 2
    total += (parent[pixel + stride + 1] >= 0) + down + right >= 2
    return total


@njit(cache=True, nogil=True)
def _lead(parent: Any, known: Any, leading: Any, leaders: Any, mark: Any, largest: Any, low: Any, high: Any) -> Any:
    """The largest component of the cuts from ``low`` to ``high`` less one; of equals the last to begin in reading order."""
    kept, best = 0, -1
    for place in range(leaders):
        root = leading[place]
        if parent[root] == root and mark[root] != high:
            mark[root] = high
            leading[kept] = root
            kept += 1
            if best < 0 or known[root, _FIRST] > known[best, _FIRST]:
                best = root
    for cut in range(low, high):
        for side in range(4):
            largest[cut, side] = known[best, side]
    return kept
