"""Accumulators, which collect the numbers of a split photo by photo, so that a data set of any size needs little memory.

In: score map, ground-truth boxes, ground-truth mask, label and predicted classes of one photo at a time. Out: a
:class:`~dips.evaluate.result.BoxResult`, and with :class:`MapAccumulator` also PxAP and activations. Accumulators of several
processes or ranks merge into one (they can be pickled), and photos can be measured in one process and counted in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.evaluate.bootstrap import Bootstrap
from dips.evaluate.boxes import FRAME, BoxLevels, cuts_of, tau_grid
from dips.evaluate.dissect import KINDS
from dips.evaluate.masks import PixelAccumulator, boxes_mask
from dips.evaluate.measure import Measured, measure_boxes
from dips.evaluate.result import DELTAS, TAU_NAMES, BoxResult, ImageRow, MapResult

__all__ = ["BoxAccumulator", "MapAccumulator", "MapPixels"]


class BoxAccumulator:
    """Counts correct photos at every threshold and IoU.

    >>> accumulator = BoxAccumulator(frame=None)
    >>> score_map = np.zeros((8, 8))
    >>> score_map[2:6, 2:6] = 1
    >>> accumulator.add(score_map, [[2, 2, 6, 6]], label=0, predicted=[0, 1], id="owl/1.jpg")
    >>> len(accumulator), accumulator.result().max_box_acc_v2
    (1, 100.0)

    Args:
        thresholds: length of the grid; the protocol's is 1000.
        tau: thresholds (``v1``, ``30``, ``50``, ``70``) of the row stored for each photo (:attr:`BoxResult.images`), e.g.
            ``best_tau`` of the validation split; None stores no rows, so that memory does not grow with the photos.
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
        self._row_taus = None if tau is None else {name: tau[name] for name in TAU_NAMES}
        self._frame = frame
        self._replicates = replicates
        self._counts = {name: np.zeros((rows, thresholds), np.int64) for name, rows in _CURVES.items()}
        self._numbers = dict.fromkeys(
            ("images", "boxed", "boxes", "boxed_classified", "classified", "right1", "right5", "short"), 0
        )
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
            ProtocolError: it was measured at others, or has no id, which resampling needs; nothing is counted then.
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
        more = {
            "images": True,
            "boxed": boxed,
            "boxes": photo.n_true,
            "boxed_classified": boxed and photo.classified,
            "classified": photo.classified,
            "right1": right1,
            "right5": right5,
            "short": photo.classified and len(photo.predicted) < 5,
        }
        self._numbers = {name: number + more[name] for name, number in self._numbers.items()}
        if self._row_taus is not None:
            self._images.append(photo.row(self._row_taus))

    def merge(self, other: BoxAccumulator) -> None:
        """Add the counts of another accumulator, e.g. of another process, as if its photos had been counted here.

        Raises:
            ProtocolError: the two use different thresholds, frames, row thresholds or replicates.
        """
        if self._kind != other._kind:
            raise ProtocolError("accumulators merge only if thresholds, frames, thresholds of rows and replicates are the same")
        self._counts = {name: counts + other._counts[name] for name, counts in self._counts.items()}
        self._numbers = {name: number + other._numbers[name] for name, number in self._numbers.items()}
        self._images = self._images + other._images
        if self._bootstrap is not None and other._bootstrap is not None:
            self._bootstrap.merge(other._bootstrap)

    def result(self) -> BoxResult:
        """Return the percentages so far."""
        numbers = self._numbers
        boxes, classified = numbers["boxed"], numbers["boxed_classified"]
        five = numbers["short"] == 0  # top-5 is undefined if a photo has fewer than five predictions
        return BoxResult(
            n_images=numbers["images"],
            n_boxed=boxes,
            n_boxes=numbers["boxes"],
            n_classified=numbers["classified"],
            n_boxed_classified=classified,
            taus=self._taus.copy(),
            v1=_percent(self._counts["v1"][0], boxes),
            v2=_percent(self._counts["v2"], boxes),
            top1=_percent(self._counts["top1"][0], classified),
            top5=_percent(self._counts["top5"][0], classified if five else 0),
            kinds=_percent(self._counts["kinds"], boxes),
            class_top1=float(_percent(np.array(numbers["right1"]), numbers["classified"])),
            class_top5=float(_percent(np.array(numbers["right5"]), numbers["classified"] if five else 0)),
            images=tuple(self._images),
            resampled=None if self._bootstrap is None or not boxes else self._bootstrap.percent(),
        )

    @property
    def _kind(self) -> tuple[object, ...]:
        return len(self._taus), self._row_taus, self._frame, self._replicates


class MapPixels:
    """Counts the pixels of score maps: by the ground-truth mask if there is one (PxAP), else by the ground-truth boxes."""

    def __init__(self) -> None:
        self._masks, self._regions = PixelAccumulator(), PixelAccumulator()

    def add(self, score_map: ArrayLike, boxes: ArrayLike | None, mask: ArrayLike | None = None) -> None:
        """Count one photo's pixels; see :meth:`~dips.evaluate.masks.PixelAccumulator.add`."""
        if mask is not None:
            self._masks.add(score_map, mask)
        elif boxes is not None and len(np.asarray(boxes)):
            height, width = np.shape(score_map)
            self._regions.add(score_map, boxes_mask(boxes, (height, width)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """All counts, ``(4, B)``: object and background pixels by score, first of photos with masks, then of photos with
        boxes."""
        return np.concatenate([self._masks.counts, self._regions.counts])

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add the :attr:`counts` of another instance, in any shape."""
        masks, regions = counts.reshape(2, 2, -1)
        self._masks.add_counts(masks)
        self._regions.add_counts(regions)

    def merge(self, other: MapPixels) -> None:
        """Add the counts of another instance."""
        self.add_counts(other.counts)

    def result(self) -> tuple[float | None, dict[str, Any] | None]:
        """Return PxAP, and the activations with ``truth``: ``masks``, or else ``boxes``; None if there is neither."""
        if (activations := self._masks.activations()) is not None:
            return self._masks.result(), {**activations, "truth": "masks"}
        activations = self._regions.activations()
        return None, None if activations is None else {**activations, "truth": "boxes"}


class MapAccumulator:
    """Counts boxes, masks and activations of score maps that are already in a protocol's frame.

    Attributes:
        boxes: the MaxBoxAcc family.
        pixels: PxAP and the distribution of activations.

    >>> accumulator = MapAccumulator()
    >>> accumulator.add(np.eye(8), [[0, 0, 7, 7]], mask=np.eye(8, dtype=np.uint8), id="owl/1.jpg")
    >>> result = accumulator.result()
    >>> result.boxes.max_box_acc, result.pxap
    (100.0, 100.0)
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
        """Add the counts of another accumulator."""
        self.boxes.merge(other.boxes)
        self.pixels.merge(other.pixels)

    def result(self) -> MapResult:
        """Return all results so far."""
        return MapResult(self.boxes.result(), *self.pixels.result())


_CURVES = {"v1": 1, "v2": len(DELTAS), "top1": 1, "top5": 1, "kinds": len(KINDS)}


def _percent(counts: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    return 100.0 * counts / total if total else np.full(counts.shape, np.nan)
