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
        boxes: ``(P, 4) float32``, ``x0 y0 x1 y1`` as shares of the frame.
        regions: ``(P, F, F) bool``: the components that the boxes enclose.
        sources: ``(P,) int64``: the map each comes from.
    """

    boxes: FloatArray
    regions: NDArray[np.bool_]
    sources: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


def propose(maps: FloatArray, *, min_area: float, frame: int, power: float = 1.0, levels: int = 0) -> Proposals:
    """Components of every map above its threshold.

    Args:
        maps: ``(M, h, w)``, each divided by its maximum.
        min_area: least area of a box as a share of the frame; a map without one that large gives its largest.
        frame: side F of the square that the maps are brought to.
        power: temper: ``map ** power`` before the threshold.
        levels: 0 = Otsu's threshold; N = the N shares ``1/(N+1) ... N/(N+1)`` of the map's maximum.

    Returns:
        equal regions once, in the order of the maps; nothing where all maps are constant.
    """
    boxes: list[NDArray[np.float64]] = []
    regions: list[NDArray[np.bool_]] = []
    sources: list[int] = []
    known: set[bytes] = set()
    for source, coarse in enumerate(maps):
        full = cv2.resize(coarse.astype(np.float32), (frame, frame), interpolation=cv2.INTER_LINEAR).clip(0, 1)
        full = np.asarray(full / max(float(full.max()), np.finfo(np.float32).tiny), np.float32)
        for mask in _masks(full if power == 1 else np.power(full, np.float32(power)), levels):
            labels, stats = components(mask)
            for part in _large(stats, min_area * frame * frame):
                x, y, width, height = stats[part, :4]
                window = np.s_[y : y + height, x : x + width]
                shape = labels[window] == part
                mark = stats[part, :4].tobytes() + np.packbits(shape).tobytes()
                if mark in known:
                    continue
                known.add(mark)
                region = np.zeros((frame, frame), np.bool_)
                region[window] = shape
                boxes.append(np.array([x, y, x + width, y + height]) / frame)
                regions.append(region)
                sources.append(source)
    if not boxes:
        return Proposals(np.zeros((0, 4), np.float32), np.zeros((0, frame, frame), np.bool_), np.zeros(0, np.int64))
    return Proposals(np.stack(boxes).astype(np.float32), np.stack(regions), np.array(sources, np.int64))


def _masks(full: NDArray[np.float32], levels: int) -> list[NDArray[np.bool_]]:
    cut = otsu(full)
    if cut is None:  # a constant map has no region
        return []
    if levels == 0:
        return [quantise(full) > cut]
    return [full > level / (levels + 1) for level in range(1, levels + 1)]


def _large(stats: NDArray[np.int32], least: float) -> list[int]:
    areas = stats[1:, 2].astype(np.int64) * stats[1:, 3]
    if len(areas) == 0:
        return []
    large = np.flatnonzero(areas > least)
    return [int(i) + 1 for i in (large if len(large) else [areas.argmax()])]
