"""What the localizer says about one photo: :class:`Prediction`, which users hold in their hands.

In: the networks' answer. Out: boxes, masks and score map in the photo's own pixels; files, each written whole or not at all.
Record and score map together make the prediction again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.data.images import ByteImage, fitted_size, read_image, resize_image
from dips.errors import DataError, ImageError, RunError
from dips.pictures.overlay import overlay
from dips.predict.records import SCHEMA_VERSION, write_json
from dips.scoremaps.levels import packed, stretched, unpacked
from dips.scoremaps.rle import encode
from dips.system.files import as_text, atomic_file
from dips.types import FloatArray

__all__ = ["MAX_OVERLAY_SIDE", "Prediction"]

MAX_OVERLAY_SIDE = 4096
"""Pixels of the longer side of an overlay."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the localizer says about one photo; the arrays are in the photo's own pixels.

    Attributes:
        path: the photo's file.
        label: name of the predicted class.
        label_score: its probability.
        class_scores: probability of every class, ``(C,)``, in the order of ``classes``.
        classes: class names.
        size: width and height of the photo in pixels.
        boxes: ``(N, 4) float32``, best first, ``x0 y0 x1 y1``, end exclusive; empty for the background class.
        box_scores: ``(N,) float32``, mean of the score map over the box's component, descending.
        grid: the score map as the networks gave it, ``(h, w) float32`` in [0, 1]; stretched over the photo it is ``score_map``.
        regions: ``(h, w) uint16``, i + 1 where box i's object is, else 0; as large as the photo, or smaller if it is huge.
        threshold: the share of the map's maximum above which a pixel is foreground.
        min_area: least area of a box as a share of the photo.
        min_score: least score of a box.
        max_boxes: boxes at most.
        background: name of the class without object, if there is one.
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

    @property
    def score_map(self) -> FloatArray:
        """``(H, W) float32`` in [0, 1], made anew each time."""
        return stretched(self.grid, self.size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``(H, W) bool``, all objects together, made anew each time."""
        return cv2.resize((self.regions > 0).view(np.uint8), self.size, interpolation=cv2.INTER_NEAREST).view(np.bool_)

    def object_mask(self, index: int) -> NDArray[np.bool_]:
        """The pixels of object ``index`` inside its own box, ``(y1 - y0, x1 - x0) bool``."""
        x0, y0, x1, y1 = (int(value) for value in self.boxes[index])
        height, width = self.regions.shape
        columns = _cells(x0, x1, width, self.size[0])
        part = np.ascontiguousarray(self.regions[_cells(y0, y1, height, self.size[1]), columns] == index + 1)
        return cv2.resize(part.view(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST).view(np.bool_)

    def at(self, size: tuple[int, int]) -> Prediction:
        """The same for the photo resized to ``size`` (width, height)."""
        scale = np.array([size[0] / self.size[0], size[1] / self.size[1]] * 2, np.float32)
        boxes = np.rint(self.boxes * scale)
        boxes[:, :2] = np.minimum(boxes[:, :2], np.array(size, np.float32) - 1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        return replace(self, size=size, boxes=boxes)

    def record(self, *, path: str | None = None, name: str | None = None, folder: str = "", model: str = "") -> Record:
        """What is written to JSON about one photo.

        Args:
            path: how to name the photo; its path with forward slashes by default.
            name: its path below the folder that was predicted; that of the file alone by default.
            folder: the own name of that folder, without those around it.
            model: what tells the model from others.

        Returns:
            ``schema_version``; ``path``; ``name``; ``folder``; ``width`` and ``height`` in pixels; ``label``; ``label_score``;
            ``class_scores`` (name to probability); ``background``: name of the class without object or null; ``boxes``: a list
            of ``{"box": [x0, y0, x1, y1], "score": s, "mask": {"size": [height, width], "counts": "..."}}``, best first, in the
            photo's own pixels, end exclusive, masks as COCO's run lengths; ``threshold``; ``min_area`` as a share of the photo;
            ``min_score``; ``max_boxes``; ``model``.
        """
        width, height = self.size
        return {
            "schema_version": SCHEMA_VERSION,
            "path": as_text(self.path.as_posix()) if path is None else path,
            "name": as_text(self.path.name) if name is None else name,
            "folder": folder,
            "width": width,
            "height": height,
            "label": self.label,
            "label_score": _rounded(self.label_score),
            "class_scores": {name: _rounded(score) for name, score in zip(self.classes, self.class_scores, strict=True)},
            "background": self.background,
            "boxes": [
                {
                    "box": [_rounded(value, 2) for value in box],
                    "score": _rounded(score),
                    "mask": {"size": [height, width], "counts": self._counts(index)},
                }
                for index, (box, score) in enumerate(zip(self.boxes, self.box_scores, strict=True))
            ],
            "threshold": float(self.threshold),  # not rounded: the same objects are found again
            "min_area": float(self.min_area),
            "min_score": float(self.min_score),
            "max_boxes": self.max_boxes,
            "model": model,
        }

    def _counts(self, index: int) -> str:
        corner = (int(self.boxes[index, 0]), int(self.boxes[index, 1]))
        return encode(self.object_mask(index), corner=corner, size=self.size)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], map_file: Path) -> Prediction:
        """The prediction that a record and its score map were written from, without its objects;
        :func:`dips.predict.objects.with_objects` finds them again.

        Raises:
            RunError: the record or the map is missing or damaged.
        """
        try:
            grid = cv2.imdecode(np.frombuffer(map_file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
            if grid is None or grid.dtype != np.uint16 or grid.ndim != 2:
                raise ValueError("no grey picture of 16 bits")
            return cls(
                path=Path(record["path"]),
                label=record["label"],
                label_score=record["label_score"],
                class_scores=np.array(list(record["class_scores"].values()), np.float32),
                classes=tuple(record["class_scores"]),
                size=(record["width"], record["height"]),
                boxes=np.zeros((0, 4), np.float32),
                box_scores=np.zeros(0, np.float32),
                grid=unpacked(grid.view(np.uint16)),
                regions=np.zeros((1, 1), np.uint16),
                threshold=record["threshold"],
                min_area=record["min_area"],
                min_score=record["min_score"],
                max_boxes=record["max_boxes"],
                background=record["background"],
            )
        except (OSError, ValueError, LookupError, TypeError, cv2.error) as error:
            raise RunError(f"{map_file} or its record is missing or damaged ({error}); predict the photos again") from error

    def write_map(self, path: Path) -> None:
        """The score map as the networks gave it, as a 16-bit grey PNG: 65535 is 1. It shows the whole photo, stretched.

        Raises:
            RunError: the file cannot be written.
        """
        _write_png(packed(self.grid), path)

    def write_mask(self, path: Path) -> None:
        """The mask as an 8-bit PNG of the photo's size: 255 object, 0 elsewhere.

        Raises:
            RunError: the file cannot be written.
        """
        _write_png(self.mask.view(np.uint8) * np.uint8(255), path)

    def overlay(
        self, photo: ByteImage, true_boxes: ArrayLike | None = None, *, heat: bool = True, legend: bool = True
    ) -> ByteImage:
        """Return the photo ``(H, W, 3) uint8`` RGB with everything that was predicted drawn on it.

        Raises:
            DataError: the photo's size is not that of the prediction.
        """
        width, height = self.size
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or self.size != photo.shape[1::-1]:
            raise DataError(
                f"{self.path}: the prediction is for a photo of {width}x{height} pixels, this picture is {photo.shape} "
                f"{photo.dtype}; draw on the RGB photo that was predicted"
            )
        return overlay(
            photo,
            boxes=self.boxes,
            scores=self.box_scores,
            label=self.label,
            label_score=self.label_score,
            score_map=self.grid,
            mask=self.mask,
            true_boxes=true_boxes,
            heat=heat,
            legend=legend,
        )

    def overlay_jpeg(self, photo: Path) -> bytes:
        """Return the overlay on the photo in this file as JPEG, its longer side at most :data:`MAX_OVERLAY_SIDE` pixels.

        Raises:
            ImageError: the photo cannot be read.
        """
        pixels = read_image(photo, max_side=MAX_OVERLAY_SIDE)
        size = fitted_size(self.size, MAX_OVERLAY_SIDE)
        picture = self.at(size).overlay(resize_image(pixels, size))
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise ImageError(f"{self.path} cannot be drawn on as a JPEG ({picture.shape[1]} x {picture.shape[0]} pixels)")
        return data.tobytes()

    def save(self, folder: str | Path) -> None:
        """Write ``NAME.json``, ``NAME.mask.png`` and ``NAME.overlay.jpg`` into ``folder``, NAME being the photo's.

        Raises:
            RunError: one of them exists already, or cannot be written.
            ImageError: the photo, on which boxes are drawn, cannot be read; nothing is written then.
        """
        stem = self.path.stem
        record, mask, picture = (Path(folder) / f"{stem}{end}" for end in (".json", ".mask.png", ".overlay.jpg"))
        for path in (record, mask, picture):
            if path.exists():
                raise RunError(f"{path} exists already and is left as it is; choose another folder")
        drawn = self.overlay_jpeg(self.path)  # the first thing that can fail
        self.write_mask(mask)
        with atomic_file(picture, "wb") as file:
            file.write(drawn)
        write_json(self.record(), record)


def _cells(start: int, stop: int, cells: int, pixels: int) -> slice:
    """Where pixels lie on a coarser axis; at least one cell."""
    first = min(round(start * cells / pixels), cells - 1)
    return slice(first, max(first + 1, round(stop * cells / pixels)))


def _write_png(picture: NDArray[Any], path: Path) -> None:
    done, data = cv2.imencode(".png", picture)
    if not done:  # pragma: no cover - no grey picture is known that OpenCV cannot encode
        raise RunError(f"{path} could not be encoded as PNG")
    with atomic_file(path, "wb") as file:
        file.write(data.tobytes())


def _rounded(value: Any, digits: int = 6) -> float:
    return round(float(value), digits)
