"""Better maps from the last block's keys, without boxes and at no extra pass (``harvest.refine``).

``image``: the keys of a photo's most attended patches against those of its least attended ones, by cosine, once repeated.
``dataset``: one linear classifier on the keys of many photos, fitted to each map's top against its bottom, its logits as the
new maps, a few rounds; every patch of a background class's photo counts as background.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.models.keymap import unit_keys

__all__ = ["fit_direction", "refine_image"]

_IMAGE_TOP, _IMAGE_BOTTOM = 0.05, 0.5  # fractions of a photo's patches that count as object and as background
_TOP, _BOTTOM = 0.1, 0.4  # the same where one map is fitted on many photos
# strong where background is a guess: close to the difference of the means, which generalises best (docs/results.md)
_PENALTY = 100.0
_GAP = 4.0  # mean logits of foreground and background lie at least so far apart
_EXCESS = 10.0  # certain background outweighs likely foreground: each round the maps draw in (docs/results.md)
_MAX_PATCHES = 60_000


def refine_image(attention: Tensor, keys: Tensor, *, repeats: int = 2) -> Tensor:
    """Refine maps photo by photo: cosine of every patch's key with (mean key of the top 5% - mean key of the bottom half).

    Args:
        attention: ``(B, h, w)`` mean attention, any scale.
        keys: ``(B, h, w, D)``.
        repeats: how often; from the second time on, the last map stands in for the attention.

    Returns:
        ``(B, h, w)`` in [0, 1]; what points away from the object is 0.

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


def fit_direction(
    attention: NDArray[np.float32], keys: NDArray[np.float16], empty: NDArray[np.bool_], *, rounds: int, seed: int = 0
) -> tuple[NDArray[np.float32], float]:
    """Fit the linear map of ``refine=dataset`` at one input size.

    Args:
        attention: ``(N, h, w)`` mean attention of the photos that it is fitted on.
        keys: ``(N, h, w, D)``, L2-normalised.
        empty: ``(N,)``: photos of the background class; all their patches are background.
        rounds: how often it is fitted; each time the last maps give the labels.
        seed: of the draw that keeps the number of patches bounded.

    Returns:
        Weight ``(D,)`` and bias; ``keys @ weight + bias`` is a logit.
    """
    from sklearn.linear_model import LogisticRegression

    photos, height, width, dim = keys.shape
    patches = height * width
    flat = keys.reshape(photos, patches, dim)
    maps = attention.reshape(photos, patches).astype(np.float32)
    shown = np.flatnonzero(~empty)
    top, bottom = max(1, round(_TOP * patches)), max(1, round(_BOTTOM * patches))
    each = max(1, min(top, _MAX_PATCHES // (2 * len(shown))))
    rng = np.random.default_rng(seed)
    blank = np.flatnonzero(empty)
    few = min(patches, _MAX_PATCHES // max(1, len(blank)))
    none = [(i, rng.choice(patches, max(1, few), replace=False)) for i in blank]
    weight, bias = np.zeros(dim, np.float32), 0.0
    for _ in range(rounds):
        order = np.argsort(maps, axis=1, kind="stable")
        high = [(i, rng.choice(order[i, -top:], each, replace=False)) for i in shown]
        # photos without object are known to be background, the bottom of the others is only likely to be
        low = none or [(i, rng.choice(order[i, :bottom], min(each, bottom), replace=False)) for i in shown]
        x = np.concatenate([flat[i, chosen] for i, chosen in high + low]).astype(np.float32)
        positive = sum(len(chosen) for _, chosen in high)
        y = np.zeros(len(x), np.int64)
        y[:positive] = 1
        excess = _EXCESS if none else 1.0
        weights = {0: 1.0, 1: (len(x) - positive) / (excess * positive)}
        model = LogisticRegression(C=1.0 if none else 1 / _PENALTY, max_iter=500, class_weight=weights).fit(x, y)
        weight, bias = model.coef_[0].astype(np.float32), float(model.intercept_[0])
        for i in shown:  # photo by photo: a float32 copy of all keys would be the largest thing in memory
            maps[i] = flat[i].astype(np.float32) @ weight + bias
    # the penalty, which weighs more the fewer photos there are, is meant for the direction: maps of a tenth of the range
    # would hardly survive their division by the maximum
    gap = float((x[:positive] @ weight).mean() - (x[positive:] @ weight).mean())
    stretch = _GAP / gap if 1e-6 < gap < _GAP else 1.0
    return weight * np.float32(stretch), bias * stretch
