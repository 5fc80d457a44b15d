"""PxAP: average precision of a score map's pixels against true masks (Choe et al., CVPR 2020).

In: score maps ``(H, W)`` in [0, 1] and masks of 0 (background), 1 (object) and 255 (ignored). Out: percent, over the
pixels of all photos together. Histograms of 1,000 bins are all that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import FRAME, tau_grid
from dips.scoremaps import checked_map

__all__ = ["PixelAccumulator", "mask_to_frame", "pxap"]

_EDGES = np.concatenate([tau_grid(1000), [1.0, 2.0, 3.0]])


class PixelAccumulator:
    """Counts object and background pixels by score, photo by photo."""

    def __init__(self) -> None:
        self._object = np.zeros(len(_EDGES) - 1, np.int64)
        self._background = np.zeros(len(_EDGES) - 1, np.int64)

    def add(self, score_map: ArrayLike, mask: ArrayLike) -> None:
        """Count one photo.

        Args:
            score_map: ``(H, W)`` in [0, 1].
            mask: ``(H, W)`` of 0, 1 and 255.

        Raises:
            ProtocolError: not a score map, another shape, or other values in the mask.
        """
        scores = checked_map(score_map)
        truth = np.asarray(mask)
        if truth.shape != scores.shape:
            raise ProtocolError(f"mask {truth.shape} and score map {scores.shape} differ in shape; see mask_to_frame")
        inside, outside = truth == 1, truth == 0
        if not (inside | outside | (truth == 255)).all():
            raise ProtocolError("a mask holds 0 (background), 1 (object) and 255 (ignored) only")
        self._object += np.histogram(scores[inside], bins=_EDGES)[0]
        self._background += np.histogram(scores[outside], bins=_EDGES)[0]

    def merge(self, other: PixelAccumulator) -> None:
        """Take over the counts of another accumulator."""
        self._object = self._object + other._object
        self._background = self._background + other._background

    def result(self) -> float:
        """PxAP in percent.

        Raises:
            ProtocolError: there is no object pixel yet.
        """
        total = int(self._object.sum())
        if total == 0:
            raise ProtocolError("PxAP needs masks with at least one object pixel (value 1)")
        true_positive = self._object[::-1].cumsum()
        positive = true_positive + self._background[::-1].cumsum()
        precision = true_positive / np.maximum(positive, 1)  # bins above every score hold nothing and add nothing
        recall = true_positive / total
        return 100.0 * float((precision[1:] * np.diff(recall)).sum())


def pxap(maps: Iterable[ArrayLike], masks: Iterable[ArrayLike]) -> float:
    """PxAP in percent over photos of any number.

    Args:
        maps: score maps ``(H, W)`` in [0, 1]; an array ``(N, H, W)`` will do.
        masks: as many masks ``(H, W)`` of 0, 1 and 255 (ignored).

    Raises:
        ProtocolError: numbers or shapes differ, values out of range, or no object pixel at all.
    """
    accumulator = PixelAccumulator()
    try:
        for score_map, mask in zip(maps, masks, strict=True):
            accumulator.add(score_map, mask)
    except ValueError as error:
        raise ProtocolError(f"there must be one mask per score map ({error})") from error
    return accumulator.result()


def mask_to_frame(mask: ArrayLike, frame: int = FRAME) -> NDArray[np.uint8]:
    """A mask ``(H, W)`` of 0, 1 and 255 as ``(frame, frame) uint8``, nearest neighbour."""
    array = np.ascontiguousarray(mask, dtype=np.uint8)
    return np.asarray(cv2.resize(array, (frame, frame), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
