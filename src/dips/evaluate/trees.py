"""Boxes of a score map at all thresholds in one pass: component trees instead of a contour search per threshold.

In: an 8-bit map. Out: boxes, each with its range of cuts (the foreground of cut ``c`` is ``map > c``), and for every cut the
box of the contour with the largest area. The boxes are the same as those of :mod:`dips.evaluate.contours`.

Three facts make it exact:

- From high cuts to low, 8-connected components of the foreground only grow and merge, so one union-find over the pixels in
  descending order finds every component of every cut. Holes, 4-connected, grow and merge the same way from low to high.
- A pixel is in a hole of cut ``c`` if it is background, but cannot reach the frame through background. The *filled* map has at
  each pixel the highest value on the lowest path to the frame; the pixel is in a hole for ``map <= c < filled``.
- The largest contour is the border of a component that is in no hole of another: of a component of the filled map, which has
  no holes. The polygon through its border pixels covers every square between four pixel centres that are all inside, and half
  of a square with three of them inside: a new pixel changes this count through its neighbours only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["tree_boxes"]

Ints = NDArray[np.int32]


def _options() -> dict[str, Any]:
    try:
        njit(cache=True)(_options)  # compiles nothing yet, but looks for a cache folder
    except RuntimeError:  # no writable folder: every process compiles again
        return {"nogil": True}
    return {"cache": True, "nogil": True}


_COMPILED = _options()
_INLINE = {**_COMPILED, "inline": "always"}  # a call with arrays costs as much as a pixel's work


def tree_boxes(levels: NDArray[np.uint8], *, single: bool = True, multiple: bool = True) -> tuple[Ints, Ints, Ints]:
    """Return the inclusive boxes of the contours of ``levels > cut`` for all cuts from 0 to the maximum minus one.

    Args:
        levels: ``(H, W) uint8``, not all zero.
        single: whether to return the largest contours.
        multiple: whether to return all boxes.

    Returns:
        boxes ``(M, 4) int32``, ``x0 y0 x1 y1``, both ends inside; ranges ``(M, 2) int32``, first and last cut of each box;
        largest ``(maximum, 4) int32``, for every cut the box of the contour with the largest area. Unrequested ones are empty.
    """
    height, width = levels.shape
    stride = width + 2
    padded = np.zeros((height + 2, stride), np.uint8)
    padded[1:-1, 1:-1] = levels
    flat = padded.ravel()
    filled = _filled(flat, height, width)
    around = np.array([-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1])
    to_the_end = np.zeros_like(flat)
    if np.array_equal(filled, flat):  # no hole at any cut: one tree has everything
        return _components(flat, to_the_end, around, stride, single)  # type: ignore[no-any-return]
    boxes, ranges, largest = np.zeros((0, 4), np.int32), np.zeros((0, 2), np.int32), np.zeros((0, 4), np.int32)
    if single:
        largest = _components(filled, to_the_end, around, stride, True)[2]
    if multiple:
        boxes, ranges, _ = _components(flat, to_the_end, around, stride, False)
        # upside down, a hole is a component: value v becomes 255 - v, and cut c becomes 254 - c
        inside = np.where(flat < filled, 255 - flat, 0).astype(np.uint8)
        holes, upside_down, _ = _components(inside, 255 - filled, around[[1, 3, 4, 6]], stride, False)
        holes += np.array([-1, -1, 1, 1], np.int32)  # the border of a hole is a pixel larger on each side
        boxes, ranges = np.concatenate([boxes, holes]), np.concatenate([ranges, 254 - upside_down[:, ::-1]])
    return boxes, ranges, largest


@njit(**_COMPILED)
def _filled(levels: Any, height: Any, width: Any) -> Any:
    """Return the map with its holes filled, padded and flat like ``levels``: a flood from the frame, level by level."""
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
    for level in range(256):
        while head[level] >= 0:
            pixel = head[level]
            head[level] = following[pixel]
            for step in (-stride, -1, 1, stride):
                other = pixel + step
                if not seen[other]:
                    seen[other] = True
                    value = np.int64(levels[other])
                    reached = value if value > level else level
                    filled[other] = reached
                    following[other] = head[reached]
                    head[reached] = other
    return filled


# Fields of a component on the stack: its level, its box and the highest level at which it had this box, twice the area of the
# polygon through its border pixels, its first pixel in reading order.
_LEVEL, _X0, _Y0, _X1, _Y1, _SINCE, _AREA, _FIRST = range(8)


@njit(**_COMPILED)
def _components(levels: Any, ends: Any, around: Any, stride: Any, areas: Any) -> Any:
    """Return the boxes of the components of ``levels > cut`` with their cuts; with ``areas`` also the largest of every cut.

    A climber always takes the next higher pixel, and on a summit the highest one seen so far: components that are not complete
    yet are on a stack, lower ones below higher ones (Nister and Stewenius, ECCV 2008, there for MSER).

    Args:
        levels: padded and flat; pixels with value 0 belong to no component.
        ends: the lowest cut of a component that no longer meets another one, at each of its pixels.
        around: the connected neighbours, as offsets; with ``areas`` all eight, and the map has no holes.
    """
    seen = levels == 0
    edge = np.zeros(levels.size, np.uint8)  # neighbours visited
    following = np.empty(levels.size, np.int32)
    head = np.full(256, -1, np.int32)  # of the list of pixels of each value that were seen but not taken
    stack = np.zeros((257, 8), np.int64)
    # each pixel changes a box at most once, and begins a component that ends at most once
    boxes = np.empty((2 * levels.size, 4), np.int32)
    ranges = np.empty((2 * levels.size, 2), np.int32)
    found = 0
    peak = np.int64(levels.max()) if areas else 0
    largest = np.zeros((peak, 4), np.int32)
    best = np.full((peak, 2), -1, np.int64)  # area and first pixel of the largest so far
    pixel: Any
    level: Any
    side: Any
    for seed in range(levels.size):
        if seen[seed]:
            continue
        seen[seed] = True
        top = 0
        pixel, level = np.int64(seed), np.int64(levels[seed])
        _begin(stack, top, level)
        while True:
            side = np.int64(edge[pixel])
            while side < around.size:
                other = pixel + around[side]
                side += 1
                if seen[other]:
                    continue
                seen[other] = True
                value = np.int64(levels[other])
                if value > level:
                    edge[pixel] = side
                    following[pixel] = head[level]
                    head[level] = pixel
                    pixel, level, side = other, value, 0
                    top += 1
                    _begin(stack, top, level)
                else:
                    following[other] = head[value]
                    head[value] = other
            y, x = pixel // stride - 1, pixel % stride - 1
            if _outside(stack, top, x, y, x, y):
                found = _extend(stack, top, x, y, x, y, boxes, ranges, found)
            if areas:
                stack[top, _AREA] += _squares(levels, pixel, stride)
                stack[top, _FIRST] = min(stack[top, _FIRST], pixel)
            lower = level
            while lower > 0 and head[lower] < 0:
                lower -= 1
            if lower == 0:
                break
            pixel = np.int64(head[lower])
            head[lower] = following[pixel]
            while level > lower:  # the component is complete down to the next level with pixels left
                below = stack[top - 1, _LEVEL] if top else 0
                joins = below >= lower
                level = below if joins else lower
                if areas:
                    _compare(stack, top, level, best, largest)
                if joins:
                    found = _end(stack, top, level, boxes, ranges, found)
                    x0, y0, x1, y1 = stack[top, _X0], stack[top, _Y0], stack[top, _X1], stack[top, _Y1]
                    top -= 1
                    if _outside(stack, top, x0, y0, x1, y1):
                        found = _extend(stack, top, x0, y0, x1, y1, boxes, ranges, found)
                    stack[top, _AREA] += stack[top + 1, _AREA]
                    stack[top, _FIRST] = min(stack[top, _FIRST], stack[top + 1, _FIRST])
                else:
                    stack[top, _LEVEL] = level
        if areas:
            _compare(stack, 0, 0, best, largest)
        found = _end(stack, 0, np.int64(ends[seed]), boxes, ranges, found)
    return boxes[:found].copy(), ranges[:found].copy(), largest


@njit(**_INLINE)
def _begin(stack: Any, top: Any, level: Any) -> Any:
    """Start a new component, without any pixels yet."""
    stack[top, _LEVEL] = stack[top, _SINCE] = level
    stack[top, _X0] = stack[top, _Y0] = stack[top, _FIRST] = np.iinfo(np.int64).max
    stack[top, _X1] = stack[top, _Y1] = -1
    stack[top, _AREA] = 0


@njit(**_INLINE)
def _end(stack: Any, top: Any, level: Any, boxes: Any, ranges: Any, found: Any) -> Any:
    """Record the component's box, which it had above ``level``."""
    for side in range(4):
        boxes[found, side] = stack[top, _X0 + side]
    ranges[found, 0], ranges[found, 1] = level, stack[top, _SINCE] - 1
    return found + 1


@njit(**_INLINE)
def _outside(stack: Any, top: Any, x0: Any, y0: Any, x1: Any, y1: Any) -> Any:
    """Return whether a box extends beyond that of the component."""
    return x0 < stack[top, _X0] or y0 < stack[top, _Y0] or x1 > stack[top, _X1] or y1 > stack[top, _Y1]


@njit(**_INLINE)
def _extend(stack: Any, top: Any, x0: Any, y0: Any, x1: Any, y1: Any, boxes: Any, ranges: Any, found: Any) -> Any:
    """Extend the component's box to contain another at its level; the old one is recorded if it belonged to higher levels."""
    if stack[top, _SINCE] > stack[top, _LEVEL]:
        found = _end(stack, top, stack[top, _LEVEL], boxes, ranges, found)
        stack[top, _SINCE] = stack[top, _LEVEL]
    stack[top, _X0], stack[top, _Y0] = min(stack[top, _X0], x0), min(stack[top, _Y0], y0)
    stack[top, _X1], stack[top, _Y1] = max(stack[top, _X1], x1), max(stack[top, _Y1], y1)
    return found


@njit(**_INLINE)
def _squares(levels: Any, pixel: Any, stride: Any) -> Any:
    """Return what a pixel adds to twice the polygon's area: one for each square in which two of the others precede it.

    Higher pixels precede it, and of equal ones those earlier in reading order; within a level the order makes no difference.
    """
    value = levels[pixel]
    above, left = levels[pixel - stride] >= value, levels[pixel - 1] >= value
    below, right = levels[pixel + stride] > value, levels[pixel + 1] > value
    total = 0
    total += (levels[pixel - stride - 1] >= value) + above + left >= 2
    total += (levels[pixel - stride + 1] >= value) + above + right >= 2
    total += (levels[pixel + stride - 1] > value) + below + left >= 2
    total += (levels[pixel + stride + 1] > value) + below + right >= 2
    return total


@njit(**_INLINE)
def _compare(stack: Any, top: Any, level: Any, best: Any, largest: Any) -> Any:
    """Record the component as the largest of the cuts from ``level`` up where it is; of equals the last in reading order."""
    area, first = stack[top, _AREA], stack[top, _FIRST]
    for cut in range(level, stack[top, _LEVEL]):
        if area > best[cut, 0] or (area == best[cut, 0] and first > best[cut, 1]):
            best[cut, 0], best[cut, 1] = area, first
            for side in range(4):
                largest[cut, side] = stack[top, _X0 + side]
