"""Linear maps on frozen features: logits of every object class against background, fitted by :mod:`dips.harvest.linear`.

In: blocks of features ``(B, C_i, h_i, w_i)``, each on its own grid: stages of the classifier's CNN, keys of the transformer's
last block. Out: one logit per cell of the finest grid. Linear maps commute with bilinear resizing, so each block's logits
are computed on its own grid and added on the finest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LinearMap", "LinearMaps", "add_grids", "unit_keys"]

_LIKELY_CLASSES = 5


class LinearMap(nn.Module):
    """Logits of K object classes against background, combined into one map by the class probabilities of the photo.

    Attributes:
        weights: ``(K, C_i)`` per block.
        bias: ``(K,)``.
        level: the logit above which a cell counts as object: for a second look, and if there are no ground-truth boxes.

    Example:
        >>> linear = LinearMap(channels=(8, 4), outputs=3)
        >>> linear([torch.rand(2, 8, 4, 4), torch.rand(2, 4, 6, 6)], torch.full((2, 3), 1 / 3)).shape
        torch.Size([2, 6, 6])
    """

    bias: Tensor
    level: Tensor

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        for index, width in enumerate(channels):
            self.register_buffer(f"weight_{index}", torch.zeros(outputs, width))
        self.register_buffer("bias", torch.zeros(outputs))
        self.register_buffer("level", torch.zeros(()))
        self.channels = tuple(channels)

    @property
    def weights(self) -> list[Tensor]:
        """The weight ``(K, C_i)`` of each block."""
        return [cast(Tensor, getattr(self, f"weight_{index}")) for index in range(len(self.channels))]

    def first(self, count: int) -> LinearMap:
        """Return the map of the first ``count`` blocks alone, with the same bias and level.

        >>> LinearMap(channels=(8, 4), outputs=3).first(1).channels
        (8,)
        """
        part = LinearMap(self.channels[:count], len(self.bias))
        for own, weight in zip(
            [*part.weights, part.bias, part.level], [*self.weights[:count], self.bias, self.level], strict=True
        ):
            own.copy_(weight)
        return part

    def forward(self, blocks: Sequence[Tensor], priors: Tensor) -> Tensor:
        """Return logits ``(B, H, W)`` of "shows an object" on the finest grid.

        The odds of an object are those of the five likeliest classes, weighted by their probabilities in the photo as a whole.

        Args:
            blocks: features ``(B, C_i, h_i, w_i)``.
            priors: probabilities of the object classes in each photo, ``(B, K)``, summing to 1.
        """
        logits = [F.conv2d(block, weight[:, :, None, None]) for block, weight in zip(blocks, self.weights, strict=True)]
        if len(self.bias) == 1:
            return add_grids(logits)[:, 0] + self.bias
        likeliest, classes = priors.topk(min(_LIKELY_CLASSES, len(self.bias)), dim=1)
        chosen = [item.gather(1, classes[:, :, None, None].expand(-1, -1, *item.shape[-2:])) for item in logits]
        offsets = self.bias[classes] + likeliest.clamp(min=1e-6).log()
        return torch.logsumexp(add_grids(chosen) + offsets[:, :, None, None], dim=1)


class LinearMaps(nn.Module):
    """The linear maps of a data set.

    Attributes:
        accurate: on the CNN's stages and the transformer's keys.
        fast: on the CNN's stages.
        channels: channels of each block, the CNN's stages first.
        stages: how many of them are the CNN's.

    >>> maps = LinearMaps(channels=(8, 4), stages=1, outputs=3)
    >>> maps.accurate.channels, maps.of("fast").channels
    ((8, 4), (8,))
    """

    def __init__(self, channels: Sequence[int], *, stages: int, outputs: int) -> None:
        super().__init__()
        self.channels, self.stages = tuple(channels), stages
        self.accurate = LinearMap(channels, outputs)
        self.fast = LinearMap(channels[:stages], outputs)

    def of(self, mode: str) -> LinearMap:
        """Return the map of a mode, ``accurate`` or ``fast``."""
        return self.accurate if mode == "accurate" else self.fast


def unit_keys(keys: Tensor) -> Tensor:
    """Divide keys by their length along the last axis, in float32."""
    return F.normalize(keys.float(), dim=-1)


def add_grids(logits: Sequence[Tensor]) -> Tensor:
    """Add logits ``(B, K, h, w)`` of several grids on the finest one; each counts as independent evidence."""
    finest = max((item.shape[-2:] for item in logits), key=lambda shape: shape[0] * shape[1])
    parts = [
        item if item.shape[-2:] == finest else F.interpolate(item, finest, mode="bilinear", align_corners=False)
        for item in logits
    ]
    return torch.stack(parts).sum(0)
