"""The base of all models that predict: a trained run and an exported file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dips.data.photo_files import gather_images
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import log

__all__ = ["PredictionModel", "weights_line"]


class PredictionModel(ABC):
    """A model that predicts.

    Attributes:
        classes: names in label order.
        background: label of the class without object, if there is one.

    .. code-block:: python

        for prediction in dips.load("masts.onnx").predict("photos/"):
            print(prediction.path, prediction.label, prediction.boxes)
    """

    classes: tuple[str, ...]
    background: int | None

    @property
    @abstractmethod
    def predictor(self) -> Predictor:
        """The networks, and how their maps become objects."""

    @abstractmethod
    def made_with(self) -> str:
        """Return the pretrained weights that the model was made with, in a line."""

    def predict(
        self, photos: str | Path | Iterable[str | Path], *, skipped: Callable[[Path, str], None] | None = None
    ) -> Iterator[Prediction]:
        """Predict class, boxes, mask and score map of photos, one at a time.

        Args:
            photos: a photo, a folder, or several of these.
            skipped: callback ``(path, reason)`` for photos that cannot be read; by default they are logged.

        Raises:
            DataError: there is no photo.
        """
        paths = gather_images(photos)
        return self.predictor.for_photos(paths).photos(paths, skipped or (lambda path, reason: log(f"skipped: {reason}")))


def weights_line(weights: Mapping[str, Mapping[str, str]]) -> str:
    """Return pretrained weights by role, with ``arch`` and ``note`` each, in a line.

    >>> weights_line({"transformer": {"arch": "vit_small", "note": "DINO, S/8"}, "encoder": {"arch": "resnet50", "note": ""}})
    'transformer DINO, S/8, encoder resnet50'
    """
    return ", ".join(f"{role} {item['note'] or item['arch']}" for role, item in weights.items())
