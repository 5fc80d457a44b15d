"""From a photo to its class, score map, mask and boxes with a trained localizer; nothing here knows how it was trained.

In: photo files. Out: :class:`~dips.types.Prediction` in the photo's own pixels. The localizer sees the photo as a square. With
``predict.sst_share`` above 0 the linear map on the transformer's keys has a part in the score map; else no transformer runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dips.config import PredictConfig
from dips.data.images import ByteImage, image_size, read_image
from dips.data.transforms import resize_image
from dips.errors import ConfigError, ImageError
from dips.models.backbones import Transformer
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap, resize_to
from dips.models.localizer import Localizer
from dips.scoremaps import boxes_from_map
from dips.types import FloatArray, Prediction

__all__ = ["TEMPER", "Answer", "Predictor"]

TEMPER = 2.0
"""Logits are divided by it before the sigmoid: maps have 8 bits in the protocol, too few to rank what is nearly sure."""


_FINEST = 1e-4  # keeps logits finite


@dataclass(frozen=True)
class Answer:
    """What the networks say about a batch of photos as squares.

    Attributes:
        maps: ``(B, S, S) float32`` in [0, 1], S = ``predict.size``.
        probabilities: ``(B, C) float32``.
    """

    maps: FloatArray
    probabilities: FloatArray


class Predictor:
    """The networks of a run, ready to look at photos.

    Args:
        classifier_size: side of the square that the classifier sees.
        background: label of the class without object; its photos get no boxes.
        config: with ``sst_share`` and ``threshold`` worked out.
        key_map, transformer: needed where ``sst_share`` is above 0 and the linear maps of the photos are not known.
    """

    def __init__(
        self,
        localizer: Localizer,
        classifier: Classifier,
        *,
        config: PredictConfig,
        classes: tuple[str, ...],
        classifier_size: int,
        background: int | None,
        device: torch.device,
        key_map: KeyMap | None = None,
        transformer: Transformer | None = None,
    ) -> None:
        if config.sst_share < 0:
            raise ConfigError("predict.sst_share is still -1 (automatic); pass the one that Config.sst_share works out")
        self.localizer = localizer.to(device).eval()
        self.classifier = classifier.to(device).eval()
        self.config, self.classes, self.classifier_size = config, classes, classifier_size
        self.background, self.device = background, device
        self.key_map = None if key_map is None else key_map.to(device)
        self.transformer = None if transformer is None else transformer.to(device)

    @property
    def side(self) -> int:
        """Side of the square that photos must be given as: the largest that any network sees."""
        sides = [self.config.size, self.classifier_size]
        if self.config.sst_share > 0 and self.key_map is not None:
            sides += self.key_map.sizes
        return max(sides)

    @torch.inference_mode()
    def answer(self, images: Iterable[ByteImage], linear: Sequence[FloatArray] | None = None) -> Answer:
        """Photos as squares ``(side, side, 3) uint8`` to maps and class probabilities.

        Args:
            linear: their linear maps ``(h, w)``, where they are known already; else the transformer makes them if it must.
        """
        stacked = torch.from_numpy(np.stack(list(images))).to(self.device)
        full = stacked.permute(0, 3, 1, 2).float() / 255
        known = None if linear is None else torch.from_numpy(np.stack(linear)).to(self.device)
        return Answer(self.score_maps(full, known).cpu().numpy(), self.probabilities(full).cpu().numpy())

    @torch.inference_mode()
    def score_maps(self, images01: Tensor, linear: Tensor | None = None) -> Tensor:
        """``(B, 3, H, W)`` square images in [0, 1] to maps ``(B, S, S)`` in [0, 1].

        The U-Net's and the linear map's logits are averaged with ``sst_share`` and divided by :data:`TEMPER`.
        """
        share = self.config.sst_share
        size = self.config.size
        parts = []
        if share < 1:
            parts.append((1 - share) * self._unet(resize_to(images01, size)))
        if share > 0:
            if linear is None:
                if self.key_map is None or self.transformer is None:
                    raise ConfigError(
                        "predict.sst_share: this run has no linear map; train with harvest.refine=dataset, or set it to 0"
                    )
                linear = self.key_map(self.transformer, images01)
            parts.append(share * resize_maps(_logit(linear), size))
        return torch.sigmoid(torch.stack(parts).sum(0) / TEMPER)

    def _unet(self, images: Tensor) -> Tensor:
        """Logits of the foreground, averaged with the mirror image's if ``flip``."""
        logits = _logit(self.localizer.foreground(images))
        if self.config.flip:
            logits = (logits + _logit(self.localizer.foreground(images.flip(-1))).flip(-1)) / 2
        return logits

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities ``(B, C)`` of ``(B, 3, H, W)`` images in [0, 1], averaged over the mirror image if ``flip``."""
        view = resize_to(images, self.classifier_size)
        probabilities = self.classifier(view).softmax(1)
        if self.config.flip:
            probabilities = (probabilities + self.classifier(view.flip(-1)).softmax(1)) / 2
        return torch.as_tensor(probabilities)

    def photos(self, paths: Iterable[Path], skipped: Callable[[Path, str], None]) -> Iterator[Prediction]:
        """One prediction per readable photo, in order; ``skipped`` is told of the others and why."""
        remaining = iter(paths)
        while group := list(islice(remaining, self.config.batch)):
            names: list[Path] = []
            sizes: list[tuple[int, int]] = []
            squares: list[ByteImage] = []
            for path in group:
                try:
                    photo, size = read_image(path, max_side=self.side), image_size(path)
                except ImageError as error:
                    skipped(path, str(error))
                    continue
                names.append(path)
                sizes.append(size)
                squares.append(resize_image(photo, (self.side, self.side)))
            if names:
                said = self.answer(squares)
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


def resize_maps(maps: Tensor, size: int) -> Tensor:
    """Maps ``(B, h, w)`` to ``(B, size, size)``."""
    return resize_to(maps[:, None], size)[:, 0]


def _logit(foreground: Tensor) -> Tensor:
    return torch.logit(foreground.float(), eps=_FINEST)
