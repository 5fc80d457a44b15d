"""The networks of a run as one answerer: squares of photos in, score maps and class probabilities out (paper 3.3).

In: U-Net, classifier and, with ``predict.sst_share`` above 0, the linear map on the transformer's keys. Images come in as
``(B, 3, H, W)`` in [0, 1]; every network gets them at its own size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dips.config import PredictConfig
from dips.errors import ConfigError
from dips.models.backbones import Transformer
from dips.models.classifier import Classifier
from dips.models.inputs import resize_to, to_tensor
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.scoremaps.tiles import LOGIT_MARGIN
from dips.types import Answer, Answerer, FloatArray, PhotoBatch

__all__ = ["TEMPER", "Networks"]

TEMPER = 2.0
"""Logits are divided by it before the sigmoid: maps have 8 bits in the protocol, too few to rank what is nearly sure."""


class Networks(Answerer):
    """The networks of a run, ready to look at photos.

    Args:
        classifier_size: side in pixels of the square that the classifier sees.
        config: with ``sst_share`` resolved.
        key_map, transformer: needed where ``sst_share`` is above 0 and the linear maps of the photos are not known.

    Raises:
        ConfigError: ``sst_share`` is still automatic.

    >>> config = PredictConfig(size=64, sst_share=0.0)
    >>> localizer, classifier = Localizer("test_efficientnet"), Classifier("test_efficientnet", 3)
    >>> networks = Networks(localizer, classifier, config=config, classifier_size=32, device=torch.device("cpu"))
    >>> answer = networks.answer(PhotoBatch(np.zeros((2, networks.side, networks.side, 3), np.uint8)))
    >>> answer.maps.shape, answer.probabilities.shape
    ((2, 64, 64), (2, 3))
    """

    def __init__(
        self,
        localizer: Localizer,
        classifier: Classifier,
        *,
        config: PredictConfig,
        classifier_size: int,
        device: torch.device,
        key_map: KeyMap | None = None,
        transformer: Transformer | None = None,
    ) -> None:
        if config.sst_share < 0:
            raise ConfigError("predict.sst_share is still -1 (automatic); pass the value that Config.sst_share resolves it to")
        self.localizer = localizer.to(device).eval()
        self.classifier = classifier.to(device).eval()
        self.config, self.classifier_size, self.device = config, classifier_size, device
        self.key_map = None if key_map is None else key_map.to(device)
        self.transformer = None if transformer is None else transformer.to(device)

    @property
    def side(self) -> int:
        """Side in pixels of the squares that photos must be given as: the largest that any network sees."""
        sides = [self.config.size, self.classifier_size]
        if self.config.sst_share > 0 and self.key_map is not None:
            sides += self.key_map.sizes
        return max(sides)

    @torch.inference_mode()
    def answer(self, batch: PhotoBatch, linear: Sequence[FloatArray] | None = None) -> Answer:
        """Return score maps ``(M, S, S)``, whatever the labels, and class probabilities ``(B, C)``.

        Args:
            linear: linear maps ``(h, w)`` of the photos that are localized, where they are known already; else the
                transformer makes them if it must.
        """
        images = to_tensor(batch.squares, self.device)
        localized = images if batch.localized is None else images[list(batch.localized)]
        known = None if linear is None else torch.from_numpy(np.stack(linear)).to(self.device)
        return Answer(self.score_maps(localized, known).cpu().numpy(), self.probabilities(images).cpu().numpy())

    @torch.inference_mode()
    def score_maps(self, images01: Tensor, linear: Tensor | None = None) -> Tensor:
        """Return score maps ``(B, S, S)`` in [0, 1] of square images ``(B, 3, H, W)`` in [0, 1], S = ``predict.size``.

        The U-Net's and the linear map's logits are averaged with ``sst_share`` and divided by :data:`TEMPER`.

        Args:
            linear: linear maps ``(B, h, w)`` in [0, 1], where they are known already.

        Raises:
            ConfigError: ``sst_share`` is above 0, and there is no linear map.
        """
        fraction = self.config.sst_share
        size = self.config.size
        parts = []
        if fraction < 1:
            parts.append((1 - fraction) * self._unet(resize_to(images01, size)))
        if fraction > 0:
            if linear is None:
                if self.key_map is None or self.transformer is None:
                    raise ConfigError(
                        "predict.sst_share: this run has no linear map; train with harvest.refine=dataset, or set it to 0"
                    )
                linear = self.key_map(self.transformer, images01)
            parts.append(fraction * resize_maps(_logit(linear), size))
        return torch.sigmoid(torch.stack(parts).sum(0) / TEMPER)

    def _unet(self, images: Tensor) -> Tensor:
        """Return logits of the foreground ``(B, H, W)``, averaged with the mirror image's if ``flip``."""
        logits = _logit(self.localizer.foreground(images))
        if self.config.flip:
            logits = (logits + _logit(self.localizer.foreground(images.flip(-1))).flip(-1)) / 2
        return logits

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1], averaged with the mirror image's if
        ``flip``."""
        view = resize_to(images, self.classifier_size)
        probabilities = self.classifier(view).softmax(1)
        if self.config.flip:
            probabilities = (probabilities + self.classifier(view.flip(-1)).softmax(1)) / 2
        return torch.as_tensor(probabilities)


def resize_maps(maps: Tensor, size: int) -> Tensor:
    """Resize maps ``(B, h, w)`` to ``(B, size, size)``."""
    return resize_to(maps[:, None], size)[:, 0]


def _logit(foreground: Tensor) -> Tensor:
    return torch.logit(foreground.float(), eps=LOGIT_MARGIN)
