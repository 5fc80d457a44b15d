"""From the transformer's features to normalised maps (paper 3.1).

In: :class:`~dips.models.backbones.Features`; out: maps ``(B, M, h, w)``: the mean over **all** heads first (taken before
normalising), then the single heads that were requested. Each map is divided by its maximum; its minimum stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dips.models.backbones import Features

__all__ = ["head_maps", "join_attention", "mirror_average", "normalised", "upsampled"]


def join_attention(features: Sequence[Features]) -> Tensor:
    """Average attention ``(B, heads, h, w)`` of several input sizes on the finest grid.

    Every size has the same weight: all of its heads are divided by the maximum of their mean. With a maximum per head, the mean
    over heads would be a mean of normalised maps.
    """
    finest = max((item.attention.shape[-2:] for item in features), key=lambda shape: shape[0] * shape[1])
    maps = [upsampled(item.attention.float(), (finest[0], finest[1])) for item in features]
    peaks = [item.mean(1, keepdim=True).amax((-2, -1), keepdim=True) for item in maps]
    scaled = [item / peak.clamp(min=torch.finfo(item.dtype).tiny) for item, peak in zip(maps, peaks, strict=True)]
    return torch.stack(scaled).mean(0)


def head_maps(attention: Tensor, heads: int) -> Tensor:
    """Return the mean map and single heads, each divided by its maximum.

    Args:
        attention: ``(B, H, h, w)``.
        heads: number of single heads, counted from the first; -1 = all.

    Returns:
        ``(B, 1 + heads, h, w)``.

    >>> head_maps(torch.rand(2, 6, 4, 4), heads=3).shape
    torch.Size([2, 4, 4, 4])
    """
    count = attention.shape[1] if heads < 0 else min(heads, attention.shape[1])
    return normalised(torch.cat([attention.mean(1, keepdim=True), attention[:, :count]], dim=1))


def normalised(maps: Tensor) -> Tensor:
    """Divide maps ``(..., h, w)`` by their maximum; a map of zeros is left unchanged."""
    peak = maps.amax((-2, -1), keepdim=True)
    return maps / peak.clamp(min=torch.finfo(maps.dtype).tiny)


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(B, M, h, w)`` to ``(B, M, *size)``, bilinear with ``align_corners=False``."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)


def mirror_average(plain: Tensor, mirrored: Tensor) -> Tensor:
    """Average a photo's maps with those of its mirror image, ``(..., h, w)`` each."""
    return (plain + mirrored.flip(-1)) / 2
