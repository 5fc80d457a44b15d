"""ACoL (Zhang et al., CVPR 2018, section 3.2): two classifiers, and the second cannot see what the first relies on.

In: photos and labels. Out: one network with two heads; a score map is high where either of them finds the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.classifiers import of_class
from dips.baselines.cnn import CnnMethod, build_classifier
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.baselines.training import Schedule
from dips.models.classifier import Classifier

__all__ = ["ACoL", "TwoHeads", "erase"]

THRESHOLD = 0.6
"""Value of the first head's normalised map above which the second head sees nothing: delta, the best of the paper's ablation
(section 4)."""

WIDTH = 256
"""Channels of a head's convolutions. Chosen by us: the authors' 1024 would cost many times as much as the network below."""

SCHEDULE = Schedule(lr=1e-3, backbone_lr=1.0)
"""One rate for all layers. Chosen by us: at the rate of a linear layer, the heads' rectified layers die."""


def erase(features: Tensor, maps: Tensor, threshold: float) -> Tensor:
    """Return features ``(B, F, h, w)``, set to 0 where maps ``(B, h, w)`` in [0, 1] exceed ``threshold``, the paper's delta.

    >>> erase(torch.ones(1, 1, 1, 2), torch.tensor([[[0.6, 0.7]]]), 0.6).tolist()
    [[[[1.0, 0.0]]]]
    """
    return features * (maps <= threshold)[:, None]


class TwoHeads(nn.Module):
    """A CNN's feature map, and two heads of the same shape with a map per class each; the mean of a map is a logit."""

    def __init__(self, classifier: Classifier, classes: int) -> None:
        """Use the normalisation and the backbone of ``classifier``, and create heads with random weights."""
        super().__init__()
        self.normalise, self.body = classifier.normalise, classifier.body
        self.first, self.second = _head(classifier.width, classes), _head(classifier.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the first head's logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.first(self.feature_map(images)).mean((2, 3)))

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the features ``(B, F, h, w)`` that both heads see, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, cast(Any, self.body).forward_features(self.normalise(images)))

    def both(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps ``(B, C, h, w)`` of both heads, of any sign.

        The second head does not see positions where the first head's map of the class exceeds :data:`THRESHOLD`.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes.
        """
        features = self.feature_map(images)
        first = self.first(features)
        return first, self.second(erase(features, min_max(of_class(first, labels)), THRESHOLD))


class ACoL(CnnMethod):
    """Adversarial complementary learning (section 3.2)."""

    name = "acol"
    title = "ACoL"
    paper = "Zhang et al., CVPR 2018"
    caveat = "its heads have 256 channels, not 1024, and all layers one rate"
    schedule = SCHEDULE

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN under two heads."""
        classes = len(study.classes)
        return TwoHeads(build_classifier(study, classes, Classifier), classes)

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters of both heads."""
        net = cast(TwoHeads, self.net)
        return [*net.first.parameters(), *net.second.parameters()]

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sum of both heads' cross-entropies for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        first, second = cast(TwoHeads, self.net).both(images, labels)
        return F.cross_entropy(first.mean((2, 3)), labels) + F.cross_entropy(second.mean((2, 3)), labels)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the larger of both heads' min-max normalised maps, ``(B, h, w)`` in [0, 1]."""
        first, second = (min_max(of_class(maps, labels)) for maps in cast(TwoHeads, self.net).both(images, labels))
        return torch.maximum(first, second)


def _head(width: int, classes: int) -> nn.Sequential:
    """Return convolutions from features ``(B, width, h, w)`` to maps ``(B, classes, h, w)``."""
    head = nn.Sequential(
        nn.Conv2d(width, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, classes, 1),
    )
    for layer in head:
        if isinstance(layer, nn.Conv2d):  # else the rectified layers die within a few steps and all photos get the same map
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    return head
