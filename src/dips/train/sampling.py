"""Pseudo-pixels: which pixels of a crop are labelled as foreground and background at this step (paper 3.2, 3.3).

In: the activation of the chosen proposals, and where foreground and background may come from; out: a target map with
:data:`FOREGROUND`, :data:`BACKGROUND` and, almost everywhere, :data:`IGNORE`. Redrawn at every step, the whole batch at
once. A photo costs two histograms and a partial selection per pool; nothing is sorted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dips.config import TrainConfig

__all__ = ["BACKGROUND", "FOREGROUND", "IGNORE", "choose_proposal", "draw", "draw_targets", "grow", "highest"]

BACKGROUND = 0
FOREGROUND = 1
IGNORE = 255

_HALF = 12  # bits of one histogram; two of them make the 24 bits of a float's mantissa
_LEVELS = (1 << 2 * _HALF) - 1
_MIN_WEIGHT = 1e-6


def choose_proposal(count: int, u: float) -> int | None:
    """Return the index of one of ``count`` proposals, uniform if ``u`` is uniform in [0, 1); None if there is none.

    >>> choose_proposal(3, 0.5), choose_proposal(0, 0.5)
    (1, None)
    """
    return min(int(u * count), count - 1) if count else None


def draw_targets(
    activation: Tensor,
    inside: Tensor,
    outside: Tensor,
    *,
    config: TrainConfig,
    generator: torch.Generator,
    empty: Tensor | None = None,
) -> Tensor:
    """Draw the labelled pixels of a batch.

    Foreground: ``fg_pixels`` of the ``fg_share`` of the pixels of ``inside`` with the highest activation, weighted by it,
    without replacement. Background: ``bg_pixels`` of the ``bg_share`` of the pixels of ``outside`` with the lowest
    activation, uniformly. A pool with fewer pixels is taken whole. Both are grown; what both claim is ignored.

    Args:
        activation: ``(B, H, W)`` float in [0, 1].
        inside: ``(B, H, W)`` bool, the proposal's pixels.
        outside: ``(B, H, W)`` bool, pixels that may be background.
        generator: on any device; the draws are made there.
        empty: ``(B,)`` bool, photos of the background class: any pixel may be background, none foreground.

    Returns:
        ``(B, H, W)`` int64 of :data:`BACKGROUND`, :data:`FOREGROUND`, :data:`IGNORE`.
    """
    batch, height, width = activation.shape
    values = activation.reshape(batch, -1).float()
    inside, outside = inside.reshape(batch, -1), outside.reshape(batch, -1)
    if empty is not None:
        inside, outside = inside & ~empty[:, None], outside | empty[:, None]
    front = highest(values, inside, config.fg_share)
    back = highest(1.0 - values, outside, config.bg_share)
    if empty is not None:
        back = back | empty[:, None]
    fg = grow(*draw(front, config.fg_pixels, generator, weights=values), config.grow, height, width)
    bg = grow(*draw(back, config.bg_pixels, generator), config.grow, height, width)
    target = torch.full((batch, height, width), IGNORE, dtype=torch.long, device=values.device)
    return target.masked_fill_(bg & ~fg, BACKGROUND).masked_fill_(fg & ~bg, FOREGROUND)


def highest(values: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """Mark the ``fraction`` of the masked pixels that have the highest values.

    At least one pixel if the mask is not empty and ``fraction`` is not 0. Pixels equal to the last one taken are all
    taken, so a constant map yields the whole mask and no pixel is preferred for its position.

    Args:
        values: ``(B, N)`` float in [0, 1], compared at 24 bits.
        mask: ``(B, N)`` bool.
        fraction: in [0, 1].

    Returns:
        ``(B, N)`` bool.
    """
    if fraction <= 0:
        return torch.zeros_like(mask)
    levels = (values.clamp(0, 1) * _LEVELS).to(torch.int64)
    total = mask.sum(-1, keepdim=True)
    wanted = ((total * round(fraction * 1e6) + 500_000) // 1_000_000).clamp(min=1)  # rounded half up, alike on every device
    upper, lower = levels >> _HALF, levels & ((1 << _HALF) - 1)
    first, above = _cut(upper, mask, wanted)
    second, _ = _cut(lower, mask & (upper == first), wanted - above)
    return mask & (levels >= (first << _HALF) + second)


def _cut(levels: Tensor, mask: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest level ``(B, 1)`` with at least ``wanted`` masked pixels at or above it, and how many lie above it."""
    counts = torch.zeros(len(levels), 1 << _HALF, device=levels.device).scatter_add_(1, levels, mask.float())
    at_least = counts.flip(-1).cumsum(-1).flip(-1).round().long()
    cut = ((at_least >= wanted).sum(-1, keepdim=True) - 1).clamp(min=0)
    return cut, at_least.gather(1, cut) - counts.gather(1, cut).long()


def draw(pool: Tensor, count: int, generator: torch.Generator, *, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draw ``count`` pixels of each pool without replacement, or all pixels of a smaller pool.

    With weights, they are drawn one after the other in proportion to the weight among those left, as by a multinomial without
    replacement: each pixel has an exponential clock of that rate, and the first ``count`` that ring are taken.

    Args:
        pool: ``(B, N)`` bool.
        weights: ``(B, N)`` float >= 0; None = uniform. Pixels of weight 0 come after all others.

    Returns:
        Their indices ``(B, K) int64`` with ``K = min(count, N)``, and which of them are valid ``(B, K)`` bool.
    """
    clock = torch.rand(pool.shape, generator=generator, device=generator.device).to(pool.device)
    if weights is not None:
        clock = clock.log_().neg_().div_(weights.clamp(min=_MIN_WEIGHT))
    clock = clock.masked_fill_(~pool, torch.inf)
    index = clock.topk(min(count, pool.shape[1]), dim=1, largest=False, sorted=False).indices
    return index, pool.gather(1, index)


def grow(index: Tensor, valid: Tensor, side: int, height: int, width: int) -> Tensor:
    """Grow every valid pixel to a square of ``side`` (odd) pixels, cut at the border.

    Args:
        index: ``(B, K) int64`` into ``height * width`` pixels.
        valid: ``(B, K) bool``.

    Returns:
        ``(B, height, width) bool``.
    """
    reach = torch.arange(-(side // 2), side // 2 + 1, device=index.device)
    row = (index // width)[:, :, None, None] + reach[:, None]
    column = (index % width)[:, :, None, None] + reach
    # A clamped neighbour lies inside the same square, so nothing is marked that should not be.
    flat = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    marked = valid[:, :, None, None].expand(-1, -1, side, side).flatten(1)
    # Invalid pixels write to one cell past the end, which is cut off.
    cells = torch.zeros(len(index), height * width + 1, dtype=torch.bool, device=index.device)
    cells.scatter_(1, torch.where(marked, flat, height * width), True)
    return cells[:, :-1].view(-1, height, width)
