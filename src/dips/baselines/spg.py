"""SPG (Zhang et al., ECCV 2018, section 3): a classifier's sure pixels teach its earlier features to tell object from ground.

In: photos and labels. Out: a classifier, whose class activations are the maps. Three small branches learn beside it and pull
its features towards whole objects; an answer does without them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.cnn import CnnMethod, trunk
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.models.backbones import stages
from dips.models.classifier import Classifier

__all__ = ["Guided", "Spg", "guidance", "seeds"]

# Pairs are thresholds above which a pixel is object and below which it is background; all but WIDTH as in the authors' code.
ATTENTION_THRESHOLDS = (0.7, 0.05)
"""Of the normalised class activations, which teach B2."""

B2_THRESHOLDS = (0.5, 0.05)
"""Of B2's probability, which teaches B1."""

FUSED_THRESHOLDS = (0.7, 0.1)
"""Of the mean probability of B1 and B2, which teaches C."""

MIN_OBJECT_PIXELS = 30
"""Pixels of the photo that have to be object; where they are fewer, those above NEAR_MAXIMUM times the maximum are."""

NEAR_MAXIMUM = 0.7

WIDTH = 128
"""Channels of the branches. Chosen here: the authors' 512 would cost several times the network below."""


def seeds(maps: Tensor, high: float, low: float) -> Tensor:
    """Pixels that a map is sure of (section 3).

    Args:
        maps: ``(B, 1, H, W)`` in [0, 1].
        high, low: what exceeds ``high`` is object, what is below ``low`` is ground. Where too few pixels exceed it, those near
            the map's maximum are the object.

    Returns:
        ``(B, 1, H, W)``: 1 object, 0 ground, -1 neither.
    """
    above = maps > high
    few = above.sum((1, 2, 3), keepdim=True) < MIN_OBJECT_PIXELS
    above |= few & (maps > NEAR_MAXIMUM * maps.amax((1, 2, 3), keepdim=True))
    found = torch.where(above, 1.0, -1.0)
    return torch.where(maps < low, 0.0, found)


def guidance(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of ``(B, 1, H, W)`` logits, mean over the pixels that :func:`seeds` is sure of; 0 without any."""
    sure = (targets >= 0).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), weight=sure, reduction="sum")
    return total / sure.sum().clamp(min=1)


class Guided(Classifier):
    """A classifier with the paper's branches: B on two stages, its last layers shared, and C on the feature map."""

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """As :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        (_, first), (_, second) = stages(self.body)[-3:-1]
        self.b1, self.b2 = _convolution(first), _convolution(second)
        self.shared = nn.Sequential(_convolution(WIDTH), nn.Conv2d(WIDTH, 1, 1))
        self.c = nn.Sequential(_convolution(self.width), nn.Conv2d(WIDTH, 1, 1))

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature map ``(B, F, h, w)`` of images in [0, 1], and logits ``(B, 1, H, W)`` of the object by B1, B2 and C."""
        seen: list[Tensor] = []
        with ExitStack() as hooks:  # they live as long as the forward pass
            for module, _ in stages(self.body)[-3:-1]:
                hooks.enter_context(module.register_forward_hook(lambda module, given, features: seen.append(features)))
            features = self.feature_map(images)
        b1, b2, c = self.shared(self.b1(seen[0])), self.shared(self.b2(seen[1])), self.c(features)
        return features, _resized(b1, images), _resized(b2, images), _resized(c, images)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The four parts of the loss: of the class, and of what B2, B1 and C are told, by name.

        B2 learns from the class activations, B1 from B2, and C from the mean of both.
        """
        features, b1, b2, c = self.branches(images)
        logits = self.head(cast(Any, self.body).forward_head(features))
        with torch.no_grad():
            activations = torch.einsum("bfhw,bf->bhw", features, self.head.weight[labels])
            attention = min_max(_resized(activations[:, None], images)[:, 0])[:, None]
            told = {
                "b2": seeds(attention, *ATTENTION_THRESHOLDS),
                "b1": seeds(b2.sigmoid(), *B2_THRESHOLDS),
                "c": seeds((b1.sigmoid() + b2.sigmoid()) / 2, *FUSED_THRESHOLDS),
            }
        answers = {"b2": b2, "b1": b1, "c": c}
        return {"class": F.cross_entropy(logits, labels)} | {name: guidance(answers[name], told[name]) for name in told}


class Spg(CnnMethod):
    """Self-produced guidance."""

    name = "spg"
    title = "SPG"
    paper = "Zhang et al., ECCV 2018"

    def make(self, study: Study) -> nn.Module:
        """The study's CNN with branches at random, which learn at the body's rate: a linear layer's would be too fast."""
        return trunk(study, len(study.classes), Guided)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Sum of the four parts; nothing is drawn."""
        return torch.stack(list(cast(Guided, self.net).losses(images, labels).values())).sum()

    @property
    def parameters(self) -> int:
        """Those of the classifier: the branches only teach."""
        net = cast(Guided, self.net)
        return sum(p.numel() for part in (net.body, net.probe) for p in part.parameters())


def _convolution(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU())


def _resized(maps: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)
