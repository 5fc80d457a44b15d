"""The numbers of the MaxBoxAcc family, with the protocol that each of them belongs to.

In: counts from :class:`dips.evaluate.accumulate.BoxAccumulator`. Out: percentages, at thresholds chosen on the split itself
(an oracle, as reported in the field) and at thresholds chosen elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.errors import ProtocolError
from dips.evaluate.bootstrap import interval
from dips.evaluate.boxes import nearest
from dips.evaluate.dissect import KINDS

__all__ = ["DELTAS", "TAU_NAMES", "BoxResult", "ImageRow", "MapResult", "ThresholdResult"]

DELTAS = (30, 50, 70)
"""Minimum IoUs in percent for a photo to be correct; MaxBoxAccV2 is the mean over them."""

TAU_NAMES = ("v1", *map(str, DELTAS))
"""Criteria with their own threshold: the largest contour's box, and any box at each IoU."""

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One photo at one threshold per criterion, a line of the CSV.

    >>> row = ImageRow("owl/1.jpg", label=0, predicted=0, n_true=1, correct={"50": True}, iou=0.8)
    >>> row.correct["50"], row.iou
    (True, 0.8)

    Attributes:
        id: name of the photo.
        label: true class, if known.
        predicted: predicted class, if there is a prediction.
        n_true: number of ground-truth boxes. Without any, the rest is None.
        correct: whether any box is correct at the IoU and the threshold of ``30``, ``50``, ``70``, and the largest contour's at
            ``v1``.
        iou: best IoU over all boxes of the map at the threshold of ``50``.
        iou_largest: IoU of the largest contour's box, at the threshold of ``v1``.
        error: the latter's kind of error, one of :data:`~dips.evaluate.dissect.KINDS`.
        oracle_iou: the best IoU at any threshold, which no method can know.
        oracle_tau: the first threshold that reaches it.
    """

    id: str
    label: int | None
    predicted: int | None
    n_true: int
    correct: dict[str, bool] | None = None
    iou: float | None = None
    iou_largest: float | None = None
    error: str | None = None
    oracle_iou: float | None = None
    oracle_tau: float | None = None


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """Percentages at thresholds that were not chosen on this split; NaN if there is nothing to count.

    >>> from dips.evaluate import BoxAccumulator
    >>> accumulator = BoxAccumulator(frame=None)
    >>> score_map = np.zeros((8, 8))
    >>> score_map[2:6, 2:6] = 1
    >>> accumulator.add(score_map, [[2, 2, 6, 6]])
    >>> accumulator.result().at_tau({"v1": 0.5, "30": 0.5, "50": 0.5, "70": 0.5}).box_acc_v2
    100.0

    Attributes:
        tau: the threshold used for each of ``v1``, ``30``, ``50``, ``70``.
        box_acc: percent of photos whose largest contour's box has an IoU of at least 0.5 (MaxBoxAcc's criterion).
        box_acc_at: percent of photos with any box that has an IoU of at least 0.3, 0.5, 0.7, keyed by ``30``, ``50``, ``70``.
        box_acc_v2: mean of ``box_acc_at`` (MaxBoxAccV2's criterion).
        gt_known, top1_loc, top5_loc: as in :class:`BoxResult`, at the threshold of ``50``.
        intervals: as :attr:`BoxResult.intervals`, at these thresholds, of ``box_acc``, ``box_acc_v2``, ``30``, ``50``, ``70``.
    """

    tau: dict[str, float]
    box_acc: float
    box_acc_at: dict[str, float]
    box_acc_v2: float
    gt_known: float
    top1_loc: float
    top5_loc: float
    intervals: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Return the numbers for JSON; None if there is nothing to count."""
        return {
            "tau": dict(self.tau),
            "box_acc": _number(self.box_acc),
            "box_acc_at": {name: _number(value) for name, value in self.box_acc_at.items()},
            "box_acc_v2": _number(self.box_acc_v2),
            "gt_known": _number(self.gt_known),
            "top1_loc": _number(self.top1_loc),
            "top5_loc": _number(self.top5_loc),
            "intervals": self.intervals,
        }


@dataclass(frozen=True)
class BoxResult:
    """Localization and classification of one split in percent; NaN if there is nothing to count.

    Localization counts the photos with at least one ground-truth box; those without any (background, or boxes unknown) count
    for classification only. Top-1 and top-5 localization count the photos with boxes, a known label and a prediction.

    >>> from dips.evaluate import BoxAccumulator
    >>> accumulator = BoxAccumulator(frame=None)
    >>> score_map = np.zeros((8, 8))
    >>> score_map[2:6, 2:6] = 1
    >>> accumulator.add(score_map, [[2, 2, 6, 6]])
    >>> result = accumulator.result()
    >>> result.n_boxed, result.max_box_acc, result.max_box_acc_v2
    (1, 100.0, 100.0)

    Attributes:
        n_images: number of photos.
        n_boxed: photos with at least one ground-truth box.
        n_boxes: ground-truth boxes in all photos.
        n_classified: photos with a known label and a prediction.
        n_boxed_classified: photos counted in both ``n_boxed`` and ``n_classified``.
        taus: ``(T,)`` thresholds.
        v1: ``(T,)`` percent correct at IoU 0.5, box of the largest contour.
        v2: ``(3, T)`` percent correct at the IoUs of ``DELTAS``, best of all boxes.
        top1, top5: ``(T,)`` percent correct at IoU 0.5, best of all boxes, with the label predicted first, or among the first
            five; ``top5`` and ``class_top5`` are NaN if a photo has fewer than five predictions.
        kinds: ``(6, T)`` percent of the photos with boxes by kind of error, in the order of ``KINDS``.
        class_top1, class_top5: percent of the classified photos.
        images: a row per photo, in the order of counting; empty unless the accumulator was given thresholds for them.
        resampled: ``(replicates, 4, T)`` percent correct in bootstrap resamples of the photos, ``v1`` and the rows of ``v2``.
    """

    n_images: int
    n_boxed: int
    n_boxes: int
    n_classified: int
    n_boxed_classified: int
    taus: NDArray[np.float64] = field(repr=False)
    v1: NDArray[np.float64] = field(repr=False)
    v2: NDArray[np.float64] = field(repr=False)
    top1: NDArray[np.float64] = field(repr=False)
    top5: NDArray[np.float64] = field(repr=False)
    kinds: NDArray[np.float64] = field(repr=False)
    class_top1: float
    class_top5: float
    images: tuple[ImageRow, ...] = field(default=(), repr=False)
    resampled: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def max_box_acc(self) -> float:
        """MaxBoxAcc: largest contour only, IoU 0.5, best threshold of this split."""
        return float(self.v1.max())

    @property
    def max_box_acc_at(self) -> dict[str, float]:
        """All boxes, best threshold of this split for each IoU: ``30``, ``50``, ``70``."""
        return {str(delta): float(curve.max()) for delta, curve in zip(DELTAS, self.v2, strict=True)}

    @property
    def max_box_acc_v2(self) -> float:
        """MaxBoxAccV2: mean of :attr:`max_box_acc_at`."""
        return float(np.mean(list(self.max_box_acc_at.values())))

    @property
    def best_tau(self) -> dict[str, float]:
        """The thresholds behind the maxima (``v1``, ``30``, ``50``, ``70``) and the one with the best mean over IoUs (``v2``).

        If several thresholds are equally good, the middle of their longest run is used, the safest choice for other photos.
        """
        return {name: float(self.taus[_middle_of_best(curve)]) for name, curve in self.curves.items()}

    @property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Percentage of photos that are correct at each threshold ``(T,)``, under the names of :attr:`best_tau`."""
        return {"v1": self.v1, **{str(d): c for d, c in zip(DELTAS, self.v2, strict=True)}, "v2": self.v2.mean(axis=0)}

    @property
    def gt_known(self) -> float:
        """GT-known localization: IoU >= 0.5 given the label, any box, best threshold of this split (= ``50``)."""
        return self.max_box_acc_at["50"]

    @property
    def top1_loc(self) -> float:
        """Top-1 localization: the label is also predicted; at the threshold of :attr:`gt_known`, not its own."""
        return float(self.top1[_middle_of_best(self.v2[DELTAS.index(50)])])

    @property
    def top5_loc(self) -> float:
        """Top-5 localization: label among the first five; at the threshold of :attr:`gt_known`, not its own."""
        return float(self.top5[_middle_of_best(self.v2[DELTAS.index(50)])])

    @property
    def intervals(self) -> dict[str, Any] | None:
        """Bootstrap intervals (95%, over photos) of ``max_box_acc``, ``max_box_acc_v2``, ``30``, ``50`` and ``70``, each
        ``[low, high]``, with ``level`` and ``replicates``.

        The thresholds are those that are best on all photos. Choosing them again in each resample would count their luck twice:
        such intervals are too high and contain the true value less often than claimed.
        """
        if self.resampled is None:
            return None
        best = [int(curve.argmax()) for curve in (self.v1, *self.v2)]
        return _intervals(self._at(best), "max_box_acc", "max_box_acc_v2")

    def dissected(self, tau: float) -> dict[str, float] | None:
        """Return percentages by kind of error at one threshold for all photos; None without ground-truth boxes.

        ``class_wrong`` is included only if classes are known.
        """
        if not self.n_boxed:
            return None
        percent = self.kinds[:, nearest(self.taus, tau)]
        return {
            name: float(value)
            for name, value in zip(KINDS, percent, strict=True)
            if name != KINDS[0] or self.n_boxed_classified
        }

    def at_tau(self, tau: float | Mapping[str, float]) -> ThresholdResult:
        """Return the numbers at a threshold chosen elsewhere, or at the ``best_tau`` of the validation split.

        Args:
            tau: one threshold in [0, 1] for everything, or a mapping with ``30``, ``50``, ``70`` and ``v1`` (``50`` if
                there is no ``v1``). The nearest one of the grid is used.

        Raises:
            ProtocolError: a threshold is missing or outside [0, 1].
        """
        chosen = dict.fromkeys(TAU_NAMES, float(tau)) if not isinstance(tau, Mapping) else {"v1": tau.get("50", NAN), **tau}
        missing = [name for name in TAU_NAMES if name not in chosen]
        if missing:
            raise ProtocolError(f"a threshold is missing for {', '.join(missing)}; pass best_tau of the validation split")
        index = {name: nearest(self.taus, float(chosen[name])) for name in TAU_NAMES}
        at = {str(d): float(curve[index[str(d)]]) for d, curve in zip(DELTAS, self.v2, strict=True)}
        return ThresholdResult(
            tau={name: float(self.taus[i]) for name, i in index.items()},
            box_acc=float(self.v1[index["v1"]]),
            box_acc_at=at,
            box_acc_v2=float(np.mean(list(at.values()))),
            gt_known=at["50"],
            top1_loc=float(self.top1[index["50"]]),
            top5_loc=float(self.top5[index["50"]]),
            intervals=None if self.resampled is None else _intervals(self._at(list(index.values())), "box_acc", "box_acc_v2"),
        )

    def record(self, *, curves: bool = True) -> dict[str, Any]:
        """Return the numbers for JSON, optionally with curves over the threshold; None if there is nothing to count."""
        record: dict[str, Any] = {
            "n_images": self.n_images,
            "n_boxed": self.n_boxed,
            "n_boxes": self.n_boxes,
            "n_classified": self.n_classified,
            "max_box_acc": _number(self.max_box_acc),
            "max_box_acc_v2": _number(self.max_box_acc_v2),
            "max_box_acc_at": {name: _number(value) for name, value in self.max_box_acc_at.items()},
            "best_tau": self.best_tau if self.n_boxed else None,
            "gt_known": _number(self.gt_known),
            "top1_loc": _number(self.top1_loc),
            "top5_loc": _number(self.top5_loc),
            "class_top1": _number(self.class_top1),
            "class_top5": _number(self.class_top5),
            "intervals": self.intervals,
        }
        if curves and self.n_boxed:
            record["curves"] = {
                "tau": [round(float(value), 6) for value in self.taus],
                **{name: [round(float(value), 4) for value in curve] for name, curve in self.curves.items() if name != "v2"},
            }
        return record

    def _at(self, indices: list[int]) -> NDArray[np.float32]:
        """Return resampled percentages ``(replicates, 4)``, each curve at its own threshold."""
        assert self.resampled is not None
        return np.stack([self.resampled[:, row, index] for row, index in enumerate(indices)], axis=1)


@dataclass(frozen=True, slots=True)
class MapResult:
    """All numbers of the score maps of a split.

    >>> from dips.evaluate import MapAccumulator
    >>> accumulator = MapAccumulator()
    >>> accumulator.add(np.eye(8), [[0, 0, 7, 7]], mask=np.eye(8, dtype=np.uint8))
    >>> accumulator.result().pxap
    100.0

    Attributes:
        boxes: the MaxBoxAcc family.
        pxap: PxAP in percent; None if there is no mask.
        activations: from :meth:`~dips.evaluate.masks.PixelAccumulator.activations`, with ``truth``: whether ``boxes`` or
            ``masks`` define the foreground; None if there is neither.
    """

    boxes: BoxResult
    pxap: float | None
    activations: dict[str, Any] | None

    def record(self, tau: Mapping[str, float] | None) -> dict[str, Any]:
        """Return the numbers for JSON.

        Args:
            tau: :attr:`BoxResult.best_tau` of the validation split; None if nothing was chosen there.
        """
        boxes, chosen = self.boxes, "this split (oracle)" if tau is None else "validation"
        cut = (boxes.best_tau if tau is None else tau)["v1"] if boxes.n_boxed else 0.0  # for the largest contour
        errors = boxes.dissected(cut)
        return {
            "boxes": boxes.record(),
            "at_tau": boxes.at_tau(tau).record() if tau is not None and boxes.n_boxed else None,
            "pxap": self.pxap,
            "activations": self.activations,
            "dissection": errors and {"tau": cut, "tau_from": chosen, "n_images": boxes.n_boxed, "percent": errors},
        }


def _intervals(values: NDArray[np.float32], single: str, mean: str) -> dict[str, Any]:
    """Return the intervals of ``(replicates, 4)`` percentages, for the largest contour, then for the three IoUs, by name.

    Args:
        single: name for the largest contour.
        mean: name for the mean over IoUs.
    """
    names = (single, *map(str, DELTAS))
    intervals: dict[str, Any] = {name: interval(values[:, row]) for row, name in enumerate(names)}
    return {"level": 95, "replicates": len(values), mean: interval(values[:, 1:].mean(axis=1)), **intervals}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _middle_of_best(curve: NDArray[np.float64]) -> int:
    """Return the middle index of the longest run of maxima, the first if several are equally long; 0 for a curve of NaN."""
    if np.isnan(curve).any():
        return 0
    # means of three percentages may differ in their last bits even if the counts are equal
    best = np.concatenate([[False], curve >= curve.max() - 1e-9, [False]])
    edges = np.flatnonzero(best[1:] != best[:-1])
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest] - 1) // 2)
