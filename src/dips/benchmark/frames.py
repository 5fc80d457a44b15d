"""Compare ground truth and score maps in the frame of a protocol.

In: a :class:`~dips.types.Sample` and score maps of any size. Out: :class:`GroundTruth`, and the input of accumulators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.data.ground_truth import read_mask
from dips.data.images import image_size
from dips.errors import ImageError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.boxes import BoxLevels, boxes_at_thresholds
from dips.evaluate.measure import Measured, measure_boxes
from dips.evaluate.protocol import ORIGINAL, Protocol
from dips.scoremaps.levels import centre_map
from dips.types import Sample

__all__ = ["GroundTruth", "MapComparison", "compare_centre", "compare_map", "read_ground_truth"]


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """A photo's ground truth in the frame of a protocol.

    Attributes:
        sample: the photo.
        size: width and height of the photo in pixels; None if not needed.
        boxes: ``(K, 4)``, ``x0 y0 x1 y1`` in pixels of the frame; None if unknown.
        mask: ``(H, W) uint8`` of 0 (background), 1 (object) and 255 (ignored); None if unknown.

    >>> from pathlib import Path
    >>> from dips.evaluate.protocol import FRAMED
    >>> sample = Sample(Path("owl/1.jpg"), "owl/1.jpg", 0, np.array([[50, 60, 300, 200]], np.float32), frame=(500, 375))
    >>> ground_truth = read_ground_truth(sample, FRAMED)
    >>> ground_truth.comparable, ground_truth.boxes.tolist()
    (True, [[22.0, 35.0, 134.0, 119.0]])
    """

    sample: Sample
    size: tuple[int, int] | None
    boxes: NDArray[np.float64] | None
    mask: NDArray[np.uint8] | None

    @property
    def comparable(self) -> bool:
        """Whether there is ground truth to compare a score map with."""
        return self.mask is not None or (self.boxes is not None and len(self.boxes) > 0)


@dataclass(frozen=True, slots=True)
class MapComparison:
    """A score map compared with the ground truth.

    Attributes:
        boxes: the measurement of its boxes.
        score_map: the map ``(H, W)`` in the frame; None if there is no ground truth.
    """

    boxes: Measured
    score_map: NDArray[np.floating] | None

    def add_to(self, accumulator: MapAccumulator, ground_truth: GroundTruth) -> None:
        """Add the comparison to the accumulator of a split."""
        accumulator.boxes.count(self.boxes)
        if self.score_map is not None:
            accumulator.pixels.add(self.score_map, ground_truth.boxes, ground_truth.mask)


def read_ground_truth(sample: Sample, protocol: Protocol) -> GroundTruth:
    """Read a photo's ground truth: its boxes, converted to the frame, and its mask from files.

    Raises:
        DataError: a mask file is missing or damaged.
        ImageError: the photo's size is needed and cannot be read.
    """
    known = sample.boxes is not None or (protocol.side is None and len(sample.masks) > 0)
    size = sample.frame or (_size(sample, protocol) if known else None)
    boxes = None if sample.boxes is None or size is None else protocol.boxes(sample.boxes, size)
    mask = read_mask(sample, protocol.frame(size)) if sample.masks else None
    return GroundTruth(sample, size, boxes, mask)


def _size(sample: Sample, protocol: Protocol) -> tuple[int, int]:
    if not sample.path.exists():
        raise ImageError(
            f"{sample.path} does not exist, and protocol {protocol.name} needs its size; put the photo there, or add "
            f"{sample.id} to image_sizes.txt"
        )
    return image_size(sample.path)


def compare_map(
    score_map: ArrayLike | None,
    ground_truth: GroundTruth,
    protocol: Protocol,
    *,
    predicted: Sequence[int] | NDArray[np.integer] = (),
    thresholds: int = 1000,
) -> MapComparison:
    """Compare one score map with the ground truth.

    Args:
        score_map: ``(h, w)`` of the whole photo, in [0, 1], resized to the frame bilinearly; None counts as a map of zeros.
        predicted: classes in descending order of probability, at most five; empty if there is no prediction.
        thresholds: length of the grid.

    Raises:
        ProtocolError: ``score_map`` is not a score map.
    """
    sample, resized = ground_truth.sample, None
    label = _counted_label(sample, predicted)
    if ground_truth.comparable:
        width, height = protocol.frame(ground_truth.size)
        resized = np.zeros((height, width), np.float32) if score_map is None else protocol.resized(score_map, ground_truth.size)
    measured = measure_boxes(resized, ground_truth.boxes, label=label, predicted=predicted, id=sample.id, thresholds=thresholds)
    return MapComparison(measured, resized)


def compare_centre(
    ground_truth: GroundTruth,
    protocol: Protocol,
    *,
    predicted: Sequence[int] | NDArray[np.integer] = (),
    thresholds: int = 1000,
) -> MapComparison:
    """Compare the centred Gaussian with the ground truth; its boxes are computed once for all photos of one size."""
    sample, score_map, levels = ground_truth.sample, None, None
    label = _counted_label(sample, predicted)
    if ground_truth.comparable:
        score_map, levels = _centre(*protocol.frame(ground_truth.size), thresholds)
    measured = measure_boxes(levels, ground_truth.boxes, label=label, predicted=predicted, id=sample.id, thresholds=thresholds)
    return MapComparison(measured, score_map)


def _counted_label(sample: Sample, predicted: Sequence[int] | NDArray[np.integer]) -> int | None:
    """Return the label that a photo counts with: of several, the one predicted first, else its first."""
    return next((int(label) for label in predicted if sample.others and int(label) in sample.labels), sample.label)


@lru_cache(maxsize=8)
def _centre(width: int, height: int, thresholds: int) -> tuple[NDArray[np.floating], BoxLevels]:
    """Return the centred Gaussian ``(height, width)``, resized to the frame, and its boxes."""
    score_map = ORIGINAL.resized(centre_map(), (width, height))
    return score_map, boxes_at_thresholds(score_map, thresholds)
