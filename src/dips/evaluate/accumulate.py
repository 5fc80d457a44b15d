"""Gathers the MaxBoxAcc family photo by photo, so that a data set of any size needs little memory.

In: score map, true boxes, label and predicted classes of one photo at a time. Out: a
:class:`~dips.evaluate.result.BoxResult`. Accumulators of several processes merge into one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import FRAME, BoxLevels, boxes_at_thresholds, checked_boxes, tau_grid
from dips.evaluate.result import DELTAS, BoxResult, ImageRow

__all__ = ["BoxAccumulator"]


class BoxAccumulator:
    """Counts correct photos at every threshold and IoU.

    Args:
        thresholds: length of the grid; the protocol's is 1000.
        taus: thresholds at which each photo's best IoU is kept in :attr:`BoxResult.images`, e.g. the one chosen on the
            validation split, to find the best and worst photos.
        frame: side of the square score maps; None accepts any shape.
    """

    def __init__(self, thresholds: int = 1000, *, taus: Sequence[float] = (), frame: int | None = FRAME) -> None:
        self._taus = tau_grid(thresholds)
        self._kept = [int(np.abs(self._taus - tau).argmin()) for tau in taus]
        self._frame = frame
        self._v1 = np.zeros(thresholds, np.int64)
        self._v2 = np.zeros((len(DELTAS), thresholds), np.int64)
        self._top1 = np.zeros(thresholds, np.int64)
        self._top5 = np.zeros(thresholds, np.int64)
        self._n_boxes = self._n_boxes_classified = self._n_classified = self._n_right1 = self._n_right5 = 0
        self._images: list[ImageRow] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(
        self,
        score_map: ArrayLike | BoxLevels | None,
        boxes: ArrayLike | None,
        *,
        label: int | None = None,
        predicted: Sequence[int] | NDArray[np.integer] = (),
        id: str = "",
    ) -> None:
        """Count one photo.

        Args:
            score_map: ``(frame, frame)`` in [0, 1], or its boxes from :func:`boxes_at_thresholds`. May be None where
                there are no true boxes.
            boxes: true boxes ``(K, 4)`` in pixels of the map (:func:`~dips.evaluate.boxes.to_frame`). With None
                (unknown) or no rows (no object) the photo counts for classification only.
            label: true class, None if unknown.
            predicted: classes in descending order of probability, five of them if there are as many; empty if none.
            id: name of the photo.

        Raises:
            ProtocolError: the map or the boxes are not what the protocol accepts.
        """
        ranked = [int(index) for index in predicted][:5]
        truth = None if boxes is None else checked_boxes(boxes)
        ious: tuple[float, ...] = ()
        classified = label is not None and len(ranked) > 0
        right1 = classified and label == ranked[0]
        right5 = classified and label in ranked
        if truth is not None and len(truth) > 0:
            levels = self._levels(score_map, id)
            all_boxes = levels.best_iou(truth, multi_contour=True)
            hits = all_boxes >= np.array(DELTAS)[:, None] / 100
            self._v1 += levels.best_iou(truth, multi_contour=False) >= 0.5
            self._v2 += hits
            self._top1 += hits[DELTAS.index(50)] & right1
            self._top5 += hits[DELTAS.index(50)] & right5
            self._n_boxes += 1
            self._n_boxes_classified += classified
            ious = tuple(float(all_boxes[index]) for index in self._kept)
        self._n_classified += classified
        self._n_right1 += right1
        self._n_right5 += right5
        self._images.append(ImageRow(id, label, ranked[0] if ranked else None, ious))

    def merge(self, other: BoxAccumulator) -> None:
        """Take over the counts of another accumulator, e.g. of another process, as if its photos had come here.

        Raises:
            ProtocolError: the two use different thresholds or frames.
        """
        if (len(self._taus), self._kept, self._frame) != (len(other._taus), other._kept, other._frame):
            raise ProtocolError("accumulators merge only if their thresholds, kept thresholds and frames are the same")
        for name in ("_v1", "_v2", "_top1", "_top5"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._n_boxes += other._n_boxes
        self._n_boxes_classified += other._n_boxes_classified
        self._n_classified += other._n_classified
        self._n_right1 += other._n_right1
        self._n_right5 += other._n_right5
        self._images = self._images + other._images

    def result(self) -> BoxResult:
        """The percentages so far."""
        return BoxResult(
            n_images=len(self._images),
            n_boxes=self._n_boxes,
            n_classified=self._n_classified,
            n_boxes_classified=self._n_boxes_classified,
            taus=self._taus.copy(),
            v1=_percent(self._v1, self._n_boxes),
            v2=_percent(self._v2, self._n_boxes),
            top1=_percent(self._top1, self._n_boxes_classified),
            top5=_percent(self._top5, self._n_boxes_classified),
            class_top1=float(_percent(np.array(self._n_right1), self._n_classified)),
            class_top5=float(_percent(np.array(self._n_right5), self._n_classified)),
            images=tuple(self._images),
        )

    def _levels(self, score_map: ArrayLike | BoxLevels | None, id: str) -> BoxLevels:
        name = f" of {id}" if id else ""
        if score_map is None:
            raise ProtocolError(f"the score map{name} is missing, but there are true boxes to compare it with")
        if isinstance(score_map, BoxLevels):
            levels = score_map
        else:
            try:
                levels = boxes_at_thresholds(score_map, len(self._taus))
            except ProtocolError as error:
                raise ProtocolError(f"the score map{name} cannot be used: {error}") from error
        if len(levels.taus) != len(self._taus):
            raise ProtocolError(f"boxes at {len(levels.taus)} thresholds cannot be counted at {len(self._taus)}")
        if self._frame is not None and levels.shape != (self._frame, self._frame):
            raise ProtocolError(f"the score map{name} is {levels.shape}; resize it to ({self._frame}, {self._frame})")
        return levels


def _percent(counts: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    return 100.0 * counts / total if total else np.full(counts.shape, np.nan)
