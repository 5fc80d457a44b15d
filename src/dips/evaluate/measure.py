"""One photo: the boxes of its score map against the ground-truth boxes.

In: score map, ground-truth boxes, label and predicted classes of one photo. Out: :class:`Measured`, which
:class:`~dips.evaluate.accumulate.BoxAccumulator` counts, there or in another process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import BoxLevels, boxes_at_thresholds, checked_boxes, cuts_of, nearest, tau_grid
from dips.evaluate.dissect import KINDS, error_kinds
from dips.evaluate.result import DELTAS, ImageRow

__all__ = ["Measured", "measure_boxes"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The measurements of one photo, to be added to the numbers of a split.

    >>> photo = measure_boxes(np.ones((8, 8)), [[0, 0, 7, 7]], label=3, predicted=[3], id="owl/1.jpg")
    >>> photo.row({"v1": 0.5, "30": 0.5, "50": 0.5, "70": 0.5}).error
    'correct'

    Attributes:
        id: name of the photo.
        label: true class, None if unknown.
        predicted: classes in descending order of probability, at most five; empty if there is no prediction.
        n_true: number of ground-truth boxes. Without any, the photo counts for classification only, and the rest is empty.
        thresholds, peak: length of the grid, and the maximum of the 8-bit map, which map thresholds to cuts.
        single: ``(L,)`` best IoU of the largest contour's box.
        multiple: ``(L,)`` best IoU of all boxes.
        kinds: ``(L,)`` kind of error of the largest contour's box, as indices into :data:`~dips.evaluate.dissect.KINDS`.
    """

    id: str
    label: int | None
    predicted: tuple[int, ...]
    n_true: int = 0
    thresholds: int = 1000
    peak: int = 0
    single: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    multiple: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    kinds: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    @property
    def classified(self) -> bool:
        """Whether both the true and the predicted class are known."""
        return self.label is not None and len(self.predicted) > 0

    @property
    def cut_of_tau(self) -> NDArray[np.int64]:
        """The index ``(T,)`` into the arrays for each threshold."""
        return cuts_of(tau_grid(self.thresholds), self.peak)

    def row(self, tau: Mapping[str, float]) -> ImageRow:
        """Return the numbers of this photo at the thresholds ``v1``, ``30``, ``50`` and ``70``."""
        row = ImageRow(self.id, self.label, self.predicted[0] if self.predicted else None, self.n_true)
        if not self.n_true:
            return row
        taus, cuts = tau_grid(self.thresholds), self.cut_of_tau
        at = {name: int(cuts[nearest(taus, value)]) for name, value in tau.items()}
        curve = self.multiple[cuts]
        best = int(curve.argmax())
        correct = {str(delta): bool(self.multiple[at[str(delta)]] >= delta / 100) for delta in DELTAS}
        return dataclasses.replace(
            row,
            correct={**correct, "v1": bool(self.single[at["v1"]] >= 0.5)},
            iou=float(self.multiple[at["50"]]),
            iou_largest=float(self.single[at["v1"]]),
            error=KINDS[self.kinds[at["v1"]]],
            oracle_iou=float(curve[best]),
            oracle_tau=float(taus[best]),
        )


def measure_boxes(
    score_map: ArrayLike | BoxLevels | None,
    boxes: ArrayLike | None,
    *,
    label: int | None = None,
    predicted: Sequence[int] | NDArray[np.integer] = (),
    id: str = "",
    thresholds: int = 1000,
) -> Measured:
    """Compare one score map with the photo's ground-truth boxes.

    Args:
        score_map: ``(H, W)`` in [0, 1], or its boxes from :func:`~dips.evaluate.boxes.boxes_at_thresholds`. May be None if
            there are no ground-truth boxes.
        boxes: ground-truth boxes ``(K, 4)`` in pixels of the map (:func:`~dips.evaluate.boxes.to_frame`). With None (unknown)
            or no rows (no object), the photo counts for classification only.
        label: true class, None if unknown.
        predicted: classes in descending order of probability, five if there are that many; empty if none.
        id: name of the photo.
        thresholds: length of the grid.

    Raises:
        ProtocolError: the map or the boxes are not what the protocol accepts; the message names the photo.
    """
    ranked = tuple(int(index) for index in predicted)[:5]
    try:
        ground_truth = np.zeros((0, 4)) if boxes is None else checked_boxes(boxes)
        if len(ground_truth) == 0:
            return Measured(id, label, ranked)
        if score_map is None:
            raise ProtocolError("it is missing, but there are ground-truth boxes to compare it with")
        levels = score_map if isinstance(score_map, BoxLevels) else boxes_at_thresholds(score_map, thresholds)
        if len(levels.taus) != thresholds:
            raise ProtocolError(f"boxes at {len(levels.taus)} thresholds cannot be counted at {thresholds}")
    except ProtocolError as error:
        raise ProtocolError(f"the score map or the boxes{f' of {id}' if id else ''} cannot be used: {error}") from error
    kinds = error_kinds(levels.largest, ground_truth)
    if label is not None and ranked and label != ranked[0]:
        kinds[:] = KINDS.index("class_wrong")
    return Measured(
        *(id, label, ranked, len(ground_truth)),
        thresholds=thresholds,
        peak=levels.peak,
        single=levels.best_iou_of_cuts(ground_truth, multi_contour=False),
        multiple=levels.best_iou_of_cuts(ground_truth, multi_contour=True),
        kinds=kinds,
    )
