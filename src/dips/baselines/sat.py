"""SAT, the spatial-aware token (Wu et al., ICCV 2023): an extra token whose attention masks that of all others.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT whose last blocks localize the object,
whatever its class.

Formulas and constants are those of the authors' code (wpy1999/SAT), unless marked as inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.classifiers import with_object
from dips.baselines.study import Study
from dips.baselines.vit import VitMethod
from dips.models.attention import attend, softmax
from dips.models.backbones import Vit

__all__ = ["Sat", "SpatialToken", "area_loss", "normalisation_loss", "spatial_mask"]

MASKED_BLOCKS = 3
"""Number of last blocks whose attention is masked."""

AREA = 0.25
"""Target mean of a batch's masks. It suits CUB; for small objects it is too large, and nothing here detects that."""

INITIAL_STD = 0.02 * 2**0.5
"""Standard deviation of the token's initialisation: a token and its position, truncated normal with .02 each."""

SMOOTHING = ((0.003, 0.046, 0.003), (0.046, 0.805, 0.046), (0.003, 0.046, 0.003))
"""The kernel that smooths masks before the normalisation loss; outside the border they count as 0."""


def spatial_mask(logits: Tensor) -> Tensor:
    """Return the mask ``(B, N)`` in [0, 1] that the last token's query puts on all keys: the sigmoid of the mean over heads.

    Args:
        logits: ``(B, heads, N, N)``, scaled, queries in rows.

    >>> spatial_mask(torch.tensor([[[[9.0, 9.0], [0.0, 2.0]], [[9.0, 9.0], [0.0, -2.0]]]])).tolist()
    [[0.5, 0.5]]
    """
    return logits[:, :, -1].float().mean(1).sigmoid()


def area_loss(masks: Tensor) -> Tensor:
    """Return how far the mean over all masks ``(B, h, w)`` of a batch is from :data:`AREA`: single objects may differ in size.

    >>> area_loss(torch.tensor([[[0.0]], [[0.5]]])).item()
    0.0
    """
    return (masks.mean() - AREA).abs()


def normalisation_loss(masks: Tensor) -> Tensor:
    """Return the mean of ``(1 - M) M``, where ``M`` are the smoothed masks ``(B, h, w)``: small if they are near 0 or 1."""
    kernel = torch.tensor(SMOOTHING, device=masks.device)[None, None]
    smooth = F.conv2d(masks[:, None], kernel, padding=1)
    return ((1 - smooth) * smooth).mean()


class SpatialToken(nn.Module):
    """A ViT with an extra token after the patches, and a convolution on the patches whose means are the logits.

    Attributes:
        token: ``(1, 1, width)``, including its position embedding, since it is never used without.
    """

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__()
        self.vit = vit
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, vit.width), std=INITIAL_STD))
        self.head = nn.Conv2d(vit.width, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.with_masks(images)[0]

    def with_masks(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and masks ``(B, h, w)`` in [0, 1], the mean over the masked blocks."""
        masks: list[Tensor] = []

        def masked(logits: Tensor) -> Tensor:
            masks.append(spatial_mask(logits))
            return softmax(logits) * masks[-1][:, None, None]  # scales each key for all queries; rows no longer sum to 1

        tokens = self.vit.embed(images)
        tokens = torch.cat([tokens, self.token.expand(len(images), -1, -1)], dim=1)
        first = len(self.vit.blocks) - MASKED_BLOCKS
        tokens = self.vit.run(tokens, last=first)
        for block in self.vit.blocks[first:]:
            tokens, _ = attend(block, tokens, masked)
        grid, patches = self.vit.grid(images), slice(self.vit.prefix, -1)
        features = self.vit.norm(tokens)[:, patches].transpose(1, 2).unflatten(2, grid)
        logits = cast(Tensor, self.head(features)).mean((2, 3))
        return logits, torch.stack(masks).mean(0)[:, patches].unflatten(1, grid)


class Sat(VitMethod):
    """The spatial token's masks; the class is predicted from the patches that they let through."""

    name = "sat"
    title = "SAT"
    paper = "Wu et al., ICCV 2023"
    caveat = "that 0.25 of a photo is object is as for CUB"
    net: SpatialToken

    def make(self, vit: Vit, study: Study) -> SpatialToken:
        """Return the transformer with the token and a convolution, both randomly initialised."""
        return SpatialToken(vit, len(study.classes))

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the token and the parameters of the convolution."""
        return [self.net.token, *super().new_parameters()]

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sum of cross-entropy, area and normalisation loss for crops ``(B, 3, H, W)``; ``generator`` is unused.

        The latter two use only photos with an object: those of the background class have nothing to mask (inferred).
        """
        logits, masks = self.net.with_masks(images)
        loss = F.cross_entropy(logits, labels)
        masks = masks[with_object(labels, self._background)]
        return loss + area_loss(masks) + normalisation_loss(masks) if len(masks) else loss

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return masks ``(B, h, w)`` in [0, 1] of images ``(B, 3, H, W)`` in [0, 1]; ``labels`` is unused."""
        return self.net.with_masks(images)[1]
