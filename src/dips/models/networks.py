"""The networks of a run as one answerer: squares of photos in, score maps and class probabilities out.

In: the classifier's CNN, which predicts the class, and what makes the map by ``predict.mode``: a linear map on the CNN's stages
(``fast``: one pass gives both), a linear map on stages and transformer keys (``accurate``), or the U-Net (``unet``, paper 3.3).
With a second look, the fast map finds the object, and the map of the mode sees it again, enlarged. Where objects have classes
of their own, the CNN classifies each cell of its last grid as it does the photo. Images come in as ``(B, 3, H, W)`` in [0, 1];
every network sees them at its own size.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor

from dips.config import PredictConfig
from dips.errors import ConfigError
from dips.models.cells import has_cells
from dips.models.frozen import FrozenNetworks, Look
from dips.models.inputs import resize_to
from dips.models.linear_map import LinearMap, LinearMaps
from dips.models.localizer import Localizer
from dips.models.second_look import SECOND_WEIGHT, crop, object_windows, paste
from dips.scoremaps.tiles import LOGIT_MARGIN
from dips.system.console import log
from dips.types import Answer, Answerer, PhotoBatch

__all__ = ["TEMPER", "Networks", "mode_settings", "offered_modes", "require_mode", "second_side", "tempered", "unet_logits"]

ACCURATE_SECOND_SIDE = 384  # measured: docs/experiments.md

TEMPER = 2.0
"""Logits are divided by this before the sigmoid: maps have 8 bits in the protocol, too few to rank near-certain scores."""


class Networks(Answerer):
    """The networks of a run in one mode, ready to predict.

    Args:
        frozen: CNN and, with the mode ``accurate``, transformer. Networks of several modes that share them and are given the
            same batches compute them once; modes whose :attr:`side` differs are given different batches.
        config: ``mode``, ``unet_share``, ``second_look``, ``size``, ``flip`` and ``object_class``.
        background: label of the class without object, if there is one.
        linear: the linear map that sees the whole photo.
        second: the linear map of the second look, if there is one; ``linear`` by default.
        localizer: the U-Net, with the mode ``unet`` or a ``unet_share`` above 0.
        object_classes: whether objects have classes of their own if ``config`` leaves it open.

    Raises:
        ConfigError: the mode needs a network that is missing.

    >>> import numpy as np
    >>> from dips.models.classifier import Classifier
    >>> frozen = FrozenNetworks(Classifier("test_efficientnet", 3), side=64)
    >>> linear = LinearMap(frozen.classifier.stage_channels, outputs=3)
    >>> networks = Networks(frozen, config=PredictConfig(), device=torch.device("cpu"), linear=linear)
    >>> answer = networks.answer(PhotoBatch(np.zeros((2, networks.side, networks.side, 3), np.uint8)))
    >>> answer.maps.shape, answer.probabilities.shape
    ((2, 16, 16), (2, 3))
    """

    def __init__(
        self,
        frozen: FrozenNetworks,
        *,
        config: PredictConfig,
        device: torch.device,
        background: int | None = None,
        linear: LinearMap | None = None,
        second: LinearMap | None = None,
        localizer: Localizer | None = None,
        object_classes: bool = False,
    ) -> None:
        self.unet_share = 1.0 if config.mode == "unet" else config.unet_share
        require_mode(config, linear=linear is not None, unet=localizer is not None)
        self.config, self.device, self.background = config, device, background
        self.second_side = second_side(config)  # of the CNN's input in the second look, in pixels
        self.frozen = frozen.to(device).eval()
        self.linear = None if linear is None or self.unet_share == 1 else linear.to(device)
        self.second = self.linear if second is None or self.linear is None else second.to(device)
        self.localizer = None if localizer is None or self.unet_share == 0 else localizer.to(device).eval()
        self.object_classes = config.object_class == "object" or (config.object_class == "auto" and object_classes)
        if self.object_classes and not has_cells(frozen.classifier):
            said = f"predict.object_class: the CNN {frozen.classifier.arch} says nothing of parts of a photo"
            remedy = "train with another classifier.arch, e.g. tf_efficientnet_lite0"
            if config.object_class == "object":
                raise ConfigError(f"{said}; set it to photo, or {remedy}")
            log(f"{said}, so boxes have the class of their photo; for classes of objects {remedy}")
            self.object_classes = False
        frozen.keeps_cells = frozen.keeps_cells or self.object_classes

    @classmethod
    def of_mode(
        cls,
        mode: str,
        frozen: FrozenNetworks,
        *,
        settings: PredictConfig,
        device: torch.device,
        background: int | None,
        linear: LinearMaps | None,
        localizer: Localizer | None,
        object_classes: bool = False,
    ) -> Networks:
        """Return the networks of a mode of prediction, given everything that a run has.

        Args:
            settings: those of the run; another mode uses them except for the U-Net's share, see :func:`mode_settings`.

        Raises:
            ConfigError: the mode needs a network that is missing.
        """
        config = mode_settings(settings, mode)
        maps = None if mode == "unet" else linear
        return cls(
            frozen,
            config=config,
            device=device,
            background=background,
            linear=None if maps is None else maps.of("fast" if second_side(config) else mode),
            second=None if maps is None else maps.of(mode),
            localizer=localizer,
            object_classes=object_classes,
        )

    @property
    def side(self) -> int:
        """Side in pixels of the squares to which photos must be resized: the largest that any network sees.

        For a second look, it is twice the crop's side: an object half as large as the frame is then seen at full resolution.
        """
        return max(self.frozen.side, 2 * self._cut_side, *self._other_sides)

    @property
    def _other_sides(self) -> list[int]:
        """Sides in pixels of the inputs of transformer and U-Net."""
        sides = [] if self.localizer is None else [self.config.size]
        return sides + (list(self.frozen.key_sides) if self.linear is not None and self.config.mode == "accurate" else [])

    @property
    def _cut_side(self) -> int:
        """Side in pixels of the crop for the second look: the largest that any network sees then; 0 without a second look."""
        return max([self.second_side, *self._other_sides]) if self.second_side else 0

    def twin(self) -> Networks:
        """Return networks that share the weights, for use in another thread: modules hold state while they compute."""
        fast = self.frozen.make_fast().classifier if self.device.type == "cpu" else None
        parts = [self.frozen, fast, self.linear, self.second, self.localizer]
        tensors = itertools.chain.from_iterable((*part.parameters(), *part.buffers()) for part in parts if part is not None)
        memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
        return copy.deepcopy(self, memo)

    @property
    def level(self) -> float:
        """The logit above which a cell counts as object if there are no ground-truth boxes; a U-Net's is 0."""
        if self.linear is None or self.second is None:
            return 0.0
        second_share = SECOND_WEIGHT if self.second_side else 0.0
        level = (1 - second_share) * self.linear.level + second_share * self.second.level
        return (1 - self.unet_share) * float(level)

    @torch.inference_mode()
    def answer(self, batch: PhotoBatch) -> Answer:
        """Return score maps ``(M, S, S)`` of the photos to be localized, class probabilities ``(B, C)`` and, where objects have
        classes of their own, class logits ``(M, C, h, w)`` in each cell."""
        look = self.frozen.look_at_squares(batch.squares, self.device)
        maps, probabilities, cells = self.judge_cells(look)
        positions = list(batch.positions)
        return Answer(
            (maps if batch.localized is None else maps[positions]).cpu().numpy(),
            probabilities.cpu().numpy(),
            None if cells is None else cells[positions].cpu().numpy(),
        )

    def judge(self, look: Look) -> tuple[Tensor, Tensor]:
        """Return score maps ``(B, S, S)`` in [0, 1] and class probabilities ``(B, C)``, see :meth:`judge_cells`."""
        maps, probabilities, _ = self.judge_cells(look)
        return maps, probabilities

    @torch.inference_mode()
    def judge_cells(self, look: Look) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return score maps ``(B, S, S)`` in [0, 1], class probabilities ``(B, C)`` and, where objects have classes of their
        own, class logits ``(B, C, h, w)`` in each cell.

        With ``flip``, logits and probabilities are averaged with those of the mirror image. A second look changes only the
        maps' logits; it weights the classes' maps by the probabilities in the crop itself.
        """
        logits, probabilities, cells = self._judge(look, self.linear)
        if self.second_side and self.linear is not None:
            windows = object_windows(logits, (1 - self.unet_share) * self.linear.level)
            again = self.frozen.look(crop(look.images, windows, self._cut_side), self.second_side)
            logits = paste(logits, self._judge(again, self.second)[0], windows)
        return tempered(logits), probabilities, cells

    def _judge(self, look: Look, linear: LinearMap | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logits ``(B, S, S)``, class probabilities ``(B, C)`` and the cells' logits, with ``flip`` averaged."""
        logits, probabilities, cells = self._see(look, linear)
        if self.config.flip:
            others, mirrored, more = self._see(self.frozen.look(look.images.flip(-1), look.side), linear)
            logits, probabilities = (logits + others.flip(-1)) / 2, (probabilities + mirrored) / 2
            cells = None if cells is None or more is None else (cells + more.flip(-1)) / 2
        return logits, probabilities, cells

    def _see(self, look: Look, linear: LinearMap | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logits ``(B, S, S)``, class probabilities ``(B, C)`` and the cells' logits ``(B, C, h, w)``."""
        classes = torch.as_tensor(self.frozen.classifier.head(look.pooled))
        parts = []
        if linear is not None:
            blocks = look.stages if len(linear.channels) == len(look.stages) else [*look.stages, *look.keys]
            logits = linear(blocks, self._priors(classes))
            # twice the finest grid, so that a threshold can fall between two cells
            parts.append((1 - self.unet_share) * resize_maps(logits, 2 * logits.shape[-1]))
        if self.localizer is not None:
            parts.append(self.unet_share * unet_logits(self.localizer, resize_to(look.images, self.config.size)))
        side = max(part.shape[-1] for part in parts)
        cells = look.cells if self.object_classes else None
        return torch.stack([resize_maps(part, side) for part in parts]).sum(0), classes.softmax(1), cells

    def _priors(self, classes: Tensor) -> Tensor:
        """Return the probabilities ``(B, K)`` of the object classes, given that there is an object, from logits ``(B, C)``."""
        if self.background is not None:
            classes = torch.cat([classes[:, : self.background], classes[:, self.background + 1 :]], dim=1)
        return classes.softmax(1)


def require_mode(config: PredictConfig, *, linear: bool, unet: bool) -> None:
    """Check that a run can predict in the mode of the settings.

    Args:
        linear: whether it has linear maps.
        unet: whether it has a U-Net.

    Raises:
        ConfigError: it cannot.
    """
    share = 1.0 if config.mode == "unet" else config.unet_share
    if share > 0 and not unet:
        raise ConfigError(
            "predict.mode=unet and predict.unet_share above 0 need a U-Net, and this run trained none; train with "
            "--set train.epochs=3, or choose fast or accurate"
        )
    if share < 1 and not linear:
        raise ConfigError(
            f"predict.mode={config.mode}: this run fitted no linear maps; train with harvest.refine=dataset, or choose unet"
        )


def offered_modes(linear: LinearMaps | None, localizer: Localizer | None) -> tuple[str, ...]:
    """Return the modes of prediction that a run with these networks offers."""
    return (*(("fast", "accurate") if linear is not None else ()), *(("unet",) if localizer is not None else ()))


def second_side(config: PredictConfig) -> int:
    """Return the side in pixels of the square that the CNN sees in the second look; 0 if there is no second look.

    Only linear maps look twice, so a U-Net alone does not.
    """
    if config.mode == "unet" or config.unet_share == 1:
        return 0
    return config.second_look if config.second_look >= 0 else ACCURATE_SECOND_SIDE if config.mode == "accurate" else 0


def mode_settings(settings: PredictConfig, mode: str) -> PredictConfig:
    """Return the settings of prediction for another mode; the U-Net contributes only to the maps of the chosen one."""
    share = settings.unet_share if mode == settings.mode else 0.0
    return dataclasses.replace(settings, mode=mode, unet_share=share)  # type: ignore[arg-type]


def tempered(logits: Tensor) -> Tensor:
    """Return the score maps in [0, 1] of logits of any shape."""
    return torch.sigmoid(logits / TEMPER)


def unet_logits(localizer: Localizer, images: Tensor) -> Tensor:
    """Return the U-Net's logits of the foreground ``(B, H, W)`` of images ``(B, 3, H, W)`` in [0, 1]."""
    return torch.logit(localizer.foreground(images).float(), eps=LOGIT_MARGIN)


def resize_maps(maps: Tensor, size: int) -> Tensor:
    """Resize maps ``(B, h, w)`` to ``(B, size, size)``."""
    return resize_to(maps[:, None], size)[:, 0]
