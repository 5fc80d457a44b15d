"""LOST (Siméoni et al., BMVC 2021, section 3.2): the object is what resembles a seed patch that resembles few others.

In: keys of the frozen transformer's last block. Out: score maps on its patches. Nothing is learned.
"""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.frozen import FrozenMethod, centred

__all__ = ["Lost", "correlation", "expanded_seed", "seed_component"]

SIZE = 448
"""Side in pixels of the transformer's input. The paper keeps each photo's own size, with patches of 16."""

SEED_PATCHES = 100
"""Number of lowest-degree patches among which the seed is expanded: the paper's k."""


def expanded_seed(gram: Tensor, k: int) -> Tensor:
    """Return the patches that are assumed to be the object, the seed first.

    Objects are smaller than their surroundings, so the seed is the patch that is positively correlated with the fewest others.
    It is expanded by those of the ``k`` patches of lowest degree that are positively correlated with it.

    Args:
        gram: ``(N, N)``, inner products of the patches' keys.

    Returns:
        ``(S,)`` indices of patches, ``1 <= S <= k``.

    >>> keys = torch.tensor([[1.0, 0.1], [1.0, 0.1], [0.0, 1.0], [-1.0, -1.0]])
    >>> expanded_seed(keys @ keys.T, 2).tolist()  # the last patch resembles none but itself
    [3]
    """
    positive = gram > 0
    lowest = positive.sum(1).argsort(stable=True)[:k]
    seed, others = lowest[:1], lowest[1:]
    return torch.cat([seed, others[positive[seed[0], others]]])


def correlation(keys: Tensor, k: int) -> tuple[Tensor, int]:
    """Return how every patch correlates with the expanded seed, and the seed.

    Args:
        keys: ``(h, w, D)``, not normalised.
        k: see :func:`expanded_seed`.

    Returns:
        ``(h, w)``, inner products with the sum of the expanded seed's keys, and the seed as a flat index. The value at the
        seed is positive unless its key is zero.

    >>> values, seed = correlation(torch.tensor([[[1.0], [2.0], [-3.0]]]), 1)
    >>> values.tolist(), seed
    ([[-3.0, -6.0, 9.0]], 2)
    """
    flat = keys.float().flatten(0, 1)
    chosen = expanded_seed(flat @ flat.T, k)
    return (flat @ flat[chosen].sum(0)).unflatten(0, keys.shape[:2]), int(chosen[0])


def seed_component(values: Tensor, seed: int) -> Tensor:
    """Return ``values`` ``(h, w)`` on the 4-connected component above 0 around the seed, a flat index, and 0 elsewhere.

    >>> seed_component(torch.tensor([[1.0, 2.0, -1.0, 3.0]]), 0).tolist()
    [[1.0, 2.0, 0.0, 0.0]]
    """
    labels = torch.from_numpy(ndimage.label((values > 0).cpu().numpy())[0]).to(values.device)
    return torch.where(labels == labels.flatten()[seed], values, 0).clamp(min=0)


class Lost(FrozenMethod):
    """The map whose component above 0 around the seed defines the paper's box."""

    name = "lost"
    title = "LOST"
    paper = "Siméoni et al., BMVC 2021"
    caveat = "the mean of a photo's keys is subtracted, without which it fails on this transformer"
    side = SIZE

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1], maximum 1: correlation with the expanded seed, on the seed's component."""
        keys = centred(self.transformer(images, SIZE).keys)
        return normalise.max_norm(torch.stack([seed_component(*correlation(item, SEED_PATCHES)) for item in keys]))
