"""How PyTorch methods answer: the part of :class:`~dips.baselines.method.ScoreMapMethod` that is unrelated to learning.

In: :class:`~dips.types.PhotoBatch`. Out: :class:`~dips.types.Answer`. The method itself sees tensors.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from dips.models.inputs import to_tensor
from dips.types import Answer, Answerer, FloatArray, PhotoBatch

__all__ = ["TorchAnswerer"]


class TorchAnswerer(Answerer):
    """Answers with the tensors of :meth:`maps` and :meth:`probabilities`.

    Attributes:
        name: the name that users type.
        title: the name in tables.
        side: side in pixels of its square inputs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    side: int = 224
    _device = torch.device("cpu")
    _background: int | None = None  # label of the background class, which is never localized

    @abstractmethod
    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps of a batch of photos.

        Args:
            images: ``(B, 3, side, side)`` in [0, 1], RGB, on the study's device.
            labels: ``(B,)`` classes to localize (GT-known: the true ones); class-agnostic methods ignore them.

        Returns:
            ``(B, h, w)`` in [0, 1], of any size; they are resized bilinearly to the protocol's frame.
        """

    def probabilities(self, images: Tensor) -> Tensor | None:
        """Return class probabilities ``(B, C)`` of photos ``(B, 3, side, side)``; None if the method predicts no class."""
        return None

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters needed for an answer."""

    @torch.no_grad()  # class activations may re-enable gradients themselves
    def answer(self, batch: PhotoBatch) -> Answer:
        """Answer a batch with maps of the labelled classes (GT-known), or of the predicted ones for photos without a label."""
        images = _images(batch, self._device)
        predicted = self.probabilities(images.all)
        classes = np.zeros((len(batch), 0), np.float32) if predicted is None else predicted.float().cpu().numpy()
        if not batch.positions:
            return Answer(np.zeros((0, 1, 1), np.float32), classes)
        labels = batch.labels or (None,) * len(batch)
        sought = [self._own_class(classes[i]) if (label := labels[i]) is None else label for i in batch.positions]
        maps = self.maps(images.localized, torch.tensor(sought, device=self._device))
        return Answer(maps.float().cpu().numpy(), classes)

    def _own_class(self, probabilities: FloatArray) -> int:
        """Return the likeliest class except background, given probabilities ``(C,)``; 0 if no class is predicted."""
        ranked = np.argsort(-probabilities, kind="stable").tolist()
        return next((label for label in ranked if label != self._background), 0)


class _Images(NamedTuple):
    """The photos of a batch ``(B, 3, S, S)`` in [0, 1], and those that need a map."""

    all: Tensor
    localized: Tensor


_IMAGES: WeakKeyDictionary[PhotoBatch, dict[torch.device, _Images]] = WeakKeyDictionary()


def _images(batch: PhotoBatch, device: torch.device) -> _Images:
    """Return a batch's tensors, the same objects for all methods, so that a shared transformer recognises a batch."""
    known = _IMAGES.setdefault(batch, {})
    if device not in known:
        images = to_tensor(batch.squares, device)
        whole = len(batch.positions) == len(batch)
        known[device] = _Images(images, images if whole else images[list(batch.positions)])
    return known[device]
