"""Resizing that every engine for ONNX supports: Resize with antialias is refused by TensorRT and ignored by OpenVINO.

In: images, and how the networks resize them. Out: the same from plain bilinear resizing, means and convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ANTIALIASED", "antialiased", "to_squares"]


def to_squares(images: Tensor, side: int) -> Tensor:
    """Resize images ``(B, C, H, W)`` of any size to ``(B, C, side, side)``; squares of that side are unchanged.

    Each axis is resized bilinearly to the next multiple of ``side`` and then averaged, which is nearly area averaging.

    >>> to_squares(torch.tensor([[[[0.0, 2.0, 4.0, 6.0], [2.0, 4.0, 6.0, 8.0]]]]), 2).tolist()
    [[[[1.0, 5.0], [3.0, 7.0]]]]
    """
    rows, columns = ((length + side - 1) // side for length in images.shape[-2:])
    images = F.interpolate(images, (side * rows, side * columns), mode="bilinear", align_corners=False)
    images = images.reshape(*images.shape[:3], side, columns).mean(4)
    return images.reshape(*images.shape[:2], side, rows, side).mean(3)


def antialiased(images: Tensor, size: tuple[int, int], kernel: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Resize images ``(B, C, H, W)``, antialiased, with a convolution along each axis.

    Args:
        size: height and width of the result.
        kernel: weights at distances from the centre, in pixels of the coarser of both images; 0 beyond ``reach``.
    """
    count, channels, height, width = images.shape
    rows = _rows(images.reshape(count * channels, 1, height, width), size[0], kernel, reach)
    return _rows(rows.mT, size[1], kernel, reach).mT.reshape(count, channels, *size)


def _rows(images: Tensor, new: int, kernel: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Resize images ``(N, 1, H, W)`` to ``new`` rows.

    The weights repeat after ``new / gcd`` pixels of the result: each of those is a channel of a convolution that strides over
    as many pixels as they cover. Weights beyond the edge are excluded by dividing by the sum of the others.

    The stride is vertical, not horizontal: OpenVINO 2026.4 miscomputes strided convolutions whose result is one pixel wide.
    """
    old = images.shape[-2]
    if old == new:
        return images
    repeats = math.gcd(old, new)
    stride, phases, scale = old // repeats, new // repeats, old / new
    halo = math.ceil(reach * max(scale, 1.0))
    cells = torch.arange(stride + 2 * halo, dtype=torch.float32) - halo + 0.5
    centres = (torch.arange(phases, dtype=torch.float32)[:, None] + 0.5) * scale
    weights = kernel((cells - centres) / max(scale, 1.0))[:, None, :, None]

    def resize(images: Tensor) -> Tensor:
        rows = F.conv2d(images, weights, stride=(stride, 1), padding=(halo, 0))
        return rows.transpose(1, 2).reshape(-1, 1, new, images.shape[3])

    return resize(images) / resize(torch.ones(1, 1, old, 1))


def _linear(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2."""
    x = distance.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _replacement(kernel: Callable[[Tensor], Tensor], reach: int) -> Callable[..., Tensor]:
    def resize(images: Tensor, size: tuple[int, int], align_corners: bool, *scales: Any) -> Tensor:
        return antialiased(images, size, kernel, reach)

    return resize


ANTIALIASED: dict[Any, Callable[..., Tensor]] = {
    overload: _replacement(kernel, reach)
    for operator, kernel, reach in (
        (torch.ops.aten._upsample_bilinear2d_aa, _linear, 1),
        (torch.ops.aten._upsample_bicubic2d_aa, _cubic, 2),
    )
    for overload in (operator.default, operator.vec)
}
"""Replacements of torch's antialiased resizing, by operator; none of the networks aligns corners or sets scales."""
