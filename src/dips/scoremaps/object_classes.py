"""Which class an object has, by the logits of all classes in the cells around it, on a grid over the photo.

In: the networks' logits ``(C, h, w)``, boxes and regions of the objects. Out: a class and its probability for each object. The
cells are those in a box twice as wide and high as the object's that are nearer to it than to other objects; a large single
object thus has the class of its photo. This is better than using the object's own cells alone, and than a vote of the cells
(docs/experiments.md). NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.types import FloatArray

__all__ = ["ClassCells", "stacked", "unstacked"]

_STEPS, _LOWEST = 512, 65535  # steps per unit in which log probabilities are stored, and the largest number of steps
_MOST_CLASSES = 32  # that are stored: a model may have a thousand, nearly all of which no cell shows
_FINE = 64  # minimum number of cells along the longer side for drawing neighbourhoods
_ENLARGED = 2  # sides of the neighbourhood, as multiples of the object's


@dataclass(frozen=True, slots=True, eq=False)
class ClassCells:
    """Log probabilities of classes in each cell of a grid over a photo, given that there is an object.

    Attributes:
        labels: the P classes, by their index in the model's classes.
        levels: ``(P, h, w) uint16``: minus the log probability, in steps of 1/512.

    >>> logits = np.zeros((3, 4, 8), np.float32)
    >>> logits[1, :, :4], logits[2, :, 4:] = 5, 5
    >>> cells = ClassCells.of(logits, background=0)
    >>> regions = np.zeros((40, 80), np.uint16)
    >>> regions[10:30, 5:25], regions[10:30, 55:75] = 1, 2
    >>> labels, scores = cells.classes_of(np.array([[5, 10, 25, 30], [55, 10, 75, 30]], np.float32), regions, (80, 40))
    >>> labels, [f"{score:.3f}" for score in scores]
    ((1, 2), ['0.993', '0.993'])
    """

    labels: tuple[int, ...]
    levels: NDArray[np.uint16]

    @staticmethod
    def of(logits: FloatArray, background: int | None) -> ClassCells:
        """Build from logits ``(C, h, w)`` of all classes, of which ``background`` has no object; the likeliest 32 are kept."""
        labels = [label for label in range(len(logits)) if label != background]
        own = logits[labels].astype(np.float64)
        own -= own.max(axis=0)
        own -= np.log(np.exp(own).sum(axis=0))
        kept = np.sort(np.argsort(-own.max(axis=(1, 2)), kind="stable")[:_MOST_CLASSES])
        levels = np.rint(np.minimum(-own[kept] * _STEPS, _LOWEST)).astype(np.uint16)
        return ClassCells(tuple(labels[index] for index in kept), levels)

    def classes_of(
        self, boxes: FloatArray, regions: NDArray[np.uint16], size: tuple[int, int]
    ) -> tuple[tuple[int, ...], FloatArray]:
        """Return the class of each object, and its probability.

        Args:
            boxes: ``(N, 4)``, ``x0 y0 x1 y1`` in a photo of ``size``, end exclusive.
            regions: ``(H, W)``, of any size: i + 1 where object i is, else 0.
            size: width and height of the photo.

        Returns:
            N labels, and ``(N,) float32`` in [0, 1].
        """
        if not len(boxes):
            return (), np.zeros(0, np.float32)
        near, factor = self._nearest(boxes, regions, size)
        height, width = near.shape
        logs = self.levels.astype(np.float64) / -_STEPS
        labels, scores = [], []
        for number, box in enumerate(boxes, start=1):
            (x0, x1), (y0, y1) = _around(box[0], box[2], size[0], width), _around(box[1], box[3], size[1], height)
            weights = np.zeros(near.shape, bool)
            own = near[y0:y1, x0:x1] == number
            weights[y0:y1, x0:x1] = own if own.any() else True  # its only cells may belong to another object as small
            shares = weights.reshape(height // factor, factor, width // factor, factor).sum(axis=(1, 3))
            mean = (logs * shares).sum(axis=(1, 2)) / shares.sum()
            odds = np.exp(mean - mean.max())
            labels.append(self.labels[int(odds.argmax())])
            scores.append(float(odds.max() / odds.sum()))
        return tuple(labels), np.asarray(scores, np.float32)

    def _nearest(self, boxes: FloatArray, regions: NDArray[np.uint16], size: tuple[int, int]) -> tuple[NDArray[np.int64], int]:
        """Return the number, from 1, of the nearest object in each cell of a finer grid ``(F * h, F * w)``, and F."""
        rows, columns = self.levels.shape[1:]
        factor = math.ceil(_FINE / max(rows, columns))
        width, height = factor * columns, factor * rows
        fine = cv2.resize(regions, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int64)
        for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):  # one too small for these cells gets that of its centre
            x, y = int((x0 + x1) / 2 * width / size[0]), int((y0 + y1) / 2 * height / size[1])
            if not (fine == number).any():
                fine[min(y, height - 1), min(x, width - 1)] = number
        _, seeds = cv2.distanceTransformWithLabels(
            (fine == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_seed = np.zeros(int(seeds.max()) + 1, np.int64)
        of_seed[seeds[fine > 0]] = fine[fine > 0]
        return of_seed[seeds], factor


def _around(start: float, end: float, pixels: int, cells: int) -> tuple[int, int]:
    """Return the cells of the neighbourhood along an axis, end exclusive: at least one, including those of the object."""
    margin = (_ENLARGED - 1) * (end - start) / 2
    first, last = (value * cells / pixels for value in (start - margin, end + margin))
    return max(0, math.floor(first)), min(cells, math.ceil(last))


def stacked(levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return levels ``(P, h, w)`` as one picture ``(P * h, w)``, the form in which they are stored."""
    return levels.reshape(-1, levels.shape[2])


def unstacked(picture: NDArray[np.uint16], labels: Sequence[int]) -> ClassCells:
    """Return the cells that :func:`stacked` turned into a picture, for the classes ``labels``.

    Raises:
        ValueError: the picture does not have this number of classes.
    """
    if not labels or len(picture) % len(labels) or not picture.size:
        raise ValueError(f"{len(picture)} rows are not those of {len(labels)} classes")
    return ClassCells(tuple(labels), picture.reshape(len(labels), -1, picture.shape[1]))
