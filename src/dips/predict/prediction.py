"""The localizer's prediction for one photo: :class:`Prediction`, the object that users work with.

In: the networks' output. Out: boxes, masks and score map in the photo's own pixels; files, each written completely or not at
all. Objects are found in a score map without the networks; :mod:`dips.predict.map_files` stores it on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import ArrayLike, NDArray

from dips.data.camera import Camera
from dips.data.depth import Depth, Scale
from dips.data.images import ByteImage, encode_image, fitted_size, read_scaled, resize_image
from dips.data.naming import stem_of
from dips.errors import DataError, ImageError, RunError
from dips.formats.records import BoxRecord, MaskRecord, PredictionRecord
from dips.pictures.overlay import overlay
from dips.predict.inputs import Photo, gather_photos
from dips.scoremaps.calibration import Calibration, scored_boxes
from dips.scoremaps.levels import packed, stretched, unpacked
from dips.scoremaps.object_classes import ClassCells
from dips.scoremaps.priority import instability
from dips.scoremaps.rle import encode
from dips.system.files import atomic_file
from dips.system.names import as_text
from dips.system.records import write_json
from dips.types import FloatArray

__all__ = ["MAX_OVERLAY_SIDE", "Prediction"]

MAX_OVERLAY_SIDE = 4096
"""Maximum length of the longer side of an overlay, in pixels."""

JPEG_QUALITY = 90
MAX_FRAME_PIXELS = 12_000_000
"""Objects in larger photos are found on a score map of this many pixels, so that memory does not grow with the photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The localizer's prediction for one photo; the arrays are in the photo's own pixels.

    Attributes:
        path: the photo's file.
        label: name of the predicted class.
        label_score: its probability.
        class_scores: probability of every class, ``(C,)``, in the order of ``classes``.
        classes: class names.
        size: width and height of the photo in pixels.
        boxes: ``(N, 4) float32``, ``x0 y0 x1 y1``, end exclusive, best first unless reviewed; empty for the background class.
        box_scores: ``(N,) float32``, in the order of ``boxes``: the probability that the box is right if there is a
            ``calibration``, else the mean of the score map over the box's component; 1 for boxes made by a person.
        box_labels: class names of the N boxes; empty if all have the photo's class, see :meth:`label_of`.
        box_label_scores: their probabilities ``(N,) float32``; also empty if a person assigned the classes.
        grid: the score map as output by the networks, ``(h, w) float32`` in [0, 1]; resized to the photo it is ``score_map``.
        regions: ``(h, w) uint16``, i + 1 for pixels of box i's object, else 0; of the photo's size, or smaller if it is huge.
        threshold: fraction of the map's maximum above which a pixel is foreground.
        min_area: smallest area of a box as a fraction of the photo.
        min_score: lowest score of a box.
        max_boxes: largest number of boxes.
        background: name of the class without an object, if there is one.
        scale: the values of the photo mapped to black and white, if it has more than 8 bits.
        camera: where and when the photo was taken, if recorded.
        calibration: calibration of the scores; None if the model has none because too few validation photos had boxes.
        cells: class probabilities in each part of the photo; None if objects have no classes of their own.
        reviewed: the reviewed record, if a person reviewed the photo: the boxes are then theirs, perhaps of several classes.

    >>> score_map = np.zeros((60, 80), np.float32)
    >>> score_map[10:30, 20:60] = 0.9
    >>> prediction = Prediction.from_map(
    ...     Path("mast.jpg"), (80, 60), score_map, classes=("none", "mast"), probabilities=np.array([0.2, 0.8], np.float32)
    ... )
    >>> prediction = prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0.0, max_boxes=10)
    >>> prediction.label, prediction.boxes.tolist(), int(prediction.mask.sum())
    ('mast', [[20.0, 10.0, 60.0, 30.0]], 800)
    """

    path: Path
    label: str
    label_score: float
    class_scores: FloatArray
    classes: tuple[str, ...]
    size: tuple[int, int]
    boxes: FloatArray
    box_scores: FloatArray
    grid: FloatArray = field(repr=False)
    regions: NDArray[np.uint16] = field(repr=False)
    threshold: float = 0.5
    min_area: float = 0.0
    min_score: float = 0.0
    max_boxes: int = 100
    background: str | None = None
    scale: Scale | None = None
    camera: Camera | None = None
    calibration: Calibration | None = field(default=None, repr=False)
    box_labels: tuple[str, ...] = ()
    box_label_scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    cells: ClassCells | None = field(default=None, repr=False)
    reviewed: PredictionRecord | None = field(default=None, repr=False)

    @classmethod
    def from_map(
        cls,
        path: Path,
        size: tuple[int, int],
        grid: FloatArray,
        *,
        classes: tuple[str, ...],
        probabilities: FloatArray,
        background: str | None = None,
        scale: Scale | None = None,
        camera: Camera | None = None,
        calibration: Calibration | None = None,
        cells: ClassCells | None = None,
    ) -> Prediction:
        """Return a prediction whose objects are still to be found, see :meth:`with_objects`.

        Args:
            size: width and height of the photo in pixels.
            grid: the score map ``(h, w)`` in [0, 1], of any resolution. It is rounded as in its file, so that the same objects
                are found again.
            classes: class names.
            probabilities: ``(C,)``, of every class; the highest is the label.
            background: name of the class without an object.
            scale: the values of the photo mapped to black and white, if it has more than 8 bits.
            camera: where and when the photo was taken, if recorded.
            calibration: calibration of the scores.
            cells: class probabilities in each part of the photo, if objects have classes of their own.
        """
        label = int(probabilities.argmax())
        return cls(
            path=path,
            label=classes[label],
            label_score=float(probabilities[label]),
            class_scores=np.asarray(probabilities, np.float32),
            classes=classes,
            size=size,
            boxes=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            grid=unpacked(packed(grid)),
            regions=np.zeros((1, 1), np.uint16),
            background=background,
            scale=scale,
            camera=camera,
            calibration=calibration,
            cells=cells,
        )

    @property
    def score_map(self) -> FloatArray:
        """``(H, W) float32`` in [0, 1], computed at each access."""
        return stretched(self.grid, self.size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``(H, W) bool``, the union of all objects, computed at each access."""
        return cv2.resize((self.regions > 0).view(np.uint8), self.size, interpolation=cv2.INTER_NEAREST).view(np.bool_)

    @property
    def priority(self) -> float:
        """How much the model is likely to learn from a review of the photo, in [0, 1], computed at each access.

        It is the object's :func:`~dips.scoremaps.priority.instability`; for a photo of the background class, which has no
        object, the total probability of the other classes.
        """
        if self.label == self.background:
            return max(0.0, 1 - self.label_score)  # rounding may leave it above 1
        return instability(self.grid, self.threshold)

    def label_of(self, index: int) -> str:
        """Return the class name of object ``index``: its own, or that of the photo."""
        return self.box_labels[index] if self.box_labels else self.label

    def object_mask(self, index: int) -> NDArray[np.bool_]:
        """Return the pixels of object ``index`` inside its own box, ``(y1 - y0, x1 - x0) bool``."""
        x0, y0, x1, y1 = (int(value) for value in self.boxes[index])
        height, width = self.regions.shape
        columns = _cells(x0, x1, width, self.size[0])
        part = np.ascontiguousarray(self.regions[_cells(y0, y1, height, self.size[1]), columns] == index + 1)
        return cv2.resize(part.view(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST).view(np.bool_)

    def at(self, size: tuple[int, int]) -> Prediction:
        """Return the same prediction for the photo resized to ``size`` (width, height), for drawing; ``reviewed`` stays."""
        scale = np.array([size[0] / self.size[0], size[1] / self.size[1]] * 2, np.float32)
        boxes = np.rint(self.boxes * scale)
        boxes[:, :2] = np.minimum(boxes[:, :2], np.array(size, np.float32) - 1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        return replace(self, size=size, boxes=boxes)

    def with_objects(self, *, threshold: float, min_area: float, min_score: float, max_boxes: int) -> Prediction:
        """Find the objects in the score map, see :func:`dips.scoremaps.calibration.scored_boxes`, without running a network.

        A photo of the background class has none.

        Args:
            threshold: fraction of the map's maximum, in [0, 1].
            min_area: smallest area of a box as a fraction of the photo; if no box is that large, the largest one is kept.
            min_score: lowest score of a box.
            max_boxes: largest number of boxes.
        """
        if self.label == self.background:
            regions = np.zeros(self.grid.shape, np.uint16)
            boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        else:
            frame = _frame(self.size)
            boxes, scores, regions = scored_boxes(
                stretched(self.grid, frame),
                threshold,
                self.calibration,
                min_area=min_area,
                min_score=min_score,
                max_boxes=max_boxes,
            )
            if frame != self.size:
                scale = np.array([self.size[0] / frame[0], self.size[1] / frame[1]] * 2, np.float32)
                boxes = np.rint(boxes * scale)
        none: tuple[tuple[int, ...], FloatArray] = (), np.zeros(0, np.float32)
        labels, label_scores = none if self.cells is None else self.cells.classes_of(boxes, regions, self.size)
        return replace(
            self,
            boxes=boxes,
            box_scores=scores,
            regions=regions,
            box_labels=tuple(self.classes[label] for label in labels),
            box_label_scores=label_scores,
            threshold=threshold,
            min_area=min_area,
            min_score=min_score,
            max_boxes=max_boxes,
            reviewed=None,
        )

    def with_review(self, record: PredictionRecord) -> Prediction:
        """Return the prediction with the boxes of a record reviewed by a person.

        The score of a box that a person adjusted or drew is 1. Where boxes overlap, ``regions`` are assigned to the first one.
        """
        frame = _frame(self.size)
        regions = np.zeros(frame[::-1], np.uint16)
        for index in range(len(record.boxes), 0, -1):
            entry = record.boxes[index - 1]
            x0, y0, x1, y1 = entry.corners
            part = regions[_cells(y0, y1, frame[1], self.size[1]), _cells(x0, x1, frame[0], self.size[0])]
            mask = cv2.resize(entry.crop().view(np.uint8), part.shape[::-1], interpolation=cv2.INTER_NEAREST)
            part[mask > 0] = index
        return replace(
            self,
            label=record.label,
            label_score=record.label_score,
            boxes=np.array([entry.box for entry in record.boxes], np.float32).reshape(-1, 4),
            box_scores=np.array([entry.certainty for entry in record.boxes], np.float32),
            box_labels=tuple(record.label_of(entry) for entry in record.boxes),
            box_label_scores=np.zeros(0, np.float32),
            regions=regions,
            reviewed=record,
        )

    def record(
        self, *, path: str | None = None, name: str | None = None, folder: str = "", model: str = ""
    ) -> PredictionRecord:
        """Return the photo's record for JSON; scores are rounded to 6 digits.

        Args:
            path: path of the photo in the record; by default its own with forward slashes.
            name: its path below the predicted folder; by default the file name alone.
            folder: the last part of that folder's path.
            model: identifies the model.
        """
        path = as_text(self.path.as_posix()) if path is None else path
        name = as_text(self.path.name) if name is None else name
        if self.reviewed is not None:
            return msgspec.structs.replace(self.reviewed, path=path, name=name, folder=folder, model=model)
        width, height = self.size
        boxes = (
            BoxRecord(
                box=(_rounded(x0, 2), _rounded(y0, 2), _rounded(x1, 2), _rounded(y1, 2)),
                score=_rounded(score),
                mask=MaskRecord(size=(height, width), counts=self._counts(index)),
                label=as_text(self.box_labels[index]) if self.box_labels else UNSET,
                label_score=_rounded(self.box_label_scores[index]) if len(self.box_label_scores) else UNSET,
            )
            for index, ((x0, y0, x1, y1), score) in enumerate(zip(self.boxes, self.box_scores, strict=True))
        )
        return PredictionRecord(
            path=path,
            name=name,
            folder=folder,
            width=width,
            height=height,
            label=as_text(self.label),
            label_score=_rounded(self.label_score),
            class_scores={as_text(name): _rounded(score) for name, score in zip(self.classes, self.class_scores, strict=True)},
            background=None if self.background is None else as_text(self.background),
            priority=_rounded(self.priority, 4),  # never 1e-05: Label Studio sorts it as text
            boxes=tuple(boxes),
            threshold=float(self.threshold),  # not rounded, so that the same objects are found again
            min_area=float(self.min_area),
            min_score=float(self.min_score),
            max_boxes=self.max_boxes,
            model=model,
            scale=UNSET if self.scale is None else self.scale,
            camera=UNSET if self.camera is None else self.camera,
            calibration=UNSET if self.calibration is None else self.calibration,
            cell_classes=UNSET if self.cells is None else tuple(as_text(self.classes[label]) for label in self.cells.labels),
        )

    def _counts(self, index: int) -> str:
        corner = (int(self.boxes[index, 0]), int(self.boxes[index, 1]))
        return encode(self.object_mask(index), corner=corner, size=self.size)

    def write_mask(self, path: Path) -> None:
        """Write the mask as an 8-bit PNG of the photo's size: 255 object, 0 elsewhere.

        Raises:
            RunError: the file cannot be written.
        """
        with atomic_file(path, "wb") as file:
            file.write(encode_image(self.mask.view(np.uint8) * np.uint8(255), ".png"))

    def overlay(
        self, photo: ByteImage, true_boxes: ArrayLike | None = None, *, heat: bool = False, legend: bool = True
    ) -> ByteImage:
        """Return the photo ``(H, W, 3) uint8`` RGB with boxes, outlines and the class drawn on it.

        Args:
            true_boxes: ground truth, ``(K, 4)`` in the format of ``boxes``, drawn dashed; None if unknown.
            heat: also overlay the colours of the score map.
            legend: explain what is drawn, if there is room.

        Raises:
            DataError: the photo's size is not that of the prediction.
        """
        width, height = self.size
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or self.size != photo.shape[1::-1]:
            raise DataError(
                f"{self.path}: the prediction is for a photo of {width}x{height} pixels, this picture is {photo.shape} "
                f"{photo.dtype}; draw on the RGB photo that was predicted"
            )
        tags, caption = self._words()
        return overlay(
            photo,
            boxes=self.boxes,
            tags=tags,
            caption=caption,
            score_map=self.grid,
            mask=self.mask,
            true_boxes=true_boxes,
            heat=heat,
            legend=legend,
            reviewed=self.reviewed is not None,
        )

    def _words(self) -> tuple[list[str], str]:
        """Return the labels of the boxes, and the caption written in a corner if there are none."""
        if self.reviewed is None:
            tags = [f"{self.label_of(index)} {score:.2f}" for index, score in enumerate(self.box_scores)]
            return tags, f"{self.label} {self.label_score:.2f}"
        return [self.reviewed.label_of(entry) for entry in self.reviewed.boxes], "reviewed: no object"

    def overlay_jpeg(self, photo: Path | ByteImage, *, heat: bool = False) -> bytes:
        """Return the overlay on the photo as JPEG, its longer side at most :data:`MAX_OVERLAY_SIDE` pixels.

        Args:
            photo: its file, or its pixels ``(H, W, 3)`` RGB.
            heat: see :meth:`overlay`.

        Raises:
            ImageError: the photo cannot be read.
        """
        pixels = read_scaled(photo, self.scale, max_side=MAX_OVERLAY_SIDE) if isinstance(photo, Path) else photo
        size = fitted_size(self.size, MAX_OVERLAY_SIDE)
        picture = self.at(size).overlay(resize_image(pixels, size), heat=heat)
        return encode_image(picture, ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)

    def save(self, folder: str | Path, photo: Photo | None = None) -> None:
        """Write ``NAME.json``, ``NAME.mask.png`` and ``NAME.overlay.jpg`` to ``folder``; NAME is the photo's, if need be
        shortened.

        Args:
            photo: the photo that was predicted, if it was not a file.

        Raises:
            DataError: ``photo`` does not have the size of the photo that was predicted.
            RunError: one of the files already exists, or cannot be written.
            ImageError: the photo, on which boxes are drawn, cannot be read; nothing is written then.
        """
        stem = stem_of(self.path.name)
        record, mask, picture = (Path(folder) / f"{stem}{end}" for end in (".json", ".mask.png", ".overlay.jpg"))
        for path in (record, mask, picture):
            if path.exists():
                raise RunError(f"{path} already exists; nothing was changed. Choose another folder")
        if photo is None and not self.path.is_file():
            raise ImageError(
                f"{self.path} is no file; give the picture that was predicted, save(folder, picture), or move it back"
            )
        drawn = self.overlay_jpeg(self.path if photo is None else self._pixels(photo))  # first, as it may fail
        self.write_mask(mask)
        with atomic_file(picture, "wb") as file:
            file.write(drawn)
        write_json(record, msgspec.structs.replace(self.record(), cell_classes=UNSET), indent=1)  # no file of cells is written

    def _pixels(self, photo: Photo) -> ByteImage:
        picture = next(iter(gather_photos(photo, is_told=False)))
        depth = Depth.at(self.scale)
        pixels = read_scaled(picture, self.scale) if isinstance(picture, Path) else picture.read(None, depth)[0]
        if self.size != pixels.shape[1::-1]:
            raise DataError(
                f"{self.path} was predicted at {self.size[0]} x {self.size[1]} pixels, this picture has another size"
            )
        return pixels


def _frame(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the score map on which the objects of a photo are found."""
    width, height = size
    scale = math.sqrt(MAX_FRAME_PIXELS / (width * height))
    return size if scale >= 1 else (max(1, round(width * scale)), max(1, round(height * scale)))


def _cells(start: int, stop: int, cells: int, pixels: int) -> slice:
    """Return the cells of a coarser axis that cover a range of pixels, at least one."""
    first = min(round(start * cells / pixels), cells - 1)
    return slice(first, max(first + 1, round(stop * cells / pixels)))


def _rounded(value: Any, digits: int = 6) -> float:
    return round(float(value), digits)
