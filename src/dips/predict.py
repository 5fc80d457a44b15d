"""From a photo to its class, score map, mask and boxes with a trained localizer; nothing here knows how it was trained.

In: photo files. Out: :class:`~dips.types.Prediction` in the photo's own pixels. The networks see the photo as a square.
No torch is needed here: what answers for a square may be a run's networks or an exported file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dips.config import PredictConfig
from dips.data.images import ByteImage, image_size, read_image, resize_image
from dips.errors import ConfigError, ImageError
from dips.scoremaps import boxes_from_map
from dips.types import Answer, FloatArray, Prediction

__all__ = ["Networks", "Predictor"]


class Networks(Protocol):
    """What answers for squares of photos: :class:`dips.models.networks.Networks`, or an exported file."""

    @property
    def side(self) -> int:
        """Side of the square that photos must be given as: the largest that any network sees."""

    def answer(self, images: Sequence[ByteImage]) -> Answer:
        """Squares ``(side, side, 3) uint8`` to maps and class probabilities."""


class Predictor:
    """A localizer, ready to look at photos.

    Args:
        background: label of the class without object; its photos get no boxes.
        config: with ``threshold`` worked out.
    """

    def __init__(self, networks: Networks, *, config: PredictConfig, classes: tuple[str, ...], background: int | None) -> None:
        self.networks, self.config = networks, config
        self.classes, self.background = classes, background

    def photos(self, paths: Iterable[Path], skipped: Callable[[Path, str], None]) -> Iterator[Prediction]:
        """One prediction per readable photo, in order; ``skipped`` is told of the others and why."""
        remaining = iter(paths)
        while group := list(islice(remaining, self.config.batch)):
            names: list[Path] = []
            sizes: list[tuple[int, int]] = []
            squares: list[ByteImage] = []
            for path in group:
                try:
                    photo, size = read_image(path, max_side=self.networks.side), image_size(path)
                except ImageError as error:
                    skipped(path, str(error))
                    continue
                names.append(path)
                sizes.append(size)
                squares.append(resize_image(photo, (self.networks.side, self.networks.side)))
            if names:
                said = self.networks.answer(squares)
                for i, path in enumerate(names):
                    yield self.finish(path, sizes[i], said.maps[i], said.probabilities[i])

    def finish(self, path: Path, size: tuple[int, int], square_map: FloatArray, probabilities: FloatArray) -> Prediction:
        """A square map to a prediction in the pixels of a photo of ``size`` (width, height).

        Raises:
            ConfigError: no threshold was chosen.
        """
        if self.config.threshold < 0:
            raise ConfigError("predict.threshold: none was chosen on validation here; give one between 0 and 1")
        score_map = np.clip(cv2.resize(square_map, size, interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)
        label = int(probabilities.argmax())
        if label == self.background:
            boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
            mask = np.zeros(score_map.shape, np.bool_)
        else:
            boxes, scores, mask = boxes_from_map(
                score_map, self.config.threshold, min_area=self.config.min_area, max_boxes=self.config.max_boxes
            )
        return Prediction(
            path=path,
            label=self.classes[label],
            label_score=float(probabilities[label]),
            class_scores=np.asarray(probabilities, np.float32),
            classes=self.classes,
            boxes=boxes,
            box_scores=scores,
            mask=mask,
            score_map=score_map,
            threshold=self.config.threshold,
        )
