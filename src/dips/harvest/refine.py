"""Better maps from the last block's keys, photo by photo, without boxes or extra passes (``harvest.refine=image``).

Every patch is scored by comparing its key with those of the most and the least attended patches, by cosine; this is repeated
once. :mod:`dips.harvest.linear` fits maps to a data set instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dips.models.linear_map import unit_keys

__all__ = ["refine_image"]

_IMAGE_TOP, _IMAGE_BOTTOM = 0.05, 0.5  # fractions of a photo's patches that count as object and as background


def refine_image(attention: Tensor, keys: Tensor, *, repeats: int = 2) -> Tensor:
    """Refine maps photo by photo: cosine of every patch's key with (mean key of the top 5% - mean key of the bottom half).

    Args:
        attention: ``(B, h, w)`` mean attention, any scale.
        keys: ``(B, h, w, D)``.
        repeats: number of rounds; from the second one on, the last map replaces the attention.

    Returns:
        ``(B, h, w)`` in [0, 1]; patches that point away from the object are 0.

    >>> refine_image(torch.rand(2, 4, 4), torch.randn(2, 4, 4, 8)).shape
    torch.Size([2, 4, 4])
    """
    batch, height, width = attention.shape
    unit = unit_keys(keys).reshape(batch, height * width, -1)
    maps = attention.reshape(batch, -1).float()
    top, bottom = max(1, round(_IMAGE_TOP * maps.shape[1])), max(1, round(_IMAGE_BOTTOM * maps.shape[1]))
    for _ in range(repeats):
        high = _mean_of(unit, maps.topk(top).indices)
        low = _mean_of(unit, maps.topk(bottom, largest=False).indices)
        maps = torch.einsum("bnd,bd->bn", unit, torch.nn.functional.normalize(high - low, dim=-1))
    return maps.reshape(batch, height, width).clamp(0, 1)


def _mean_of(keys: Tensor, index: Tensor) -> Tensor:
    """Return the mean ``(B, D)`` of the keys ``(B, N, D)`` at ``index`` ``(B, K)``."""
    return keys.gather(1, index[:, :, None].expand(-1, -1, keys.shape[2])).mean(1)
