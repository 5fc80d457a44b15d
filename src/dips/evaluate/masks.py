"""PxAP: average precision of a score map's pixels against ground-truth masks (Choe et al., CVPR 2020).

In: score maps ``(H, W)`` in [0, 1] and masks of 0 (background), 1 (object) and 255 (ignored). Out: percent, over the
pixels of all photos together. Only histograms of 1,000 bins are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import FRAME, checked_boxes, tau_grid
from dips.scoremaps.levels import checked_map

__all__ = ["PixelAccumulator", "boxes_mask", "mask_to_frame", "pxap"]

_EDGES = np.concatenate([tau_grid(1000), [1.0, 2.0, 3.0]])


class PixelAccumulator:
    """Counts object and background pixels by score, photo by photo.

    >>> accumulator = PixelAccumulator()
    >>> accumulator.add([[0.9, 0.1], [0.8, 0.2]], [[1, 0], [1, 255]])
    >>> accumulator.result()
    100.0
    """

    def __init__(self) -> None:
        self._object = np.zeros(len(_EDGES) - 1, np.int64)
        self._background = np.zeros(len(_EDGES) - 1, np.int64)

    def add(self, score_map: ArrayLike, mask: ArrayLike) -> None:
        """Count one photo.

        Args:
            score_map: ``(H, W)`` in [0, 1].
            mask: ``(H, W)`` of 0, 1 and 255.

        Raises:
            ProtocolError: ``score_map`` is not a score map, or the mask has another shape or other values.
        """
        scores = checked_map(score_map)
        ground_truth = np.asarray(mask)
        if ground_truth.shape != scores.shape:
            raise ProtocolError(f"mask {ground_truth.shape} and score map {scores.shape} differ in shape; see mask_to_frame")
        inside, outside = ground_truth == 1, ground_truth == 0
        if not (inside | outside | (ground_truth == 255)).all():
            raise ProtocolError("a mask holds 0 (background), 1 (object) and 255 (ignored) only")
        bins = _bins(scores)
        self._object += np.bincount(bins[inside], minlength=len(self._object))
        self._background += np.bincount(bins[outside], minlength=len(self._background))

    def merge(self, other: PixelAccumulator) -> None:
        """Add the counts of another accumulator."""
        self.add_counts(other.counts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Object and background pixels ``(2, B)`` by score."""
        return np.stack([self._object, self._background])

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add the :attr:`counts` of another accumulator."""
        self._object = self._object + counts[0]
        self._background = self._background + counts[1]

    def activations(self, bins: int = 100) -> dict[str, Any] | None:
        """Return the distribution of scores inside and outside objects (the paper's Figure 5); None without object pixels.

        Args:
            bins: number of bins of equal width over [0, 1]; a divisor of 1000. The last one includes the score 1.

        Returns:
            ``edges`` (bins + 1), ``foreground`` and ``background`` (percent of their pixels in each bin); numbers of pixels.
        """
        if not self._object.any():
            return None
        distribution: dict[str, Any] = {}
        for name, counts in (("foreground", self._object), ("background", self._background)):
            whole = counts[:1000].copy()
            whole[-1] += counts[1000:].sum()
            total = max(int(counts.sum()), 1)
            distribution[name] = [round(float(percent), 4) for percent in 100 * whole.reshape(bins, -1).sum(axis=1) / total]
            distribution[f"{name}_pixels"] = int(counts.sum())
        return {"edges": [round(edge, 6) for edge in np.linspace(0, 1, bins + 1).tolist()], **distribution}

    def result(self) -> float:
        """Return PxAP in percent.

        Raises:
            ProtocolError: there is no object pixel yet.
        """
        total = int(self._object.sum())
        if total == 0:
            raise ProtocolError("PxAP needs masks with at least one object pixel (value 1)")
        true_positive = self._object[::-1].cumsum()
        positive = true_positive + self._background[::-1].cumsum()
        precision = true_positive / np.maximum(positive, 1)  # bins above all scores are empty and add nothing
        recall = true_positive / total
        return 100.0 * float((precision[1:] * np.diff(recall)).sum())


def boxes_mask(boxes: ArrayLike, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask ``(H, W)`` of this shape: 1 inside the inclusive boxes ``(K, 4)``, which may extend beyond it, else 0."""
    mask = np.zeros(shape, np.uint8)
    for x0, y0, x1, y1 in np.maximum(np.trunc(checked_boxes(boxes)).astype(np.int64), -1).tolist():
        mask[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = 1
    return mask


def _bins(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bin of each score, as assigned by ``np.histogram`` with the same edges, but without a search."""
    bins = (scores * 1000).astype(np.int64)  # off by one at most, as the product is rounded
    bins -= scores < _EDGES[bins]
    bins += scores >= _EDGES[bins + 1]
    return np.asarray(bins)


def pxap(maps: Iterable[ArrayLike], masks: Iterable[ArrayLike]) -> float:
    """Return PxAP in percent over any number of photos.

    Args:
        maps: score maps ``(H, W)`` in [0, 1], or an array ``(N, H, W)``.
        masks: as many masks ``(H, W)`` of 0, 1 and 255 (ignored).

    Raises:
        ProtocolError: numbers or shapes differ, values are out of range, or there is no object pixel.
    """
    accumulator = PixelAccumulator()
    try:
        for score_map, mask in zip(maps, masks, strict=True):
            accumulator.add(score_map, mask)
    except ValueError as error:
        raise ProtocolError(f"there must be one mask per score map ({error})") from error
    return accumulator.result()


def mask_to_frame(mask: ArrayLike, frame: int = FRAME) -> NDArray[np.uint8]:
    """Return a mask ``(H, W)`` of 0, 1 and 255 as ``(frame, frame) uint8``, nearest neighbour."""
    array = np.ascontiguousarray(mask, dtype=np.uint8)
    return np.asarray(cv2.resize(array, (frame, frame), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
