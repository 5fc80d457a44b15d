"""The base class of all models that predict: a trained run and an exported file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dips.predict.inputs import Photo, gather_photos
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import counted, log

__all__ = ["PredictionModel", "weights_line"]

_SHOWN_CLASSES = 5


class PredictionModel(ABC):
    """A model that predicts.

    Attributes:
        classes: class names in label order.
        background: label of the class without an object, if there is one.

    .. code-block:: python

        for prediction in dips.load("masts.onnx").predict("photos/"):
            print(prediction.path, prediction.label, prediction.boxes)
    """

    classes: tuple[str, ...]
    background: int | None

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.classes[:_SHOWN_CLASSES])) + (", ..." if len(self.classes) > _SHOWN_CLASSES else "")
        background = "" if self.background is None else f", background {self.classes[self.background]!r}"
        where, mode, side = self.described()
        classes = counted(len(self.classes), "class")
        return f"<{type(self).__name__} {where}: {classes} ({shown}){background}; mode {mode}, {side} px>"

    @abstractmethod
    def described(self) -> tuple[Path, str, int]:
        """Return the model's path, its prediction mode, and the side in pixels of the square that it resizes a photo to."""

    @property
    @abstractmethod
    def predictor(self) -> Predictor:
        """The networks, and the settings that turn their score maps into objects."""

    @abstractmethod
    def made_with(self) -> str:
        """Return one line that names the pretrained weights the model was built from."""

    def predict(
        self, photos: Photo | Iterable[Photo], *, skipped: Callable[[Path, str], None] | None = None
    ) -> Iterator[Prediction]:
        """Predict the class, boxes, mask and score map of each photo, one photo at a time.

        Args:
            photos: the path of a photo or folder, an array ``(H, W, 3) uint8`` RGB or ``(H, W)`` grey, a PIL image, the bytes
                of an image file, or several of these. A photo in memory gets the ``path`` ``picture-N``, where N is its index,
                from 0.
            skipped: callback ``(path, reason)`` for photos that cannot be read; by default they are logged.

        Raises:
            DataError: there is no photo, the only path given does not exist, or an item has an unsupported type.
        """
        found = gather_photos(photos, is_told=skipped is not None)
        paths = [photo for photo in found if isinstance(photo, Path)] if isinstance(found, list) else []
        predictor = self.predictor.for_photos(paths) if paths else self.predictor
        return predictor.photos(found, skipped or (lambda path, reason: log(f"skipped: {reason}")))


def weights_line(weights: Mapping[str, Mapping[str, str]]) -> str:
    """Return one line that lists pretrained weights by role, each given with its ``arch`` and ``note``.

    >>> weights_line({"transformer": {"arch": "vit_small", "note": "DINO, S/8"}, "encoder": {"arch": "resnet50", "note": ""}})
    'transformer DINO, S/8, encoder resnet50'
    """
    return ", ".join(f"{role} {item['note'] or item['arch']}" for role, item in weights.items())
