"""The contents of a prediction folder that a review needs. Masks stay on disk until they are requested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from dips.data.camera import Camera
from dips.data.photo_files import SUFFIXES, is_photo
from dips.errors import ImageError, RunError
from dips.formats.records import PredictionRecord
from dips.predict.results import locate, read_records

__all__ = ["Box", "Photo", "PredictedBox", "Predictions", "read_predictions"]

Box = tuple[float, float, float, float]
"""``x0 y0 x1 y1`` in pixels of the upright photo, end exclusive."""


@dataclass(frozen=True, slots=True)
class PredictedBox:
    """A predicted box, its score, 0 to 1, and its class, None for that of the photo; a box made by a person has no score."""

    box: Box
    score: float | None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo.

    Attributes:
        name: its path below the predicted folder, with suffix and forward slashes; unique among the photos.
        path: the photo's file, as given to ``dips predict``.
        record: the file with its JSON record.
        width, height: size in pixels, EXIF rotation applied.
        label: the predicted class.
        label_score: its probability.
        boxes: the predicted boxes, best first; those of a reviewed photo as the person left them.
        scale: the values mapped to black and white, if the photo has more than 8 bits.
        camera: where and when it was taken, if recorded.
        reviewed: whether a person reviewed these boxes before ``dips boxes --reviewed`` wrote them.
        priority: how much the model is likely to learn from a review, 0 to 1; None if an earlier version predicted the photo.
        photos_dir: where the photos are now, if the user specified it.

    >>> Photo("a.jpg", Path("a.jpg"), Path("a.json"), 80, 60, "mast", 0.9, (PredictedBox((10, 20, 30, 40), 0.8),)).label
    'mast'
    """

    name: str
    path: Path
    record: Path
    width: int
    height: int
    label: str
    label_score: float
    boxes: tuple[PredictedBox, ...]
    scale: tuple[float, float] | None = None
    camera: Camera | None = None
    reviewed: bool = False
    priority: float | None = None
    photos_dir: Path | None = None

    def locate(self, folder: Path) -> Path:
        """Return where the photo is now, see :func:`dips.predict.results.locate`.

        Raises:
            ImageError: the photo does not exist, or its name or first bytes are not those of a photo.
        """
        if self.path.suffix.lower() in SUFFIXES:
            return locate(self.path, folder, self.photos_dir)
        if not is_photo(path := locate(self.path, folder, self.photos_dir)):
            raise ImageError(f"{self.path} is not a photo; predict the photos again")
        return path


@dataclass(frozen=True, slots=True)
class Predictions:
    """A prediction folder.

    Attributes:
        folder: path of the folder.
        photos: photos sorted by path.
        classes: names of all classes, in the model's order.
        background: name of the class without an object, if there is one.
        model: identifies the model, "" if unknown.

    >>> Predictions(Path("out"), (), ("none", "mast"), "none", "3f2a").object_classes
    ('mast',)
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


def read_predictions(folder: Path, photos_dir: Path | None = None) -> Predictions:
    """Read a folder written by ``dips predict --out``.

    Args:
        photos_dir: where the photos are now, see :func:`dips.predict.results.moved`.

    Raises:
        RunError: it is not such a folder, is unfinished or damaged, or its photos were predicted with different classes, or are
            not in ``photos_dir``.
    """
    photos: list[Photo] = []
    shared: tuple[tuple[str, ...], str | None, str] | None = None
    for file, record in read_records(folder, photos_dir):
        own = (tuple(record.class_scores), record.background, record.model)
        shared = shared or own
        if own != shared:
            raise RunError(f"{file} is of another model than the others; review each model's photos in a separate folder")
        photos.append(_photo(file, record, photos_dir))
    assert shared is not None  # a folder without photos is an error
    photos.sort(key=lambda photo: photo.name.split("/"))
    _require_unique(photos)
    return Predictions(folder, tuple(photos), *shared)


def _photo(file: Path, record: PredictionRecord, photos_dir: Path | None) -> Photo:
    return Photo(
        name=record.name,
        path=Path(record.path),
        record=file,
        width=record.width,
        height=record.height,
        label=record.label,
        label_score=record.label_score,
        boxes=tuple(
            PredictedBox(entry.box, None if entry.score is UNSET else entry.score, entry.label or None)
            for entry in record.boxes
        ),
        scale=record.scale or None,
        camera=record.camera or None,
        reviewed=bool(record.reviewed),
        priority=None if record.priority is UNSET else record.priority,
        photos_dir=photos_dir,
    )


def _require_unique(photos: Sequence[Photo]) -> None:
    for photo, other in zip(photos[1:], photos, strict=False):
        if photo.name == other.name:
            raise RunError(f"{photo.record} and {other.record} are about the same photo; remove one of them")
