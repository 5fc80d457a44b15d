"""What all models that predict have in common, a run's and an exported file's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dips.data.images import gather_images
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import log

__all__ = ["PredictionModel", "weights_line"]


class PredictionModel(ABC):
    """A model that predicts.

    Attributes:
        classes: names in label order.
        background: label of the class without object, if there is one.
    """

    classes: tuple[str, ...]
    background: int | None

    @property
    @abstractmethod
    def predictor(self) -> Predictor:
        """The networks, and what makes objects of their maps."""

    @abstractmethod
    def made_with(self) -> str:
        """The pretrained weights that predictions rest on, in a line."""

    def predict(
        self, photos: str | Path | Iterable[str | Path], *, skipped: Callable[[Path, str], None] | None = None
    ) -> Iterator[Prediction]:
        """Class, boxes, mask and score map of photos, one at a time.

        Args:
            photos: a photo, a folder, or several of these.
            skipped: told of every photo that cannot be read and why; by default it is logged.

        Raises:
            DataError: there is no photo.
        """
        return self.predictor.photos(gather_images(photos), skipped or (lambda path, why: log(f"skipped: {why}")))


def weights_line(weights: Mapping[str, Mapping[str, str]]) -> str:
    """Pretrained weights by role, as :class:`About` holds them, in a line."""
    return ", ".join(f"{role} {item['note'] or item['arch']}" for role, item in weights.items())
