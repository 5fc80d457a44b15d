"""DiPS's own JSON record of a photo: its content, and reading it back.

In: a file that ``dips predict`` wrote, perhaps damaged. Out: a :class:`PredictionRecord`. Records include masks as run lengths,
so all other formats are written from records alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dips.data.camera import Camera
from dips.scoremaps.calibration import Calibration
from dips.scoremaps.rle import decode
from dips.system.names import as_text
from dips.system.records import Record, read_record
from dips.types import Problem

__all__ = [
    "SCHEMA_VERSION",
    "BoxRecord",
    "MaskRecord",
    "PredictionRecord",
    "SkippedRecord",
    "SkippedRecords",
    "read_prediction",
    "skipped_records",
]

SCHEMA_VERSION = 1
"""Incremented when a key of the JSON is renamed, removed or changes its meaning; new keys do not change it."""

_MAX_PIXELS = 1 << 31  # per photo; a damaged number must not exhaust the memory


class MaskRecord(Record, frozen=True, kw_only=True):
    """The mask of an object in COCO's format.

    Attributes:
        size: height and width of the photo in pixels.
        counts: compressed run lengths, see :func:`dips.scoremaps.rle.encode`.
    """

    size: tuple[int, int]
    counts: str


class BoxRecord(Record, frozen=True, kw_only=True):
    """One object of a photo.

    Attributes:
        box: ``x0 y0 x1 y1`` in pixels of the upright photo, end exclusive.
        score: 0 to 1; unset for a box that a person adjusted or drew. If the photo's record has a ``calibration``, the
            probability that the box is right (IoU 0.5); otherwise the mean of the score map over the object, which only ranks
            boxes.
        mask: the object's pixels; unset for a box that a person moved or drew.
        label: the object's class, if a person reviewed the photo or the model classifies each object; otherwise unset, and the
            photo's class applies.
        label_score: probability of the object's own class, given that it is an object.
        review: what a person did with the box, if the photo was reviewed.
        track: number shared by all boxes of one object in a video, if ``dips stream --track`` followed it; starts at 1.

    >>> from dips.scoremaps.rle import encode
    >>> mask = MaskRecord(size=(3, 4), counts=encode(np.ones((2, 2), bool), corner=(1, 0), size=(4, 3)))
    >>> entry = BoxRecord(box=(1.0, 0.0, 3.0, 2.0), score=0.8, mask=mask)
    >>> entry.corners, entry.crop().tolist()
    ((1, 0, 3, 2), [[True, True], [True, True]])
    """

    box: tuple[float, float, float, float]
    score: float | msgspec.UnsetType = msgspec.UNSET
    mask: MaskRecord | msgspec.UnsetType = msgspec.UNSET
    label: str | msgspec.UnsetType = msgspec.UNSET
    label_score: float | msgspec.UnsetType = msgspec.UNSET
    review: Literal["accepted", "adjusted", "drawn"] | msgspec.UnsetType = msgspec.UNSET
    track: int | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if not self.review and (self.score is msgspec.UNSET or self.mask is msgspec.UNSET):
            raise ValueError("a box that no person made has no score or no mask")

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The box in whole pixels, ``x0 y0 x1 y1``, end exclusive; at least one pixel wide and high."""
        x0, y0, x1, y1 = self.box
        left, right = _whole(x0, x1)
        top, bottom = _whole(y0, y1)
        return left, top, right, bottom

    @property
    def certainty(self) -> float:
        """The score, or 1 if a person made the box."""
        return 1.0 if self.score is msgspec.UNSET else self.score

    def notes(self) -> dict[str, Any]:
        """Return those of ``score``, ``label_score`` and ``review`` that are set."""
        notes = {"score": self.score, "label_score": self.label_score, "review": self.review}
        return {name: value for name, value in notes.items() if value is not msgspec.UNSET}

    def crop(self) -> NDArray[np.bool_]:
        """Return the object's pixels inside its box, ``(y1 - y0, x1 - x0) bool``; all True if it has no mask.

        Raises:
            DataError: the run lengths are damaged.
        """
        if self.mask is msgspec.UNSET:
            x0, y0, x1, y1 = self.corners
            return np.ones((y1 - y0, x1 - x0), bool)
        return decode(self.mask.counts, self.mask.size[::-1], box=self.corners)


class PredictionRecord(Record, frozen=True, kw_only=True):
    """The prediction for a photo, or for a frame of a video.

    Attributes:
        path: the photo's file, as the user named it.
        name: the photo's path below the predicted folder, with suffix and forward slashes.
        folder: that folder's own name, without its parents.
        width, height: in pixels, EXIF rotation applied.
        label, label_score: the predicted class and its probability; for a reviewed photo, a class of its boxes or, without
            boxes, the class without object, if there is one.
        class_scores: probability of every class, in label order.
        background: the class without object, if there is one.
        priority: how useful a review of the photo is likely to be, 0 to 1; unset in predictions by earlier versions.
        boxes: the objects, best first; for a reviewed photo, in the reviewer's order.
        threshold: fraction of the map's maximum above which a pixel is foreground.
        min_area: smallest area of a box as a fraction of the photo.
        min_score: lowest score of a box.
        max_boxes: largest number of boxes.
        model: what identifies the model, "" if unknown.
        time: seconds from the start of the video; set for video frames only.
        scale: the values shown as black and white; set for photos of more than 8 bits only.
        camera: where, when and in which direction the photo was taken; set only if its metadata contains any of this.
        calibration: what turned the scores into probabilities, with thresholds worth trying; set for calibrated models only.
        cell_classes: the classes in ``classes/NAME.png``, from which objects are classified; set only for models that classify
            each object.
        reviewed: whether a person reviewed the photo, so that it shows no objects other than these boxes.
        state: ``found``, ``nothing found``, or ``not looked at`` if the predicted class has no object, so that none is looked
            for (a reviewed photo always counts as looked at). Derived from the other fields; a given value is overwritten. A
            photo that could not be read is ``failed`` and has no record.
    """

    schema_version: int = SCHEMA_VERSION
    path: str
    name: str
    folder: str
    width: int
    height: int
    label: str
    label_score: float
    class_scores: dict[str, float]
    background: str | None
    priority: float | msgspec.UnsetType = msgspec.UNSET
    boxes: tuple[BoxRecord, ...]
    threshold: float
    min_area: float
    min_score: float
    max_boxes: int
    model: str
    time: float | msgspec.UnsetType = msgspec.UNSET
    scale: tuple[float, float] | msgspec.UnsetType = msgspec.UNSET
    camera: Camera | msgspec.UnsetType = msgspec.UNSET
    calibration: Calibration | msgspec.UnsetType = msgspec.UNSET
    cell_classes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    reviewed: bool | msgspec.UnsetType = msgspec.UNSET
    state: str = ""

    def __post_init__(self) -> None:
        is_blank = self.label == self.background and not self.reviewed
        state = "found" if self.boxes else "not looked at" if is_blank else "nothing found"
        msgspec.structs.force_setattr(self, "state", state)
        if self.width < 1 or self.height < 1 or self.width * self.height > _MAX_PIXELS:
            raise ValueError(f"a photo has no {self.width:.9g} x {self.height:.9g} pixels")
        if self.label not in self.class_scores:
            raise ValueError(f"the label '{self.label[:80]}' is not among the classes")
        if self.scale and not self.scale[0] < self.scale[1]:
            raise ValueError("black must lie below white")
        shares = (self.label_score, *self.class_scores.values(), self.threshold, self.min_area, self.min_score)
        shares += () if self.priority is msgspec.UNSET else (self.priority,)
        shares += tuple(entry.label_score for entry in self.boxes if entry.label_score is not msgspec.UNSET)
        if not all(0 <= share <= 1 for share in (*shares, *(entry.certainty for entry in self.boxes))):
            raise ValueError("a score, threshold, area or priority is not between 0 and 1")
        if self.max_boxes < 1:
            raise ValueError("max_boxes is below 1")
        for x0, y0, x1, y1 in (entry.box for entry in self.boxes):
            if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
                raise ValueError("a box is not inside the photo")
        if any(entry.mask and entry.mask.size != (self.height, self.width) for entry in self.boxes):
            raise ValueError("a mask is not as large as the photo")
        if any(entry.label and entry.label not in self.object_classes for entry in self.boxes):
            raise ValueError("the class of a box is not among those with an object")
        if self.cell_classes and not set(self.cell_classes) <= set(self.object_classes):
            raise ValueError("the classes of cells are not among those with an object")

    @property
    def object_classes(self) -> list[str]:
        """Classes that a box can have, in label order."""
        return [name for name in self.class_scores if name != self.background]

    def label_of(self, entry: BoxRecord) -> str:
        """Return the class of one of the boxes."""
        return self.label if entry.label is msgspec.UNSET else entry.label

    def label_score_of(self, entry: BoxRecord) -> float:
        """Return the class probability of one of the boxes: the object's own if set, else the photo's."""
        return self.class_scores[self.label_of(entry)] if entry.label_score is msgspec.UNSET else entry.label_score


class SkippedRecord(Record, frozen=True, kw_only=True):
    """A photo that was left out, and why.

    Attributes:
        path: the photo's file.
        reason: what is wrong with it.
        name: as in :class:`PredictionRecord`; set if the photo has no record, so that formats list it as ``failed``.
    """

    path: str
    reason: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class SkippedRecords(Record, frozen=True, kw_only=True):
    """``skipped.json``: the photos that could not be read."""

    schema_version: int = SCHEMA_VERSION
    skipped: tuple[SkippedRecord, ...]


def read_prediction(file: Path) -> PredictionRecord:
    """Read the record of a photo.

    Raises:
        RunError: the file is missing, damaged or of another version.
    """
    return read_record(file, PredictionRecord, remedy="remove it and predict the photo again")


def skipped_records(problems: Iterable[Problem]) -> tuple[SkippedRecord, ...]:
    """Return the JSON records of photos that were left out."""
    return tuple(SkippedRecord(path=as_text(p.path.as_posix()), reason=as_text(p.message)) for p in problems)


def _whole(start: float, end: float) -> tuple[int, int]:
    """Return ``start`` and ``end`` rounded to whole pixels; if nothing is left between them, the pixel that holds ``start``."""
    first, last = math.floor(start + 0.5), math.floor(end + 0.5)  # round() would round halves to even
    return (first, last) if first < last else (int(start), int(start) + 1)
