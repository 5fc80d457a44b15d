"""Photos as input of the networks.

In: photos of one size, ``HWC uint8 RGB``. Out: batches ``(B, 3, H, W) float32`` in [0, 1], at the side that a network sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.data.images import ByteImage

__all__ = ["resize_to", "to_tensor", "whole_patches"]


def to_tensor(photos: Sequence[ByteImage] | ByteImage, device: torch.device | str = "cpu") -> Tensor:
    """Return photos as a batch ``(B, 3, H, W) float32`` in [0, 1] on ``device``.

    Args:
        photos: ``(H, W, 3) uint8 RGB`` each, all of one size.

    Example:
        >>> to_tensor(np.full((2, 4, 5, 3), 255, np.uint8)).shape
        torch.Size([2, 3, 4, 5])
    """
    # moved to the device as bytes, a quarter of the size of floats
    return torch.from_numpy(np.stack(list(photos))).to(device).permute(0, 3, 1, 2).float() / 255


def resize_to(images: Tensor, size: int) -> Tensor:
    """Resize images ``(B, C, H, W)`` to squares ``(B, C, size, size)``, bilinearly; antialiased where they shrink."""
    if images.shape[-2:] == (size, size):
        return images
    shrinks = size < max(images.shape[-2:])
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=shrinks)


def whole_patches(size: int, patch: int) -> int:
    """Return a side in pixels rounded to whole patches.

    >>> whole_patches(225, 14)
    224
    """
    return max(1, round(size / patch)) * patch
