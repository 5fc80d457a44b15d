"""The base class of methods whose score maps are the class activations of a network that they train to classify.

In: photos and labels. Out: a fitted classifier. A subclass creates the network, and defines which of its parameters are new
and how activations are computed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.baselines.training import Schedule, Training, train_network

__all__ = ["ClassifierMethod", "class_activations", "of_class", "with_object"]


def of_class(maps: Tensor, labels: Tensor) -> Tensor:
    """Return one map per photo, ``(B, h, w)``: from the maps ``(B, C, h, w)`` of all classes, those of ``labels`` ``(B,)``.

    >>> of_class(torch.arange(4).reshape(2, 2, 1, 1), torch.tensor([1, 0])).flatten().tolist()
    [1, 2]
    """
    return maps[torch.arange(len(labels), device=labels.device), labels]


def class_activations(features: Tensor, weights: Tensor) -> Tensor:
    """Return class activations ``(B, h, w)`` of any sign (CAM, section 2): features ``(B, F, h, w)`` times ``(B, F)`` weights.

    >>> class_activations(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1), torch.tensor([[2.0, -1.0]])).item()
    2.0
    """
    return torch.einsum("bfhw,bf->bhw", features, weights)


def with_object(labels: Tensor, background: int | None) -> Tensor:
    """Return which photos show an object, ``(B,) bool``: all whose label is not that of the background class, if there is one.

    >>> with_object(torch.tensor([0, 1]), 1).tolist(), with_object(torch.tensor([0, 1]), None).tolist()
    ([True, False], [True, True])
    """
    return torch.ones_like(labels, dtype=torch.bool) if background is None else labels != background


class ClassifierMethod(ScoreMapMethod):
    """A classifier whose class activations are the score maps.

    Attributes:
        schedule: how it is trained.
        net: maps images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, C)``.
        progress: completed fraction of the training, in [0, 1), for a :meth:`loss` that changes during training.
    """

    labels: ClassVar[Literal["none", "image"]] = "image"
    schedule: ClassVar[Schedule]
    net: nn.Module
    progress: float = 0.0

    @property
    def network(self) -> nn.Module:
        """The classifier with everything that the method adds to it."""
        return self.net

    @abstractmethod
    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that are randomly initialised and learn at the full rate."""

    @abstractmethod
    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return activations ``(B, h, w)`` of any sign for images ``(B, 3, H, W)`` in [0, 1] and their classes ``(B,)``."""

    def training(self) -> Training:
        """Return the training setup of the network, with :meth:`loss` and the method's schedule."""
        new = self.new_parameters()
        return Training(self.net, self.loss, self.maps, self.schedule, new, self.side, on_progress=self.reach)

    def train(self, study: Study) -> Fit:
        """Train within the study's budget, or its limits."""
        return train_network(self.training(), study)

    def reach(self, progress: float) -> None:
        """Record the completed fraction of the training; see :attr:`progress`."""
        self.progress = progress

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss, a scalar, by default the cross-entropy.

        Args:
            images: ``(B, 3, H, W)`` training crops in [0, 1].
            labels: ``(B,)`` classes.
            generator: CPU generator for all random draws of a loss.
        """
        return F.cross_entropy(self.net(images), labels)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return min-max normalised activations ``(B, h, w)`` in [0, 1], as in the WSOL benchmark."""
        return normalise.min_max(self.activations(images, labels))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``(B, C)``, the softmax of the network's logits, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.net(images)).softmax(1)
