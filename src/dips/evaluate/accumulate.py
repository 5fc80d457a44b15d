"""Gathers the numbers of a split map by map, so that a data set of any size needs little memory.

In: score map, true boxes, true mask, label and predicted classes of one photo at a time. Out: a
:class:`~dips.evaluate.result.BoxResult`, and with :class:`MapAccumulator` PxAP and activations too. Accumulators of several
processes or ranks merge into one (they can be pickled), and :func:`measure_boxes` can run elsewhere than where it is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.bootstrap import Bootstrap
from dips.evaluate.boxes import FRAME, BoxLevels, boxes_at_thresholds, checked_boxes, cuts_of, nearest, tau_grid
from dips.evaluate.dissect import KINDS, error_kinds
from dips.evaluate.masks import PixelAccumulator, boxes_mask
from dips.evaluate.result import DELTAS, BoxResult, ImageRow, MapResult

__all__ = ["BoxAccumulator", "MapAccumulator", "MapPixels", "Measured", "measure_boxes"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one photo adds to the numbers.

    Attributes:
        id: as given.
        label: true class, None if unknown.
        predicted: classes in descending order of probability, at most five; empty if there is no prediction.
        n_true: true boxes. Without any the photo counts for classification only, and the rest is empty.
        thresholds, peak: length of the grid, and the maximum of the 8-bit map: they say which cut a threshold means.
        single: ``(L,)`` best IoU of the largest contour's box.
        multiple: ``(L,)`` best IoU of all boxes.
        kinds: ``(L,)`` what kind of error the largest contour's box is, as places in :data:`~dips.evaluate.dissect.KINDS`.
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
        """Whether both true and predicted class are known."""
        return self.label is not None and len(self.predicted) > 0

    @property
    def cut_of_tau(self) -> NDArray[np.int64]:
        """``(T,)`` the place in the arrays that each threshold means."""
        return cuts_of(tau_grid(self.thresholds), self.peak)

    def row(self, tau: Mapping[str, float]) -> ImageRow:
        """The numbers of this photo at the thresholds ``v1``, ``30``, ``50`` and ``70``."""
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
    """Compare one score map with its true boxes.

    Args:
        score_map: ``(H, W)`` in [0, 1], or its boxes from :func:`~dips.evaluate.boxes.boxes_at_thresholds`. May be None where
            there are no true boxes.
        boxes: true boxes ``(K, 4)`` in pixels of the map (:func:`~dips.evaluate.boxes.to_frame`). With None (unknown) or no
            rows (no object) the photo counts for classification only.
        label: true class, None if unknown.
        predicted: classes in descending order of probability, five of them if there are as many; empty if none.
        id: name of the photo.
        thresholds: length of the grid.

    Raises:
        ProtocolError: the map or the boxes are not what the protocol accepts; the message names the photo.
    """
    ranked = tuple(int(index) for index in predicted)[:5]
    try:
        truth = np.zeros((0, 4)) if boxes is None else checked_boxes(boxes)
        if len(truth) == 0:
            return Measured(id, label, ranked)
        if score_map is None:
            raise ProtocolError("it is missing, but there are true boxes to compare it with")
        levels = score_map if isinstance(score_map, BoxLevels) else boxes_at_thresholds(score_map, thresholds)
        if len(levels.taus) != thresholds:
            raise ProtocolError(f"boxes at {len(levels.taus)} thresholds cannot be counted at {thresholds}")
    except ProtocolError as error:
        raise ProtocolError(f"the score map or the boxes{f' of {id}' if id else ''} cannot be used: {error}") from error
    kinds = error_kinds(levels.largest, truth)
    if label is not None and ranked and label != ranked[0]:
        kinds[:] = KINDS.index("class_wrong")
    return Measured(
        *(id, label, ranked, len(truth)),
        thresholds=thresholds,
        peak=levels.peak,
        single=levels.best_iou_of_cuts(truth, multi_contour=False),
        multiple=levels.best_iou_of_cuts(truth, multi_contour=True),
        kinds=kinds,
    )


class BoxAccumulator:
    """Counts correct photos at every threshold and IoU.

    Args:
        thresholds: length of the grid; the protocol's is 1000.
        tau: thresholds (``v1``, ``30``, ``50``, ``70``) of the rows that are kept of each photo (:attr:`BoxResult.images`),
            e.g. ``best_tau`` of the validation split; None keeps none, so that memory does not grow with the photos.
        frame: side of the square score maps; None accepts any shape.
        replicates: resamples for bootstrap intervals; 0 = none.
    """

    def __init__(
        self,
        thresholds: int = 1000,
        *,
        tau: Mapping[str, float] | None = None,
        frame: int | None = FRAME,
        replicates: int = 0,
    ) -> None:
        self._taus = tau_grid(thresholds)
        self._kept = None if tau is None else {name: tau[name] for name in ("v1", *map(str, DELTAS))}
        self._frame = frame
        self._replicates = replicates
        self._counts = {name: np.zeros((rows, thresholds), np.int64) for name, rows in _CURVES.items()}
        self._numbers = dict.fromkeys(("images", "boxes", "boxes_classified", "classified", "right1", "right5"), 0)
        self._bootstrap = Bootstrap(replicates, (1 + len(DELTAS), thresholds)) if replicates else None
        self._images: list[ImageRow] = []

    def __len__(self) -> int:
        return self._numbers["images"]

    def add(
        self,
        score_map: ArrayLike | BoxLevels | None,
        boxes: ArrayLike | None,
        *,
        label: int | None = None,
        predicted: Sequence[int] | NDArray[np.integer] = (),
        id: str = "",
    ) -> None:
        """Measure and count one photo; see :func:`measure_boxes`.

        Raises:
            ProtocolError: the map or the boxes are not what the protocol accepts.
        """
        if self._frame is not None and score_map is not None and boxes is not None and len(np.asarray(boxes)):
            shape = score_map.shape if isinstance(score_map, BoxLevels) else np.shape(score_map)
            if shape != (self._frame, self._frame):
                name = f" of {id}" if id else ""
                raise ProtocolError(f"the score map{name} is {shape}; resize it to ({self._frame}, {self._frame})")
        thresholds = len(self._taus)
        self.count(measure_boxes(score_map, boxes, label=label, predicted=predicted, id=id, thresholds=thresholds))

    def count(self, photo: Measured) -> None:
        """Count one photo that was measured at these thresholds.

        Raises:
            ProtocolError: it was measured at others, or has no id, which resamples draw by; nothing is counted then.
        """
        if photo.n_true and photo.thresholds != len(self._taus):
            raise ProtocolError(f"{photo.id} was measured at {photo.thresholds} thresholds, not at {len(self._taus)}")
        if photo.n_true and self._replicates and not photo.id:
            raise ProtocolError("bootstrap intervals need an id for each photo")
        right1 = photo.classified and photo.label == photo.predicted[0]
        right5 = photo.classified and photo.label in photo.predicted
        counts = self._counts
        boxed = photo.n_true > 0
        if boxed:
            cuts = cuts_of(self._taus, photo.peak)
            hits = np.stack([photo.single >= 0.5, *(photo.multiple >= delta / 100 for delta in DELTAS)])[:, cuts]
            counts["v1"] += hits[:1]
            counts["v2"] += hits[1:]
            at50 = hits[1 + DELTAS.index(50)]
            counts["top1"] += at50 & right1
            counts["top5"] += at50 & right5
            counts["kinds"] += photo.kinds[cuts] == np.arange(len(KINDS))[:, None]
            if self._bootstrap is not None:
                self._bootstrap.add(hits, photo.id)
        more = (1, boxed, boxed and photo.classified, photo.classified, right1, right5)
        self._numbers = {name: number + one for (name, number), one in zip(self._numbers.items(), more, strict=True)}
        if self._kept is not None:
            self._images.append(photo.row(self._kept))

    def merge(self, other: BoxAccumulator) -> None:
        """Take over the counts of another accumulator, e.g. of another process, as if its photos had come here.

        Raises:
            ProtocolError: the two use different thresholds, frames, kept thresholds or replicates.
        """
        if self._kind != other._kind:
            raise ProtocolError("accumulators merge only if thresholds, frames, kept threshold and replicates are the same")
        self._counts = {name: counts + other._counts[name] for name, counts in self._counts.items()}
        self._numbers = {name: number + other._numbers[name] for name, number in self._numbers.items()}
        self._images = self._images + other._images
        if self._bootstrap is not None and other._bootstrap is not None:
            self._bootstrap.merge(other._bootstrap)

    def result(self) -> BoxResult:
        """The percentages so far."""
        numbers = self._numbers
        boxes, classified = numbers["boxes"], numbers["boxes_classified"]
        return BoxResult(
            n_images=numbers["images"],
            n_boxes=boxes,
            n_classified=numbers["classified"],
            n_boxes_classified=classified,
            taus=self._taus.copy(),
            v1=_percent(self._counts["v1"][0], boxes),
            v2=_percent(self._counts["v2"], boxes),
            top1=_percent(self._counts["top1"][0], classified),
            top5=_percent(self._counts["top5"][0], classified),
            kinds=_percent(self._counts["kinds"], boxes),
            class_top1=float(_percent(np.array(numbers["right1"]), numbers["classified"])),
            class_top5=float(_percent(np.array(numbers["right5"]), numbers["classified"])),
            images=tuple(self._images),
            resampled=None if self._bootstrap is None or not boxes else self._bootstrap.percent(),
        )

    @property
    def _kind(self) -> tuple[object, ...]:
        return len(self._taus), self._kept, self._frame, self._replicates


class MapPixels:
    """Counts the pixels of score maps: by the true mask where there is one, for PxAP, else by the true boxes."""

    def __init__(self) -> None:
        self._masks, self._regions = PixelAccumulator(), PixelAccumulator()

    def add(self, score_map: ArrayLike, boxes: ArrayLike | None, mask: ArrayLike | None = None) -> None:
        """Count one photo's; see :meth:`~dips.evaluate.masks.PixelAccumulator.add`."""
        if mask is not None:
            self._masks.add(score_map, mask)
        elif boxes is not None and len(np.asarray(boxes)):
            height, width = np.shape(score_map)
            self._regions.add(score_map, boxes_mask(boxes, (height, width)))

    def merge(self, other: MapPixels) -> None:
        """Take over the counts of another one."""
        self._masks.merge(other._masks)
        self._regions.merge(other._regions)

    def result(self) -> tuple[float | None, dict[str, Any] | None]:
        """PxAP, and the activations with ``truth``: ``masks``, or ``boxes`` where there is no mask; None without either."""
        if (activations := self._masks.activations()) is not None:
            return self._masks.result(), {**activations, "truth": "masks"}
        activations = self._regions.activations()
        return None, None if activations is None else {**activations, "truth": "boxes"}


class MapAccumulator:
    """Counts boxes, masks and activations of score maps that lie in one protocol's frame already.

    Attributes:
        boxes: the MaxBoxAcc family.
        pixels: PxAP and the distribution of activations.
    """

    def __init__(self, thresholds: int = 1000, *, tau: Mapping[str, float] | None = None, replicates: int = 0) -> None:
        self.boxes = BoxAccumulator(thresholds, tau=tau, frame=None, replicates=replicates)
        self.pixels = MapPixels()

    def add(
        self,
        score_map: ArrayLike | None,
        boxes: ArrayLike | None,
        mask: ArrayLike | None = None,
        *,
        label: int | None = None,
        predicted: Sequence[int] | NDArray[np.integer] = (),
        id: str = "",
    ) -> None:
        """Measure and count one photo; see :func:`measure_boxes` and :meth:`~dips.evaluate.masks.PixelAccumulator.add`."""
        self.boxes.add(score_map, boxes, label=label, predicted=predicted, id=id)
        if score_map is not None:
            self.pixels.add(score_map, boxes, mask)

    def merge(self, other: MapAccumulator) -> None:
        """Take over the counts of another accumulator."""
        self.boxes.merge(other.boxes)
        self.pixels.merge(other.pixels)

    def result(self) -> MapResult:
        """Everything so far."""
        return MapResult(self.boxes.result(), *self.pixels.result())


_CURVES = {"v1": 1, "v2": len(DELTAS), "top1": 1, "top5": 1, "kinds": len(KINDS)}


def _percent(counts: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    return 100.0 * counts / total if total else np.full(counts.shape, np.nan)
