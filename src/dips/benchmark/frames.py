"""What is true of a photo, in a protocol's frame; and what a score map is worth there.

In: a :class:`~dips.types.Sample` and score maps of any size. Out: :class:`GroundTruth`, and what accumulators count.
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
    """A photo's truth in the frame of a protocol.

    Attributes:
        sample: whose it is.
        size: width and height of the photo; None where they were not needed.
        boxes: ``(K, 4)``; None where they are unknown.
        mask: ``(H, W) uint8`` of 0, 1 and 255; None where it is unknown.
    """

    sample: Sample
    size: tuple[int, int] | None
    boxes: NDArray[np.float64] | None
    mask: NDArray[np.uint8] | None

    @property
    def wanted(self) -> bool:
        """Whether there is something to compare a score map with."""
        return self.mask is not None or (self.boxes is not None and len(self.boxes) > 0)


@dataclass(frozen=True, slots=True)
class MapComparison:
    """One map's worth: the boxes' part, and the map in the frame (None where there is no truth)."""

    boxes: Measured
    score_map: NDArray[np.floating] | None

    def count(self, accumulator: MapAccumulator, truth: GroundTruth) -> None:
        """Add it to the numbers."""
        accumulator.boxes.count(self.boxes)
        if self.score_map is not None:
            accumulator.pixels.add(self.score_map, truth.boxes, truth.mask)


def read_ground_truth(sample: Sample, protocol: Protocol) -> GroundTruth:
    """Read what is true of a photo.

    Raises:
        DataError: a file of its mask is missing or damaged.
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
    truth: GroundTruth,
    protocol: Protocol,
    *,
    predicted: Sequence[int] | NDArray[np.integer] = (),
    thresholds: int = 1000,
) -> MapComparison:
    """Compare one score map ``(h, w)`` of the whole photo, which is resized to the frame; None finds nothing.

    Raises:
        ProtocolError: it is no score map.
    """
    sample, resized = truth.sample, None
    if truth.wanted:
        width, height = protocol.frame(truth.size)
        resized = np.zeros((height, width), np.float32) if score_map is None else protocol.resized(score_map, truth.size)
    measured = measure_boxes(resized, truth.boxes, label=sample.label, predicted=predicted, id=sample.id, thresholds=thresholds)
    return MapComparison(measured, resized)


def compare_centre(
    truth: GroundTruth, protocol: Protocol, *, predicted: Sequence[int] | NDArray[np.integer] = (), thresholds: int = 1000
) -> MapComparison:
    """What the centred Gaussian is worth; its boxes are computed once for all photos of one size."""
    sample, score_map, levels = truth.sample, None, None
    if truth.wanted:
        score_map, levels = _centre(*protocol.frame(truth.size), thresholds)
    measured = measure_boxes(levels, truth.boxes, label=sample.label, predicted=predicted, id=sample.id, thresholds=thresholds)
    return MapComparison(measured, score_map)


@lru_cache(maxsize=8)
def _centre(width: int, height: int, thresholds: int) -> tuple[NDArray[np.floating], BoxLevels]:
    """The centred Gaussian, stretched to the frame, and its boxes."""
    score_map = ORIGINAL.resized(centre_map(), (width, height))
    return score_map, boxes_at_thresholds(score_map, thresholds)
