"""The base of all methods on a CNN: one classifier, one schedule, and what each method changes of them.

In: the study's CNN. Out: class activations. A method overrides :meth:`CnnMethod.loss` (a change of the training),
:meth:`CnnMethod.make` (a change of the network) or :meth:`CnnMethod.activations` (a change of the map), and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from dips.baselines.classifiers import ClassifierMethod
from dips.baselines.study import Study
from dips.baselines.training import Schedule
from dips.errors import ConfigError, WeightsError
from dips.models.classifier import Classifier
from dips.system.console import log

__all__ = ["CnnMethod", "build_classifier", "class_scores"]

STRIDE = 16
"""Pixels of the photo per pixel of the last feature map. The benchmark (Choe et al. 2020) uses 8; 16 is what minutes
on a CPU allow."""

SCHEDULE = Schedule(lr=1e-2)
"""Of the training of every method on the CNN, so that what differs is the method. Rates and numbers of steps are not the
papers', which train for 50 epochs and more: they were chosen for budgets of minutes on validation photos (docs/results.md)."""

Kind = TypeVar("Kind", bound=Classifier)


def build_classifier(study: Study, classes: int, kind: type[Kind]) -> Kind:
    """Return a classifier on the study's CNN, at :data:`STRIDE`, or at the CNN's own stride where it cannot have that one.

    Args:
        kind: :class:`~dips.models.classifier.Classifier` or a class that adds layers to it.

    Raises:
        ConfigError: what is pooled is not the mean of the feature map, so that class activations would not add up to scores.
        WeightsError: the study's weights are missing, do not fit or give features that are not finite.
    """
    try:
        classifier = cast(Kind, kind.from_weights(study.cnn, classes, stride=STRIDE))
    except WeightsError as error:
        log(f"  {study.cnn.arch} keeps its own stride ({error})")
        classifier = cast(Kind, kind.from_weights(study.cnn, classes))
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        pooled, mean = classifier.features(image), classifier.feature_map(image).mean((2, 3))
    if not bool(pooled.isfinite().all() and mean.isfinite().all()):
        raise WeightsError(f"the features of {study.cnn.arch} are not finite; check the weights (--weights)")
    if pooled.shape != mean.shape or not torch.allclose(pooled, mean, atol=1e-3 * float(mean.abs().max())):
        raise ConfigError(
            f"classifier.arch: {study.cnn.arch} has layers between its feature map and its pooled features, so it has no class "
            "activations; choose another CNN, e.g. resnet50"
        )
    return classifier


def class_scores(classifier: Classifier, feature_maps: Tensor) -> Tensor:
    """Return the logits ``(B, C)`` of feature maps ``(B, F, h, w)``, those of the classifier before pooling."""
    return cast(Tensor, classifier.head(cast(Any, classifier.body).forward_head(feature_maps)))


class CnnMethod(ClassifierMethod):
    """A method on the study's CNN; as it is here, a plain classifier."""

    schedule: ClassVar[Schedule] = SCHEDULE

    def build(self, study: Study) -> None:
        """Make the network from ImageNet weights, with new layers for the study's classes."""
        self.net = self.make(study).to(study.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def make(self, study: Study) -> nn.Module:
        """Return the network; by default the study's CNN with one linear layer on its pooled features."""
        return build_classifier(study, len(study.classes), Classifier)

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the last layer's parameters, which start at random."""
        return list(cast(Classifier, self.net).head.parameters())

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return class activations ``(B, h, w)`` of any sign: rows of the last layer against the feature map (CAM, section 2).

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes.
        """
        classifier = cast(Classifier, self.net)
        return torch.einsum("bfhw,bf->bhw", classifier.feature_map(images), classifier.head.weight[labels])
