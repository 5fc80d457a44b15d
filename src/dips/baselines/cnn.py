"""The base class of CNN-based methods: one classifier, one schedule, and what each method changes.

In: the study's CNN. Out: class activations. A method overrides :meth:`CnnMethod.loss` (to change the training),
:meth:`CnnMethod.make` (to change the network) or :meth:`CnnMethod.activations` (to change the map), and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from dips.baselines.classifiers import ClassifierMethod, class_activations
from dips.baselines.method import Fit
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.baselines.training import Schedule, Training, train_network, train_new_layers
from dips.errors import ConfigError, WeightsError
from dips.models.classifier import Classifier
from dips.system.console import log

__all__ = ["CnnMethod", "build_classifier", "class_scores", "fit_last_layer", "train_cnn"]

SCHEDULE = Schedule(lr=1e-2)
"""Training schedule of all CNN-based methods, so that only the method differs. Rates and numbers of steps are not those of the
papers, which train for 50 epochs and more: validation photos chose them for budgets of minutes (docs/experiments.md)."""

_STRIDE = 32  # of networks without dilation

Kind = TypeVar("Kind", bound=Classifier)


def build_classifier(study: Study, classes: int, kind: type[Kind]) -> Kind:
    """Return a classifier on the study's CNN, with ``study.stride``, or the next larger stride that the CNN supports.

    Args:
        kind: :class:`~dips.models.classifier.Classifier` or a class that adds layers to it.

    Raises:
        ConfigError: pooled features are not the mean of the feature map, so that class activations would not add up to scores.
        WeightsError: the study's weights are missing, do not fit or produce features that are not finite.
    """
    stride = study.stride
    while True:
        try:
            classifier = cast(Kind, kind.from_weights(study.cnn, classes, stride=stride))
            break
        except WeightsError as error:
            if stride >= _STRIDE:
                raise
            log(f"  {study.cnn.arch} has no stride of {stride} pixels ({error})")
            stride *= 2
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
    """Return the logits ``(B, C)`` of the classifier's feature maps ``(B, F, h, w)`` before pooling."""
    return cast(Tensor, classifier.head(cast(Any, classifier.body).forward_head(feature_maps)))


def fit_last_layer(classifier: Classifier, photos: Photos, side: int, device: torch.device) -> None:
    """Fit only the last layer of a classifier to photos of ``side`` pixels, as DiPS fits its own.

    See :func:`~dips.models.linear_probe.fit_linear`: a logistic regression whose penalty is chosen on a part of the photos.
    """
    classifier.eval()
    classifier.fit_head(*photos.answers(classifier.features, side, device))


def train_cnn(training: Training, study: Study) -> Fit:
    """Fit the new layers on the frozen CNN, then train everything, with the result of the first part as a checkpoint.

    So on validation, no method is worse than on the pretrained CNN. A :class:`~dips.models.classifier.Classifier` gets its last
    layer from :func:`fit_last_layer`; then :func:`~dips.baselines.training.train_new_layers` trains the other new layers.

    Args:
        training: training setup of a network whose attribute ``body`` is the CNN.
        study: as for :func:`~dips.baselines.training.train_network`.
    """
    started, before, network = time.perf_counter(), Fit(), training.network
    fixed = [cast(nn.Module, network.body)]
    if isinstance(network, Classifier):
        photos = study.train if training.photos is None else training.photos
        fit_last_layer(network, photos, training.side, study.device)
        fixed.append(network.probe)
    known = {id(parameter) for module in fixed for parameter in module.parameters()}
    if any(id(parameter) not in known for parameter in network.parameters()):
        before = train_new_layers(training, fixed, study)
    fit = train_network(training, study.less(time.perf_counter() - started, before.epochs), start=True)
    return replace(fit, steps=before.steps + fit.steps, epochs=before.epochs + fit.epochs)


class CnnMethod(ClassifierMethod):
    """A method on the study's CNN; without overrides, a plain classifier."""

    schedule: ClassVar[Schedule] = SCHEDULE

    def build(self, study: Study) -> None:
        """Create the network from ImageNet weights, with new layers for the study's classes."""
        self.net = self.make(study).to(study.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def make(self, study: Study) -> nn.Module:
        """Return the network; by default the study's CNN with one linear layer on its pooled features."""
        return build_classifier(study, len(study.classes), Classifier)

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the last layer's parameters, which are randomly initialised."""
        return list(cast(Classifier, self.net).head.parameters())

    def train(self, study: Study) -> Fit:
        """Train the network as :func:`train_cnn` does, with :meth:`loss` on the method's schedule."""
        return train_cnn(self.training(), study)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return class activations ``(B, h, w)`` of any sign: rows of the last layer times the feature map (CAM, section 2).

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes.
        """
        classifier = cast(Classifier, self.net)
        return class_activations(classifier.feature_map(images), classifier.head.weight[labels])
