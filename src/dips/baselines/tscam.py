"""TS-CAM (Gao et al., ICCV 2021, section 3): what each patch token says for a class, times how the class token attends to it.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT and the coupled maps.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.baselines.training import Schedule, train_network
from dips.models.backbones import Vit, load_vit

__all__ = ["TokenSemantics", "TsCam", "couple"]

TRAINED_BLOCKS = 4
"""Last blocks that learn. The paper trains all 12; 4 take half the time per photo."""

SCHEDULE = Schedule(lr=1e-3, backbone_lr=0.05, weight_decay=5e-4, batch=16)
"""Backbone and weight decay at the paper's 5e-5 and 5e-4; the new convolution is 20 times as fast, which steps for minutes need
and the paper's 60 epochs do not. Half the batch of the CNNs, as a photo costs more."""


def couple(semantic: Tensor, attention: Tensor) -> Tensor:
    """Semantic map times attention map (section 3.3); of any sign, because the semantic map is.

    Args:
        semantic: ``(B, h, w)``, what each patch says for a class.
        attention: ``(B, L, heads, h, w)``, the class token's in every block; averaged over heads and blocks.

    Returns:
        ``(B, h, w)``.
    """
    return semantic * attention.mean((1, 2))


class TokenSemantics(nn.Module):
    """A ViT whose patch tokens a 3x3 convolution turns into a map per class (section 3.2); their means are the logits."""

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Conv2d(vit.width, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, C)`` of ``(B, 3, H, W)`` images in [0, 1]."""
        logits: Tensor = self.head(self.vit(images)).mean((2, 3))
        return logits

    def coupled(self, images: Tensor, labels: Tensor) -> Tensor:
        """Coupled maps ``(B, h, w)`` of the classes ``labels`` ``(B,)``."""
        tokens, attention = self.vit.with_attention(images)
        semantic = self.head(tokens)[torch.arange(len(labels), device=labels.device), labels]
        return couple(semantic, attention)


class TsCam(ScoreMapMethod):
    """Token semantic coupled attention maps."""

    name = "ts-cam"
    title = "TS-CAM"
    paper = "Gao et al., ICCV 2021"
    labels: ClassVar[Literal["none", "image"]] = "image"
    side = SCHEDULE.crop
    net: TokenSemantics

    @property
    def network(self) -> nn.Module:
        """Transformer and convolution."""
        return self.net

    def build(self, study: Study) -> None:
        """The study's transformer and a convolution at random."""
        vit = load_vit(study.sst)
        vit.learn(TRAINED_BLOCKS)
        self.net = TokenSemantics(vit, len(study.classes)).to(study.device)

    def train(self, study: Study) -> Fit:
        """Cross-entropy on the logits; the attention is not trained for itself."""
        return train_network(
            self.net, study, loss=self.loss, maps=self.maps, schedule=SCHEDULE, new=list(self.net.head.parameters())
        )

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Of ``(B, 3, H, W)`` training crops in [0, 1] and ``(B,)`` labels."""
        return F.cross_entropy(self.net(images), labels)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Min-max normalised coupled maps, one value per patch."""
        return normalise.min_max(self.net.coupled(images, labels))

    def probabilities(self, images: Tensor) -> Tensor:
        """Softmax of the logits."""
        logits: Tensor = self.net(images)
        return logits.softmax(1)
