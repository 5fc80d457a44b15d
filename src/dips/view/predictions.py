"""What a prediction folder holds, as far as a review needs it. Masks stay on the disk until they are asked for."""

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
    """A predicted box, its score, 0 to 1, and its class, None being that of the photo; one that a person made has no score."""

    box: Box
    score: float | None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo.

    Attributes:
        name: its path below the folder that was predicted, with suffix and forward slashes; no two photos share it.
        path: the photo's file, as it was given to ``dips predict``.
        record: the JSON about it.
        width, height: in pixels, EXIF rotation applied.
        label: the predicted class.
        label_score: its probability.
        boxes: the predicted boxes, best first; those of a reviewed photo as the person left them.
        scale: which values were black and white, if the photo has more than 8 bits.
        camera: where and when it was taken, if it says so.
        reviewed: whether a person reviewed these boxes before ``dips boxes --reviewed`` wrote them.
        priority: how much a review is likely to teach, 0 to 1; None where an earlier version predicted the photo.
        photos_dir: where the photos lie now, if a person said so.

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
            ImageError: it does not exist, or is not a photo by its name or first bytes.
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
        folder: its path.
        photos: sorted by their path.
        classes: names of all classes, in the model's order.
        background: name of the class without object, if there is one.
        model: what tells the model from others, "" if that is not known.

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
    """Read the folder that ``dips predict --out`` wrote.

    Args:
        photos_dir: where the photos lie now, see :func:`dips.predict.results.moved`.

    Raises:
        RunError: it is none, is unfinished or damaged, its photos were predicted with different classes, or are not in
            ``photos_dir``.
    """
    photos: list[Photo] = []
    shared: tuple[tuple[str, ...], str | None, str] | None = None
    for file, record in read_records(folder, photos_dir):
        own = (tuple(record.class_scores), record.background, record.model)
        shared = shared or own
        if own != shared:
            raise RunError(f"{file} is of another model than the others; review each model's photos in a separate folder")
        photos.append(_photo(file, record, photos_dir))
    assert shared is not None  # a folder without photos is refused
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
