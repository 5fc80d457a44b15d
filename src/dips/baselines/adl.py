"""ADL (Choe & Shim, CVPR 2019, section 3): dropout of the positions that the features themselves attend to.

In: training crops. Out: a classifier. During training, the most active positions of its last stages were sometimes dropped,
and sometimes emphasised. There are no new parameters, and the fitted network is a plain classifier.
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
"""How often features are dropped rather than weighted, as in the paper (section 4)."""

GAMMA = 0.8
"""Fraction of the largest attention above which they are dropped: the paper's value for VGG."""

STAGES = 3
"""Number of last stages whose outputs the layer is applied to, as in the paper's VGG (pool3, pool4, conv5-3)."""


def attention(features: Tensor) -> Tensor:
    """Return the non-negative self-attention ``(B, 1, h, w)`` of features ``(B, F, h, w)``: their mean over channels.

    The paper's features are rectified. Those of linear bottlenecks are not, so negative values count as 0.

    >>> attention(torch.tensor([3.0, 1.0, -5.0, -5.0]).reshape(1, 4, 1, 1)).item()
    1.0
    """
    return features.clamp(min=0).mean(1, keepdim=True)


def drop_mask(attended: Tensor, gamma: float) -> Tensor:
    """Return the drop mask of attention ``(B, 1, h, w)``, in its shape: 0 where it exceeds ``gamma`` times its maximum, else 1.

    >>> drop_mask(torch.tensor([[[[1.0, 4.0, 5.0]]]]), 0.8).tolist()
    [[[[1.0, 1.0, 0.0]]]]
    """
    return (attended <= gamma * attended.amax((2, 3), keepdim=True)).to(attended.dtype)


def importance(attended: Tensor) -> Tensor:
    """Return the importance map ``(B, 1, h, w)`` in [0.5, 1], the sigmoid of non-negative attention.

    >>> importance(torch.zeros(1, 1, 1, 2)).tolist()
    [[[[0.5, 0.5]]]]
    """
    return attended.sigmoid()


class Adl(CnnMethod):
    """A classifier with attention-based dropout in its last stages."""

    name = "adl"
    title = "ADL"
    paper = "Choe & Shim, CVPR 2019"

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of crops ``(B, 3, H, W)`` in [0, 1].

        Each stage draws, once per step, whether its features are dropped or weighted.
        """

        def layer(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
            attended = attention(features)
            drop = torch.rand((), generator=generator) < DROP_RATE
            return features * (drop_mask(attended, GAMMA) if drop else importance(attended))

        backbone = cast(Classifier, self.net).body
        with ExitStack() as hooks:  # they exist only during the forward pass: the network is unchanged afterwards
            for module, _ in stages(backbone)[-STAGES:]:
                hooks.enter_context(module.register_forward_hook(layer))
            return super().loss(images, labels, generator)
