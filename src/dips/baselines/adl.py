"""ADL (Choe & Shim, CVPR 2019, section 3): dropout of what the features themselves attend to.

In: training crops. Out: a classifier whose last stages were now robbed of their most active places, now strengthened there.
There are no new parameters, and the fitted network is a plain classifier.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import torch
from torch import Tensor, nn

from dips.baselines.cnn import CnnMethod
from dips.models.backbones import stages
from dips.models.classifier import Classifier

__all__ = ["Adl", "attention", "drop_mask", "importance"]

DROP_RATE = 0.75
"""How often features are dropped rather than weighted: the paper's (section 4)."""

GAMMA = 0.8
"""Fraction of the largest attention above which they are dropped: the paper's for VGG."""

STAGES = 3
"""Last stages whose outputs the layer sits on, as in the paper's VGG (pool3, pool4, conv5-3)."""


def attention(features: Tensor) -> Tensor:
    """Self-attention ``(B, 1, h, w)`` of ``(B, F, h, w)`` features: the mean over channels.

    The paper's features are rectified. Those of linear bottlenecks are not, so that what is negative counts as 0.
    """
    return features.clamp(min=0).mean(1, keepdim=True)


def drop_mask(attended: Tensor, gamma: float) -> Tensor:
    """0 where ``(B, 1, h, w)`` attention exceeds ``gamma`` times its maximum, else 1."""
    return (attended <= gamma * attended.amax((2, 3), keepdim=True)).to(attended.dtype)


def importance(attended: Tensor) -> Tensor:
    """Sigmoid of the attention: in [0.5, 1), as it is not negative."""
    return attended.sigmoid()


class Adl(CnnMethod):
    """A classifier with attention-based dropout in its last stages."""

    name = "adl"
    title = "ADL"
    paper = "Choe & Shim, CVPR 2019"

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy; each stage draws, once per step, whether its features are dropped or weighted."""

        def layer(module: nn.Module, given: object, features: Tensor) -> Tensor:
            attended = attention(features)
            drop = torch.rand((), generator=generator) < DROP_RATE
            return features * (drop_mask(attended, GAMMA) if drop else importance(attended))

        body = cast(Classifier, self.net).body
        with ExitStack() as hooks:  # they live as long as the forward pass: the network stays what it is
            for module, _ in stages(body)[-STAGES:]:
                hooks.enter_context(module.register_forward_hook(layer))
            return super().loss(images, labels, generator)
