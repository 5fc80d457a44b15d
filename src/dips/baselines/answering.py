"""How methods on torch answer: the part of :class:`~dips.baselines.method.ScoreMapMethod` that has nothing to do with learning.

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
        name: what a user types.
        title: what tables call it.
        side: side in pixels of the squares that it is given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    side: int = 224
    _device = torch.device("cpu")
    _background: int | None = None  # label of the class without object, which is never looked for

    @abstractmethod
    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps of a batch of photos.

        Args:
            images: ``(B, 3, side, side)`` in [0, 1], RGB, on the study's device.
            labels: ``(B,)`` classes whose object is looked for (GT-known: the true ones); class-agnostic methods ignore them.

        Returns:
            ``(B, h, w)`` in [0, 1], of any size; they are resized bilinearly to the protocol's frame.
        """

    def probabilities(self, images: Tensor) -> Tensor | None:
        """Return class probabilities ``(B, C)`` of photos ``(B, 3, side, side)``; None where the method names no class."""
        return None

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters that an answer needs."""

    @torch.no_grad()  # class activations may ask for gradients themselves
    def answer(self, batch: PhotoBatch) -> Answer:
        """Answer a batch: the map of the labelled class (GT-known), or of the class that the method itself names where no
        label is known."""
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
        """Return the likeliest class with an object, of ``(C,)`` probabilities; 0 where no class is named."""
        ranked = np.argsort(-probabilities, kind="stable").tolist()
        return next((label for label in ranked if label != self._background), 0)


class _Images(NamedTuple):
    """The photos of a batch ``(B, 3, S, S)`` in [0, 1], and those that a map is needed of."""

    all: Tensor
    localized: Tensor


_IMAGES: WeakKeyDictionary[PhotoBatch, dict[torch.device, _Images]] = WeakKeyDictionary()


def _images(batch: PhotoBatch, device: torch.device) -> _Images:
    """Return a batch's tensors, the very same ones to all methods: by them a shared transformer knows a batch again."""
    known = _IMAGES.setdefault(batch, {})
    if device not in known:
        images = to_tensor(batch.squares, device)
        whole = len(batch.positions) == len(batch)
        known[device] = _Images(images, images if whole else images[list(batch.positions)])
    return known[device]
