"""The base of all methods on a CNN: one classifier, one schedule, and what each method changes of them.

A method overrides :meth:`CnnMethod.loss` (a change while training), :meth:`CnnMethod.make` (a change of the network) or
:meth:`CnnMethod.activations` (a change of the map), and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.baselines.training import Schedule, train_network
from dips.errors import ConfigError, WeightsError
from dips.models.classifier import Classifier
from dips.system.console import log

__all__ = ["CnnMethod", "trunk"]

STRIDE = 16
"""Pixels of the photo per pixel of the last feature map. The benchmark (Choe et al. 2020) uses 8; 16 is what minutes
on a CPU allow."""

SCHEDULE = Schedule(lr=1e-2)
"""Of the training of every method on the CNN, so that what differs is the method. Rates and numbers of steps are not the
papers', which train for 50 epochs and more: they were chosen for budgets of minutes on validation photos (docs/results.md)."""

Trunk = TypeVar("Trunk", bound=Classifier)


def trunk(study: Study, classes: int, kind: type[Trunk]) -> Trunk:
    """The study's CNN with the stride of the settings, or its own where it cannot have that.

    Raises:
        ConfigError: what is pooled is not the mean of the feature map, so that class activations would not add up to scores.
    """
    try:
        found = cast(Trunk, kind.from_weights(study.cnn, classes, stride=STRIDE))
    except WeightsError as error:
        log(f"  {study.cnn.arch} keeps its own stride ({error})")
        found = cast(Trunk, kind.from_weights(study.cnn, classes))
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        pooled, mean = found.features(image), found.feature_map(image).mean((2, 3))
    if pooled.shape != mean.shape or not torch.allclose(pooled, mean, atol=1e-3 * float(mean.abs().max())):
        raise ConfigError(
            f"classifier.arch: {study.cnn.arch} has layers between its feature map and its pooled features, so it has no class "
            "activations; choose another CNN, e.g. resnet50"
        )
    return found


class CnnMethod(ScoreMapMethod):
    """A classifier whose class activations are the score maps."""

    labels: ClassVar[Literal["none", "image"]] = "image"
    schedule: ClassVar[Schedule] = SCHEDULE
    net: nn.Module

    @property
    def network(self) -> nn.Module:
        """The classifier with whatever the method adds."""
        return self.net

    def build(self, study: Study) -> None:
        """The network on ImageNet weights, with new layers for the study's classes."""
        self.net = self.make(study).to(study.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def make(self, study: Study) -> nn.Module:
        """The network; by default the study's CNN with one linear layer on its pooled features."""
        return trunk(study, len(study.classes), Classifier)

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Those that start at random."""
        return list(cast(Classifier, self.net).head.parameters())

    def train(self, study: Study) -> Fit:
        """The shared schedule with this method's loss."""
        return train_network(
            self.net,
            study,
            loss=self.loss,
            maps=self.maps,
            schedule=self.schedule,
            new=self.new_parameters(),
        )

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of ``(B, 3, H, W)`` training crops in [0, 1] and ``(B,)`` labels; ``generator`` (CPU) for whatever is drawn."""
        return F.cross_entropy(self.net(images), labels)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Activations ``(B, h, w)`` of the given classes, of any sign: rows of the last layer against the feature map."""
        classifier = cast(Classifier, self.net)
        return torch.einsum("bfhw,bf->bhw", classifier.feature_map(images), classifier.head.weight[labels])

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Min-max normalised activations, as in the WSOL benchmark."""
        return normalise.min_max(self.activations(images, labels))

    def probabilities(self, images: Tensor) -> Tensor:
        """The classifier's."""
        return cast(Tensor, self.net(images)).softmax(1)
