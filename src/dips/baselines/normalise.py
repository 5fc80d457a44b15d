"""Four ways to turn class activations into score maps in [0, 1] (Kim et al., ICCV 2021, section 3; equations 2 to 5).

In: activations ``(B, h, w)`` of any sign. Out: ``(B, h, w)`` in [0, 1]. The choice shifts the thresholds of a whole data set: a
map that is divided by its maximum keeps negative values apart from merely small ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ivr", "max_norm", "min_max", "pas"]

PAS_PERCENTILE = 90.0
"""Percentile in place of the maximum in PaS (Bae et al., ECCV 2020)."""

IVR_PERCENTILES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
"""Percentiles in place of the minimum in IVR; the best on validation is used."""


def min_max(maps: Tensor) -> Tensor:
    """Return ``(F - min F) / (max F - min F)`` (equation 2): minimum 0, maximum 1; a constant map becomes zeros, with a finite
    gradient. Maps may have further dimensions in front.

    >>> min_max(torch.tensor([[[-1.0, 0.0, 3.0]]])).tolist()
    [[[0.0, 0.25, 1.0]]]
    """
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return ((maps - low) / torch.where(high > low, high - low, 1)).clamp(0, 1)


def max_norm(maps: Tensor) -> Tensor:
    """Return ``relu(F) / max F`` (equation 3): maximum 1; a map without positive values becomes zeros.

    >>> max_norm(torch.tensor([[[-1.0, 1.0, 4.0]]])).tolist()
    [[[0.0, 0.25, 1.0]]]
    """
    positive = maps.clamp(min=0)
    return _divided(positive, positive.flatten(1).amax(1)[:, None, None])


def pas(maps: Tensor, percentile: float) -> Tensor:
    """Return ``(F - min F) / percentile_p(F - min F)``, clipped at 1 (equation 4; Bae et al. 2020).

    Args:
        percentile: p in [0, 100], in place of the maximum.

    >>> pas(torch.tensor([[[0.0, 1.0, 2.0, 4.0, 9.0]]]), 75.0).tolist()
    [[[0.0, 0.25, 0.5, 1.0, 1.0]]]
    """
    shifted = maps - maps.flatten(1).amin(1)[:, None, None]
    return _divided(shifted, _percentile(shifted, percentile)).clamp(max=1)


def ivr(maps: Tensor, percentile: float) -> Tensor:
    """Return ``relu(F - percentile_p(F)) / (max F - percentile_p(F))`` (equation 5): what is below the percentile becomes 0.

    Args:
        percentile: p in [0, 100], in place of the minimum.

    >>> ivr(torch.tensor([[[0.0, 1.0, 2.0, 3.0, 5.0]]]), 25.0).tolist()
    [[[0.0, 0.0, 0.25, 0.5, 1.0]]]
    """
    cut = _percentile(maps, percentile)
    return _divided((maps - cut).clamp(min=0), maps.flatten(1).amax(1)[:, None, None] - cut)


def _percentile(maps: Tensor, percentile: float) -> Tensor:
    return torch.quantile(maps.flatten(1).float(), percentile / 100, dim=1, interpolation="nearest")[:, None, None]


def _divided(values: Tensor, divisors: Tensor) -> Tensor:
    return (values / divisors.clamp(min=torch.finfo(torch.float32).tiny)).clamp(0, 1)
