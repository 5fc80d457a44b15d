"""SPG (Zhang et al., ECCV 2018, section 3): a classifier's confident pixels teach its earlier features what is object.

In: photos and labels. Out: a classifier, whose class activations are the maps. Three small branches are trained alongside it
and pull its features towards whole objects; answers do not use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.classifiers import class_activations
from dips.baselines.cnn import CnnMethod, build_classifier, class_scores
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.harvest.attention import upsampled
from dips.models.backbones import stages, watched_outputs
from dips.models.classifier import Classifier

__all__ = ["Guided", "Spg", "guidance", "seeds"]

# Pairs are thresholds above which a pixel is object and below which it is background; all but WIDTH as in the authors' code.
ATTENTION_THRESHOLDS = (0.7, 0.05)
"""For the normalised class activations, which teach B2."""

B2_THRESHOLDS = (0.5, 0.05)
"""For B2's probability, which teaches B1."""

FUSED_THRESHOLDS = (0.7, 0.1)
"""For the mean probability of B1 and B2, which teaches C."""

MIN_OBJECT_PIXELS = 30
"""Minimum number of object pixels per photo; if there are fewer, those above PEAK_FRACTION times the maximum are added."""

PEAK_FRACTION = 0.7

WIDTH = 128
"""Channels of the branches. Chosen by us: the authors' 512 would cost several times as much as the network below."""


def seeds(maps: Tensor, high: float, low: float) -> Tensor:
    """Return the pixels that a map is confident about (section 3).

    Args:
        maps: ``(B, 1, H, W)`` in [0, 1].
        high, low: pixels above ``high`` are object, those below ``low`` are background. If too few pixels exceed ``high``,
            those near the map's maximum are object as well.

    Returns:
        ``(B, 1, H, W)``: 1 object, 0 background, -1 neither.

    >>> seeds(torch.tensor([0.9] * 30 + [0.5, 0.0]).reshape(1, 1, 1, 32), 0.7, 0.05)[0, 0, 0, -3:].tolist()
    [1.0, -1.0, 0.0]
    """
    above = maps > high
    few = above.sum((1, 2, 3), keepdim=True) < MIN_OBJECT_PIXELS
    above |= few & (maps > PEAK_FRACTION * maps.amax((1, 2, 3), keepdim=True))
    return torch.where(maps < low, 0.0, torch.where(above, 1.0, -1.0))


def guidance(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy between logits and the targets that :func:`seeds` returns, both ``(B, 1, H, W)``.

    It is averaged over the pixels that have a target; 0 if none has.

    >>> round(guidance(torch.tensor([0.0, 9.0]), torch.tensor([1.0, -1.0])).item(), 4)
    0.6931
    """
    sure = (targets >= 0).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), weight=sure, reduction="sum")
    return total / sure.sum().clamp(min=1)


class Guided(Classifier):
    """A classifier with the paper's branches: B on two stages, its last layers shared, and C on the feature map."""

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Create a classifier and branches with random weights; see :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        (_, first), (_, second) = stages(self.body)[-3:-1]
        self.b1, self.b2 = _convolution(first), _convolution(second)
        self.shared = nn.Sequential(_convolution(WIDTH), nn.Conv2d(WIDTH, 1, 1))
        self.c = nn.Sequential(_convolution(self.width), nn.Conv2d(WIDTH, 1, 1))

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the feature map ``(B, F, h, w)``, and the object logits ``(B, 1, H, W)`` of B1, B2 and C.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
        """
        with watched_outputs([module for module, _ in stages(self.body)[-3:-1]]) as outputs:
            features = self.feature_map(images)
        b1, b2, c = self.shared(self.b1(outputs[0])), self.shared(self.b2(outputs[1])), self.c(features)
        size = (images.shape[-2], images.shape[-1])
        return features, upsampled(b1, size), upsampled(b2, size), upsampled(c, size)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the four parts of the loss, scalars, by name: ``class``, ``b2``, ``b1`` and ``c``.

        B2 learns from the class activations, B1 from B2, and C from the mean of both.

        Args:
            images: ``(B, 3, H, W)`` crops in [0, 1].
            labels: ``(B,)`` classes.
        """
        features, b1, b2, c = self.branches(images)
        size = (images.shape[-2], images.shape[-1])
        with torch.no_grad():
            attention = min_max(upsampled(class_activations(features, self.head.weight[labels])[:, None], size))
            targets = {
                "b2": seeds(attention, *ATTENTION_THRESHOLDS),
                "b1": seeds(b2.sigmoid(), *B2_THRESHOLDS),
                "c": seeds((b1.sigmoid() + b2.sigmoid()) / 2, *FUSED_THRESHOLDS),
            }
        parts = {name: guidance(logits, targets[name]) for name, logits in (("b2", b2), ("b1", b1), ("c", c))}
        return {"class": F.cross_entropy(class_scores(self, features), labels)} | parts


class Spg(CnnMethod):
    """Self-produced guidance (section 3)."""

    name = "spg"
    title = "SPG"
    paper = "Zhang et al., ECCV 2018"
    caveat = "its branches have 128 channels, not 512"

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN with random branches, which learn at the backbone's rate: the last layer's is too high."""
        return build_classifier(study, len(study.classes), Guided)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sum of the four parts for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        return torch.stack(list(cast(Guided, self.net).losses(images, labels).values())).sum()

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The classifier: the branches are used only in training."""
        net = cast(Guided, self.net)
        return net.body, net.probe


def _convolution(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU())
