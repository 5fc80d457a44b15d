"""What a prediction folder holds, as far as a review needs it. Masks stay on the disk until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dips.data.photo_files import SUFFIXES
from dips.errors import ImageError, RunError
from dips.predict.folder import locate, require_finished
from dips.predict.records import damaged, read_record

__all__ = ["Box", "Found", "Photo", "Predictions", "read_masks", "read_predictions"]

Box = tuple[float, float, float, float]
"""``x0 y0 x1 y1`` in pixels of the upright photo, end exclusive."""


@dataclass(frozen=True, slots=True)
class Found:
    """A predicted box and its score, 0 to 1."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo.

    Attributes:
        name: its path below the folder that was predicted, with suffix and forward slashes; no two photos share it.
        path: where it lies, as it was given to ``dips predict``.
        record: the JSON about it.
        width, height: in pixels, EXIF rotation applied.
        label: the predicted class.
        label_score: its probability.
        found: the predicted boxes, best first.
    """

    name: str
    path: Path
    record: Path
    width: int
    height: int
    label: str
    label_score: float
    found: tuple[Found, ...]

    def locate(self, folder: Path) -> Path:
        """Where the photo lies now, see :func:`dips.predict.folder.locate`.

        Raises:
            ImageError: it is nowhere, or its name is not that of a photo.
        """
        if self.path.suffix.lower() not in SUFFIXES:
            raise ImageError(f"{self.path} is not named like a photo; predict the photos again")
        return locate(self.path, folder)


@dataclass(frozen=True, slots=True)
class Predictions:
    """A prediction folder.

    Attributes:
        folder: where it lies.
        photos: sorted by their path.
        classes: names of all classes, in the model's order.
        background: name of the class without object, if there is one.
        model: what tells the model from others, "" if it is not known.
    """

    folder: Path
    photos: tuple[Photo, ...]
    classes: tuple[str, ...]
    background: str | None
    model: str

    @property
    def object_classes(self) -> tuple[str, ...]:
        """Classes that a box can have."""
        return tuple(name for name in self.classes if name != self.background)


def read_predictions(folder: Path) -> Predictions:
    """Read ``json/`` of the folder that ``dips predict --out`` wrote.

    Raises:
        RunError: it is none, is unfinished or damaged, or its photos were predicted with different classes.
    """
    top = folder / "json"
    if not top.is_dir():
        raise RunError(f"{folder} is no prediction; give the folder that 'dips predict --out' wrote")
    require_finished(folder)
    read = [_read(file) for file in top.rglob("*.json")]
    if not read:
        raise RunError(f"{folder} holds no photos; give the folder of another prediction")
    read.sort(key=lambda item: item[0].name.split("/"))
    photos = tuple(photo for photo, _ in read)
    classes, background, model = read[0][1]
    for (photo, known), before in zip(read[1:], photos, strict=False):
        if photo.name == before.name:
            raise RunError(f"{photo.record} and {before.record} are about the same photo; remove one of them")
        if known != (classes, background, model):
            raise RunError(
                f"{photo.record} is of another model than the others; review each model's photos in a folder of its own"
            )
    return Predictions(folder, photos, classes, background, model)


def read_masks(photo: Photo) -> list[Mapping[str, Any]]:
    """The mask of each predicted box as COCO's run lengths.

    Raises:
        RunError: the record is damaged.
    """
    return [entry["mask"] for entry in read_record(photo.record)["boxes"]]


def _read(file: Path) -> tuple[Photo, tuple[tuple[str, ...], str | None, str]]:
    record = read_record(file)
    try:
        photo = Photo(
            name=str(record["name"]),
            path=Path(str(record["path"])),
            record=file,
            width=int(record["width"]),
            height=int(record["height"]),
            label=str(record["label"]),
            label_score=float(record["label_score"]),
            found=tuple(Found(_box(entry["box"]), float(entry["score"])) for entry in record["boxes"]),
        )
        classes = tuple(str(name) for name in record["class_scores"])
        if photo.label not in classes or min(photo.width, photo.height) < 1:
            raise ValueError("label or size is none")
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise damaged(file, error) from error
    return photo, (classes, record["background"], str(record["model"]))


def _box(values: Any) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise ValueError(f"{values} is no box")
    return x0, y0, x1, y1
