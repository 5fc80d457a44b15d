"""From an object's pixels to polygons: exact ones along the edges of pixels, or one outline for readers that round.

In: a mask ``(h, w) bool``, part of a photo, and x and y of its corner there. Out: points in the photo's pixels; pixel x covers
x to x + 1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Polygon", "Ring", "outline", "polygons"]

Mask = NDArray[np.bool_]
Ring = list[tuple[int, int]]
Polygon = tuple[Ring, list[Ring]]

_Vertex = tuple[int, int]
# directions are 0 right, 1 down, 2 left, 3 up, so that the next one is a turn to the right


def polygons(mask: Mask, corner: tuple[int, int]) -> list[Polygon]:
    """Return the mask's exact shape: per part its outer ring and those of its holes, each a list of corners.

    Pixels that touch only at a corner are different parts, since a valid polygon has no such neck. No ring touches itself;
    outer rings turn right on the screen, which GeoJSON calls counterclockwise, holes left. The area of all polygons together is
    the number of the mask's pixels.

    >>> mask = np.ones((3, 3), bool)
    >>> mask[1, 1] = False
    >>> polygons(mask, (10, 20))
    [([(10, 20), (13, 20), (13, 23), (10, 23)], [[(11, 22), (12, 22), (12, 21), (11, 21)]])]
    """
    framed = np.pad(mask, 1).astype(np.int8)
    _, labels = cv2.connectedComponents(framed.view(np.uint8), connectivity=4)
    ahead = _edges(framed)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for start, direction in [line for line in ahead if line[1] == 0]:  # every ring goes to the right somewhere
        if (start, direction) not in ahead:
            continue
        walked = _walk(ahead, start, direction)
        x, y = start
        part = int(labels[y + 1, x + 1])  # the pixel below its first line
        for ring in _simple(walked):
            moved = [(x + corner[0], y + corner[1]) for x, y in ring]
            if _twice_area(ring) > 0:
                outer[part] = moved
            else:
                holes.setdefault(part, []).append(moved)
    return [(outer[part], holes.get(part, [])) for part in sorted(outer)]


def _edges(framed: NDArray[np.int8]) -> dict[tuple[_Vertex, int], _Vertex]:
    """Return the straight lines of all rings, pixels on their right: from a corner, in a direction, to the next corner."""
    ahead: dict[tuple[_Vertex, int], _Vertex] = {}
    # between rows: 1 where the object begins below, -1 where it ends above; the frame keeps lines inside their row
    for lines, across in ((np.diff(framed, axis=0), False), (-np.diff(framed, axis=1).T, True)):
        row, begin = np.nonzero(lines[:, 1:] != lines[:, :-1])
        value = lines[row, begin + 1]
        drawn = np.flatnonzero(value)
        for y, x0, x1, sign in zip(
            row[drawn].tolist(), begin[drawn].tolist(), begin[drawn + 1].tolist(), value[drawn].tolist(), strict=True
        ):
            first, last = (x0, x1) if sign > 0 else (x1, x0)
            if across:
                ahead[(y, first), 1 if sign > 0 else 3] = (y, last)
            else:
                ahead[(first, y), 0 if sign > 0 else 2] = (last, y)
    return ahead


def _walk(ahead: dict[tuple[_Vertex, int], _Vertex], start: _Vertex, direction: int) -> Ring:
    """Remove one ring from ``ahead`` and return it. Where four lines meet it turns right, around the same pixel."""
    walked: Ring = []
    here = start
    while True:
        walked.append(here)
        here = ahead.pop((here, direction))
        right, left = (direction + 1) % 4, (direction + 3) % 4
        direction = right if (here, right) in ahead else left
        if (here, direction) not in ahead:
            return walked


def _simple(walked: Ring) -> list[Ring]:
    """Split a ring that returns to a corner into rings that do not."""
    rings: list[Ring] = []
    ring: Ring = []
    seen: dict[_Vertex, int] = {}
    for vertex in walked:
        if vertex in seen:
            loop = ring[seen[vertex] :]
            rings.append(loop)
            del ring[seen[vertex] :]
            for corner in loop:
                del seen[corner]
        seen[vertex] = len(ring)
        ring.append(vertex)
    return [*rings, ring]


def _twice_area(ring: Ring) -> int:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True))


def outline(mask: Mask, corner: tuple[int, int]) -> NDArray[np.float64]:
    """Return one ring around the mask's largest part, without holes, ``(n, 2) float64``; pixels that touch at a corner are one
    part.

    It runs a quarter of a pixel inside the object's border, so that a reader that truncates decimals and fills the polygon
    together with its border gets the object's pixels, holes filled.
    """
    # OpenCV's contours run through the middles of pixels; at twice the size these are a quarter of a pixel from the border
    twice = np.pad(mask, 1).repeat(2, 0).repeat(2, 1).astype(np.uint8)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(contours, key=cv2.contourArea)
    return (np.asarray(largest)[:, 0].astype(np.float64) + 0.5) / 2 - 1 + corner
