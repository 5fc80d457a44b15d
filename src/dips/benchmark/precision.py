"""Average precision per class of the boxes of a split, for an evaluated run or a folder of predictions.

In: boxes with classes, from an answer or from ``json/``, and samples with ground truth. Out: :class:`PrecisionRecord`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dips.evaluate.average_precision import AveragePrecision
from dips.formats.records import read_prediction
from dips.scoremaps.object_classes import ClassCells
from dips.system.console import log
from dips.system.records import Record
from dips.types import FloatArray, Sample

__all__ = ["BoxPrecision", "PrecisionRecord", "precision_of_folder"]

Found = Callable[[NDArray[np.floating], NDArray[np.floating], NDArray[np.uint16]], None]
"""Called with the boxes ``(N, 4)`` found in a map, their scores ``(N,)`` and their regions ``(H, W)``."""


class ClassPrecisionRecord(Record, frozen=True, kw_only=True):
    """The average precision of a class in percent, and the number of its true boxes."""

    name: str
    objects: int
    ap50: float
    ap: float


class PrecisionRecord(Record, frozen=True, kw_only=True):
    """Average precision of boxes with their classes as computed by COCO's evaluator, in percent.

    Attributes:
        ap50: average precision at IoU 0.5, mean over the classes with a true box.
        ap: likewise, mean over IoUs from 0.5 to 0.95.
        classes: average precision of each of these classes.
    """

    ap50: float
    ap: float
    classes: list[ClassPrecisionRecord]

    @staticmethod
    def of(precision: AveragePrecision, classes: Sequence[str]) -> PrecisionRecord | None:
        """Return the record of counted boxes, given the class names; None if there is no true box."""
        found = [
            ClassPrecisionRecord(name=classes[label], objects=item.objects, ap50=item.ap50, ap=item.ap)
            for label, item in precision.classes().items()
        ]
        if not found:
            return None
        ap50, ap = (float(np.mean(values)) for values in zip(*((item.ap50, item.ap) for item in found), strict=True))
        return PrecisionRecord(ap50=ap50, ap=ap, classes=found)

    def by_name(self, name: str) -> ClassPrecisionRecord | None:
        """Return the precision of a class; None if it has no true box."""
        return next((item for item in self.classes if item.name == name), None)


class BoxPrecision:
    """Counts the boxes of evaluated photos, with the classes of the networks' answers.

    Args:
        background: label of the class without an object, if there is one.

    >>> precision = BoxPrecision(background=None)
    >>> sample = Sample(Path("a.jpg"), "a.jpg", 1)
    >>> box, regions = np.array([[0, 0, 4, 4]], np.float32), np.ones((4, 4), np.uint16)
    >>> precision.counter(sample, box, predicted=1)(box, np.array([0.9], np.float32), regions)
    >>> precision.counted.classes()[1].ap50
    100.0
    """

    def __init__(self, background: int | None) -> None:
        self.counted = AveragePrecision()
        self._background = background
        self._cells: FloatArray | None = None

    def hear(self, cells: FloatArray) -> None:
        """Store the class logits ``(C, h, w)`` of the next photo's cells."""
        self._cells = cells

    def counter(self, sample: Sample, boxes: NDArray[np.floating] | None, predicted: int) -> Found:
        """Return a function that counts the boxes of the next photo.

        Args:
            boxes: ground truth ``(K, 4)`` in the map's pixels; None if unknown, in which case nothing is counted.
            predicted: class of the photo, and of its boxes if there are no cells.
        """
        heard, self._cells = self._cells, None
        labels = None if boxes is None else _true_labels(sample, len(boxes))

        def count(found: NDArray[np.floating], scores: NDArray[np.floating], regions: NDArray[np.uint16]) -> None:
            if boxes is None or labels is None:
                return
            own: Sequence[int] = [predicted] * len(found)
            if heard is not None:
                cells = ClassCells.of(heard, self._background)
                own, _ = cells.classes_of(np.asarray(found, np.float32), regions, (regions.shape[1], regions.shape[0]))
            kept = _judged(sample, own)
            self.counted.add(found[kept], scores[kept], [own[index] for index in kept], boxes, labels)

        return count


def precision_of_folder(folder: Path, samples: Iterable[tuple[Sample, str]], classes: Sequence[str]) -> PrecisionRecord | None:
    """Return the precision of the boxes of a complete prediction; None if no photo has true boxes of known classes, or if the
    boxes of a photo are missing.

    Args:
        samples: photos with ground truth, each with the name of its map below ``maps/``.
        classes: names of their labels. Boxes of other classes are ignored.

    Raises:
        RunError: the record of a photo is damaged.
    """
    precision = AveragePrecision()
    labels = {name: label for label, name in enumerate(classes)}
    for sample, name in samples:
        file = folder / "json" / f"{name.removesuffix(PurePosixPath(name).suffix)}.json"
        if not file.is_file():
            log(f"no average precision of the boxes: {file} is missing; predict the photos again for that")
            return None
        record = read_prediction(file)
        true_boxes = sample.boxes
        if true_boxes is None and sample.label is not None and classes[sample.label] == record.background:
            true_boxes = np.zeros((0, 4), np.float32)  # known to show nothing, even without a boxes file
        true = None if true_boxes is None else _true_labels(sample, len(true_boxes))
        if true_boxes is None or true is None:
            continue
        boxes = [entry for entry in record.boxes if record.label_of(entry) in labels]
        boxes = [boxes[index] for index in _judged(sample, [labels[record.label_of(entry)] for entry in boxes])]
        width, height = sample.frame or (record.width, record.height)
        scale = np.array([width / record.width, height / record.height] * 2)
        precision.add(
            np.array([entry.box for entry in boxes], np.float64).reshape(-1, 4) * scale,
            [entry.certainty for entry in boxes],
            [labels[record.label_of(entry)] for entry in boxes],
            true_boxes,
            true,
        )
    return PrecisionRecord.of(precision, classes)


def _judged(sample: Sample, own: Sequence[int]) -> list[int]:
    """Return the positions of the boxes that count, given their classes ``own``: a box of a class that the photo shows without
    a true box may be right, and is left out."""
    unboxed = set(sample.labels).difference(sample.box_labels or sample.labels[:1])
    return [index for index, label in enumerate(own) if label not in unboxed]


def _true_labels(sample: Sample, count: int) -> Sequence[int] | None:
    """Return the classes of a photo's ``count`` true boxes; None if unknown."""
    if sample.box_labels:
        return sample.box_labels
    return None if sample.label is None else [sample.label] * count
