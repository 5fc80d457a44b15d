"""From maps to proposals (paper 3.1): threshold, 8-connected components, a box and a region for each.

In: a photo's maps ``(M, h, w)``, maximum 1. Out: :class:`Proposals`, not scored yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.scoremaps.levels import components, otsu, quantise
from dips.types import FloatArray

__all__ = ["Proposals", "propose"]


@dataclass(frozen=True)
class Proposals:
    """Candidate objects of one photo.

    Attributes:
        boxes: ``(P, 4) float32``, ``x0 y0 x1 y1`` as fractions of the frame.
        regions: ``(P, F, F) bool``: the components that the boxes enclose.
        sources: ``(P,) int64``: index of the map that each comes from.

    See :func:`propose` for an example.
    """

    boxes: FloatArray
    regions: NDArray[np.bool_]
    sources: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


def propose(maps: FloatArray, *, min_area: float, frame: int, power: float = 1.0, levels: int = 0) -> Proposals:
    """Find the components of every map above its threshold.

    Args:
        maps: ``(M, h, w)``, each divided by its maximum.
        min_area: least area of a box as a fraction of the frame; a map without a box that large yields its largest.
        frame: side F of the square that the maps are resized to.
        power: exponent that tempers the map, ``map ** power``, before the threshold.
        levels: 0 = Otsu's threshold; N = the N fractions ``1/(N+1) ... N/(N+1)`` of the map's maximum.

    Returns:
        The proposals without duplicate regions, in the order of the maps; none if all maps are constant.

    >>> score_map = np.zeros((1, 4, 4), np.float32)
    >>> score_map[0, 1:3, 1:3] = 1
    >>> propose(score_map, min_area=0.0, frame=4).boxes.tolist()
    [[0.25, 0.25, 0.75, 0.75]]
    """
    boxes: list[NDArray[np.float64]] = []
    regions: list[NDArray[np.bool_]] = []
    sources: list[int] = []
    seen: set[bytes] = set()
    for source, coarse in enumerate(maps):
        full = cv2.resize(coarse.astype(np.float32), (frame, frame), interpolation=cv2.INTER_LINEAR).clip(0, 1)
        full = np.asarray(full / max(float(full.max()), np.finfo(np.float32).tiny), np.float32)
        for mask in _masks(full if power == 1 else np.power(full, np.float32(power)), levels):
            labels, stats = components(mask)
            for part in _large(stats, min_area * frame * frame):
                x, y, width, height = stats[part, :4]
                window = np.s_[y : y + height, x : x + width]
                shape = labels[window] == part
                fingerprint = stats[part, :4].tobytes() + np.packbits(shape).tobytes()
                if fingerprint in seen:
                    continue
                seen.add(fingerprint)
                region = np.zeros((frame, frame), np.bool_)
                region[window] = shape
                boxes.append(np.array([x, y, x + width, y + height]) / frame)
                regions.append(region)
                sources.append(source)
    if not boxes:
        return Proposals(np.zeros((0, 4), np.float32), np.zeros((0, frame, frame), np.bool_), np.zeros(0, np.int64))
    return Proposals(np.stack(boxes).astype(np.float32), np.stack(regions), np.array(sources, np.int64))


def _masks(full: NDArray[np.float32], levels: int) -> list[NDArray[np.bool_]]:
    """Return the pixels ``(F, F)`` of a map above its threshold, or above each of several."""
    cut = otsu(full)
    if cut is None:  # a constant map has no region
        return []
    if levels == 0:
        return [quantise(full) > cut]
    return [full > level / (levels + 1) for level in range(1, levels + 1)]


def _large(stats: NDArray[np.int32], min_area: float) -> list[int]:
    """Return the components whose boxes exceed ``min_area`` pixels, or else the one with the largest box."""
    areas = stats[1:, 2].astype(np.int64) * stats[1:, 3]
    if len(areas) == 0:
        return []
    large = np.flatnonzero(areas > min_area)
    return [int(i) + 1 for i in (large if len(large) else [areas.argmax()])]
