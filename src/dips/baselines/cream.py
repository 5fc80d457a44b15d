"""CREAM (Xu et al., CVPR 2022): recomputes activation maps by clustering a photo's features into object and background.

In: photos and labels. Out: a plain classifier that stores, for each class, a mean feature of the object and one of the
background. An answer clusters the photo's own features, starting from these two centres.

The idea is from the abstract. The formulas and numbers are inferred: the public part of the authors' code has neither the
training nor the clustering.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.cam import Cam
from dips.baselines.classifiers import class_activations
from dips.baselines.cnn import build_classifier, class_scores
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.models.classifier import Classifier

__all__ = ["Cream", "WithCentres", "calibrate", "cluster", "means"]

# None of these values could be looked up: they are from memory, unverified.
MOMENTUM = 0.8
"""Fraction of a centre that is kept when a photo of its class is seen."""

THRESHOLD = 0.2
"""Normalised class activation from which on a position counts as object for the centres."""

SHARPNESS = 8.0
"""Factor of the cosines in the exponent of a cluster's likelihood."""

ROUNDS = 2
"""How often positions are assigned to the clusters."""


def means(features: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean features of object and background, ``(B, F)`` each; 0 for a side without any share.

    Args:
        features: ``(B, F, h, w)``.
        shares: ``(B, h, w)`` in [0, 1]: how much each position is object; the rest is background.

    >>> [mean.item() for mean in means(torch.tensor([[[[4.0, 10.0]]]]), torch.tensor([[[1.0, 0.5]]]))]
    [6.0, 10.0]
    """
    sides = torch.stack([shares, 1 - shares])
    sums = torch.einsum("bfhw,sbhw->sbf", features, sides)
    inside, outside = sums / sides.sum((2, 3)).clamp(min=1e-8)[..., None]
    return inside, outside


def cluster(features: Tensor, inside: Tensor, outside: Tensor, rounds: int) -> Tensor:
    """Return the probability that each position is object, ``(B, h, w)`` in [0, 1], by EM on a mixture of two.

    All vectors are normalised to length 1, and both clusters have the same prior. A likelihood is the exponential of
    :data:`SHARPNESS` times the cosine with the cluster's centre.

    Args:
        features: ``(B, F, h, w)``.
        inside, outside: ``(B, F)``, the centres to start from.
        rounds: number of assignments, the first of them to these centres; centres are updated in between.
    """
    points = F.normalize(features, dim=1)
    shares = _assign(points, inside, outside)
    for _ in range(rounds - 1):
        shares = _assign(points, *means(points, shares))
    return shares


def calibrate(shares: Tensor, region: Tensor) -> Tensor:
    """Return shares ``(B, h, w)`` in [0, 1], or 1 minus the shares where they belong to the background.

    Args:
        shares: as returned by :func:`cluster`, which may have swapped the sides.
        region: ``(B, h, w) bool``, where the class is active: the side with the larger mean there is the object.

    >>> calibrate(torch.tensor([[[0.25, 1.0]]]), torch.tensor([[[True, False]]])).tolist()
    [[[0.75, 0.0]]]
    """
    swapped = ((2 * shares - 1) * region).sum((1, 2), keepdim=True) < 0
    return torch.where(swapped, 1 - shares, shares)


class WithCentres(Classifier):
    """A classifier that stores centres of its classes' features; they are saved with its weights, but not learned from.

    Attributes:
        inside, outside: ``(C, F)``, centres of object and background.
        seen: ``(C,) bool``, which classes have centres.
    """

    inside: Tensor
    outside: Tensor
    seen: Tensor

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Create a classifier without centres; see :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        self.register_buffer("inside", torch.zeros(classes, self.width))
        self.register_buffer("outside", torch.zeros(classes, self.width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def region(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return where features ``(B, F, h, w)`` activate their classes, ``(B, h, w) bool``; nowhere if uniformly active."""
        return min_max(class_activations(features, self.head.weight[labels])) >= THRESHOLD

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Move the centres of classes ``(B,)`` towards the photos' features ``(B, F, h, w)``, one photo at a time."""
        region = self.region(features, labels)
        found = zip(labels.tolist(), region.any(2).any(1).tolist(), *means(features, region.to(features.dtype)), strict=True)
        for label, active, inside, outside in found:
            if active:
                weight = 1 - MOMENTUM if self.seen[label] else 1.0
                self.inside[label].lerp_(inside, weight)
                self.outside[label].lerp_(outside, weight)
                self.seen[label] = True

    def reactivate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the probability that each position is object, ``(B, h, w)`` in [0, 1]; see :func:`cluster`.

        A class without centres starts at the photo's own means where it is active and where it is not.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes.
        """
        features = self.feature_map(images)
        region = self.region(features, labels)
        own = means(F.normalize(features, dim=1), region.to(features.dtype))
        known = self.seen[labels][:, None]
        inside = torch.where(known, self.inside[labels], own[0])
        outside = torch.where(known, self.outside[labels], own[1])
        return calibrate(cluster(features, inside, outside, ROUNDS), region)


class Cream(Cam):
    """Class re-activation maps of a plain classifier."""

    name = "cream"
    title = "CREAM"
    paper = "Xu et al., CVPR 2022 (centres and clustering after its abstract)"
    caveat = "centres, clustering and their settings are inferred from the abstract; no public code has them"

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN with room for feature centres, which no class has yet."""
        return build_classifier(study, len(study.classes), WithCentres)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of crops ``(B, 3, H, W)`` in [0, 1], and update the centres; ``generator`` is unused."""
        net = cast(WithCentres, self.net)
        features = net.feature_map(images)
        net.remember(features, labels)
        return F.cross_entropy(class_scores(net, features), labels)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the probability that each position is object, ``(B, h, w)`` in [0, 1]."""
        return cast(WithCentres, self.net).reactivate(images, labels)


def _assign(points: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Return the probability that positions ``(B, F, h, w)`` of length 1 belong to ``inside``, of two centres ``(B, F)``."""
    closer = F.normalize(inside, dim=1) - F.normalize(outside, dim=1)
    return (SHARPNESS * torch.einsum("bfhw,bf->bhw", points, closer)).sigmoid()
