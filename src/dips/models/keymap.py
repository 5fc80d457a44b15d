"""Maps from the transformer's keys: one linear direction per input size, fitted over a data set (``harvest.refine=dataset``).

The keys of the last block know an object's extent better than its attention does. A :class:`KeyMap` holds what the harvest
fitted, so that the same map can be made for a new photo. Images come in as ``(B, 3, H, W)`` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.models.backbones import Features, Transformer
from dips.models.inputs import resize_to

__all__ = ["KeyMap", "join_scales", "unit_keys"]


class KeyMap(nn.Module):
    """Linear maps on L2-normalised keys, joined over the sizes at which the transformer sees a photo.

    Attributes:
        sizes: sides in pixels, multiples of the transformer's patch.
        weight: ``(S, D)``, a direction per size.
        bias: ``(S,)``.

    Example:
        >>> key_map = KeyMap(sizes=(224,), dim=6)
        >>> key_map.logits(torch.randn(1, 4, 4, 6), scale=0).shape
        torch.Size([1, 4, 4])
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.register_buffer("weight", torch.zeros(len(self.sizes), dim))
        self.register_buffer("bias", torch.zeros(len(self.sizes)))

    def logits(self, keys: Tensor, scale: int) -> Tensor:
        """Return logits ``(B, h, w)`` of keys ``(B, h, w, D)`` at the size of index ``scale``."""
        return unit_keys(keys) @ self.weight[scale].to(keys.device) + self.bias[scale].to(keys.device)

    def from_features(self, features: Sequence[Features]) -> Tensor:
        """Return maps ``(B, h, w)`` in [0, 1] on the finest grid, of features at every size."""
        return join_scales([self.logits(item.keys, scale) for scale, item in enumerate(features)])

    def forward(self, transformer: Transformer, images: Tensor) -> Tensor:
        """Return maps ``(B, h, w)`` in [0, 1] of square images ``(B, 3, H, W)`` in [0, 1]."""
        return self.from_features([transformer(resize_to(images, size)) for size in self.sizes])


def unit_keys(keys: Tensor) -> Tensor:
    """Divide keys by their length along the last axis, in float32."""
    return F.normalize(keys.float(), dim=-1)


def join_scales(logits: Sequence[Tensor]) -> Tensor:
    """Join logits ``(B, h, w)`` of several sizes to one map ``(B, H, W)`` in [0, 1] on the finest grid.

    The logits are added: each size counts as independent evidence.
    """
    finest = max((item.shape[-2:] for item in logits), key=lambda shape: shape[0] * shape[1])
    total = sum(F.interpolate(item[:, None], finest, mode="bilinear", align_corners=False) for item in logits)
    return torch.sigmoid(torch.as_tensor(total)[:, 0])
