"""The base of all methods whose score maps are the class activations of a network that they train to classify.

In: photos and labels. Out: a fitted classifier. A subclass makes the network, and says which of its parameters are new and
how an activation is computed.
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

__all__ = ["ClassifierMethod", "of_class"]


def of_class(maps: Tensor, labels: Tensor) -> Tensor:
    """Return one map per photo, ``(B, h, w)``: of the maps ``(B, C, h, w)`` of all classes those of ``labels`` ``(B,)``.

    >>> of_class(torch.arange(4).reshape(2, 2, 1, 1), torch.tensor([1, 0])).flatten().tolist()
    [1, 2]
    """
    return maps[torch.arange(len(labels), device=labels.device), labels]


class ClassifierMethod(ScoreMapMethod):
    """A classifier whose class activations are the score maps.

    Attributes:
        schedule: how it is trained.
        net: from images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, C)``.
        progress: fraction of the training that is done, in [0, 1), for a :meth:`loss` that changes meanwhile.
    """

    labels: ClassVar[Literal["none", "image"]] = "image"
    schedule: ClassVar[Schedule]
    net: nn.Module
    progress: float = 0.0

    @property
    def network(self) -> nn.Module:
        """The classifier with all that the method adds to it."""
        return self.net

    @abstractmethod
    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that start at random and learn at the full rate."""

    @abstractmethod
    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return activations ``(B, h, w)`` of any sign for images ``(B, 3, H, W)`` in [0, 1] and their classes ``(B,)``."""

    def training(self) -> Training:
        """Return the training of the network with :meth:`loss` on the method's schedule."""
        return Training(self.net, self.loss, self.maps, self.schedule, self.new_parameters(), on_progress=self.reach)

    def train(self, study: Study) -> Fit:
        """Train within the study's budget, or its limits."""
        return train_network(self.training(), study)

    def reach(self, progress: float) -> None:
        """Note how much of the training is done, see :attr:`progress`."""
        self.progress = progress

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss, a scalar, by default the cross-entropy.

        Args:
            images: ``(B, 3, H, W)`` training crops in [0, 1].
            labels: ``(B,)`` classes.
            generator: CPU generator of all random numbers that a loss draws.
        """
        return F.cross_entropy(self.net(images), labels)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return min-max normalised activations ``(B, h, w)`` in [0, 1], as the WSOL benchmark does."""
        return normalise.min_max(self.activations(images, labels))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``(B, C)``, the softmax of the network's logits, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.net(images)).softmax(1)
