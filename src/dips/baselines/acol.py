"""ACoL (Zhang et al., CVPR 2018, section 3.2): two classifiers, and the second cannot see what the first relies on.

In: photos and labels. Out: one network with two heads; a map is where either of them finds the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.cnn import CnnMethod, trunk
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.baselines.training import Schedule
from dips.models.classifier import Classifier

__all__ = ["ACoL", "TwoHeads", "erase"]

THRESHOLD = 0.6
"""Of the first head's normalised map, above which the second head sees nothing: delta, the best of the paper's ablation
(section 4)."""

WIDTH = 256
"""Channels of a head's convolutions. Chosen here: the authors' 1024 would cost many times the network below."""

SCHEDULE = Schedule(lr=1e-3, backbone_lr=1.0)
"""One rate for all layers. Chosen here: at that of a linear layer the heads' rectified layers die."""


def erase(features: Tensor, maps: Tensor, threshold: float) -> Tensor:
    """Zero ``(B, F, h, w)`` features where ``(B, h, w)`` maps in [0, 1] exceed ``threshold``, the paper's delta."""
    return features * (maps <= threshold)[:, None]


class TwoHeads(nn.Module):
    """A CNN's feature map, and two heads of the same shape that answer a map per class; the mean of a map is a logit."""

    def __init__(self, trunk: Classifier, classes: int) -> None:
        """``trunk`` gives its normalisation and its body."""
        super().__init__()
        self.normalise, self.body = trunk.normalise, trunk.body
        self.first, self.second = _head(trunk.width, classes), _head(trunk.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, C)`` of the first head, of ``(B, 3, H, W)`` images in [0, 1]."""
        return cast(Tensor, self.first(self.feature_map(images)).mean((2, 3)))

    def feature_map(self, images: Tensor) -> Tensor:
        """Features ``(B, F, h, w)`` that both heads share."""
        return cast(Tensor, cast(Any, self.body).forward_features(self.normalise(images)))

    def both(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(B, C, h, w)`` of both heads; the second works without what the first says for ``labels`` ``(B,)``."""
        features = self.feature_map(images)
        found = self.first(features)
        return found, self.second(erase(features, min_max(of_class(found, labels)), THRESHOLD))


def of_class(maps: Tensor, labels: Tensor) -> Tensor:
    """Of ``(B, C, h, w)`` maps those of ``labels`` ``(B,)``: ``(B, h, w)``."""
    return maps[torch.arange(len(labels), device=labels.device), labels]


class ACoL(CnnMethod):
    """Adversarial complementary learning."""

    name = "acol"
    title = "ACoL"
    paper = "Zhang et al., CVPR 2018"
    schedule = SCHEDULE

    def make(self, study: Study) -> nn.Module:
        """The study's CNN under two heads."""
        classes = len(study.classes)
        return TwoHeads(trunk(study, classes, Classifier), classes)

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Those of both heads."""
        net = cast(TwoHeads, self.net)
        return [*net.first.parameters(), *net.second.parameters()]

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Sum of both heads' cross-entropies; nothing is drawn."""
        first, second = cast(TwoHeads, self.net).both(images, labels)
        return F.cross_entropy(first.mean((2, 3)), labels) + F.cross_entropy(second.mean((2, 3)), labels)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """The larger of both heads' normalised maps, in [0, 1]."""
        first, second = (min_max(of_class(maps, labels)) for maps in cast(TwoHeads, self.net).both(images, labels))
        return torch.maximum(first, second)


def _head(width: int, classes: int) -> nn.Sequential:
    head = nn.Sequential(
        nn.Conv2d(width, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, classes, 1),
    )
    for layer in head:
        if isinstance(layer, nn.Conv2d):  # else the rectified layers die within a few steps, and all photos get the same map
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    return head
