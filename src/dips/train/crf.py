"""Dense CRF loss (Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV 2018; paper 3.3).

In: foreground probability and the image; out: how much neighbours of similar colour disagree,
``sum over both channels of S^T W (1 - S)`` with ``W_ij = exp(-|c_i - c_j|^2 / (2 * 15^2) - |p_i - p_j|^2 / (2 * 100^2))``,
colours in 0-255, positions in pixels of a crop of full size (``train.crf_full``). A sum over pairs of pixels grows with the
fourth power of the side, so the energy of a crop of another side is converted to full size: its pixels take the positions that
they would have there, and the sum is scaled. A weight like the paper's 2e-9 then means the same at every crop size. Likewise,
it is computed, exactly, at a reduced size (``train.crf_size``), to which image and probability are averaged down.
With two channels ``S = (1 - s, s)`` the sum is ``2 s^T W (1 - s)`` and its gradient ``2 (W 1 - 2 W s)``, so that one pass over
W gives both, and none of the N x N values is stored. The result is the mean over the batch, as in Tang et al.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

__all__ = ["crf_energy", "crf_loss"]

_CPU_ROWS = 256  # a block of W of this many rows stays in the processor's cache
_GPU_VALUES = 1 << 27  # values of W held at once on an accelerator: 512 MB


def crf_loss(
    foreground: Tensor, images: Tensor, *, size: int, full: int, sigma_rgb: float = 15.0, sigma_xy: float = 100.0
) -> Tensor:
    """Return the mean CRF energy of a batch of square crops, as it would be at full size.

    Args:
        foreground: ``(B, S, S)`` probability in [0, 1]; it receives the gradient.
        images: ``(B, 3, S, S)`` float in [0, 1].
        size: side at which the energy is computed; a smaller crop keeps its own.
        full: side of full size in pixels.
        sigma_rgb: standard deviation of colour, 0-255.
        sigma_xy: standard deviation of position, in pixels at full size.

    Returns:
        A scalar; it grows with ``full ** 4``, hence weights like 2e-9, but hardly changes with S.
    """
    side = min(size, foreground.shape[-1])
    # Sums over a million pairs of small differences: neither half precision nor its matrix products will do.
    with torch.autocast(foreground.device.type, enabled=False):
        kind = foreground.dtype if foreground.dtype == torch.float64 else torch.float32
        small = adaptive_avg_pool2d(foreground.to(kind)[:, None], side).flatten(1)
        with torch.no_grad():
            colour = adaptive_avg_pool2d(images.to(kind), side).flatten(2).mT * (255.0 / sigma_rgb)
            along = (torch.arange(side, device=small.device, dtype=kind) + 0.5) * (full / side / sigma_xy)
            position = torch.stack(torch.meshgrid(along, along, indexing="ij"), -1).flatten(0, 1).expand(len(small), -1, -1)
            features = torch.cat([colour, position], -1)
        return crf_energy(small, features).mean() * (full / side) ** 4


def crf_energy(foreground: Tensor, features: Tensor) -> Tensor:
    """Return ``2 s^T W (1 - s)`` per image, with ``W_ij = exp(-|f_i - f_j|^2 / 2)``.

    Args:
        foreground: ``(B, N)`` probability s.
        features: ``(B, N, D)``; they receive no gradient.

    Returns:
        ``(B,)``.
    """
    energy: Tensor = _Energy.apply(foreground, features)  # type: ignore[no-untyped-call]
    return energy


class _Energy(torch.autograd.Function):
    """The energy with its gradient in closed form."""

    @staticmethod
    def forward(ctx: Any, foreground: Tensor, features: Tensor) -> Tensor:
        every, chosen = _filter(foreground, features)
        ctx.save_for_backward(2 * (every - 2 * chosen))
        return 2 * (foreground * (every - chosen)).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grads[0][:, None] * slope, None


def _filter(signal: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``W 1`` and ``W s``, each ``(B, N)``."""
    left, right = _factors(features)
    if signal.device.type != "cpu":
        return _filter_whole(left, right, signal)
    pairs = [_filter_blocks(*each) for each in zip(left, right, signal, strict=True)]
    return torch.stack([every for every, _ in pairs]), torch.stack([chosen for _, chosen in pairs])


def _factors(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(B, N, D + 2)`` and ``(B, D + 2, N)``, whose product is ``-|a - b|^2 / 2 = a.b - |a|^2 / 2 - |b|^2 / 2``."""
    centred = features - features.mean(1, keepdim=True)  # smaller norms lose fewer digits
    norm = -0.5 * centred.square().sum(-1, keepdim=True)
    one = torch.ones_like(norm)
    return torch.cat([centred, norm, one], -1), torch.cat([centred, one, norm], -1).mT.contiguous()


def _filter_whole(left: Tensor, right: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Filter on accelerators, with the whole W of several images: ``(B, N, D + 2)``, ``(B, D + 2, N)``, ``(B, N)``."""
    step = max(1, _GPU_VALUES // signal.shape[1] ** 2)
    both = torch.stack([torch.ones_like(signal), signal], -1)
    parts = [
        torch.bmm(torch.bmm(left[i : i + step], right[i : i + step]).exp_(), both[i : i + step])
        for i in range(0, len(signal), step)
    ]
    every, chosen = torch.cat(parts).unbind(-1)
    return every, chosen


def _filter_blocks(left: Tensor, right: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Filter one image on the CPU, ``(N, D + 2)``, ``(D + 2, N)``, ``(N,)``, by blocks on and above W's diagonal."""
    every, chosen = torch.zeros_like(signal), torch.zeros_like(signal)
    count = len(signal)
    one = torch.ones_like(signal)
    for start in range(0, count, _CPU_ROWS):
        stop = min(start + _CPU_ROWS, count)
        block = (left[start:stop] @ right[:, start:]).exp_()
        every[start:stop] += block @ one[start:]
        chosen[start:stop] += block @ signal[start:]
        rest = block[:, stop - start :].mT
        every[stop:] += rest @ one[start:stop]
        chosen[stop:] += rest @ signal[start:stop]
    return every, chosen
