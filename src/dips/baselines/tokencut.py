"""TokenCut (Wang et al., CVPR 2022, section 3): a normalised cut of the graph whose nodes are patches.

In: keys of the frozen transformer's last block. Out: score maps on its patches. Nothing is learned.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.frozen import FrozenMethod, centred
from dips.baselines.lost import seed_component
from dips.models.linear_map import unit_keys

__all__ = ["TokenCut", "edges", "foreground", "second_eigenvector"]

SIZE = 448
"""Side in pixels that the transformer sees."""

TAU = 0.2
"""Cosine above which two patches are joined: the paper's."""

EPS = 1e-5
"""Weight of the other edges: the paper's."""

Array = NDArray[np.float64]


def edges(keys: Tensor, tau: float, eps: float) -> Array:
    """Return edge weights ``(N, N)`` between patches with keys ``(N, D)``: 1 where their cosine exceeds ``tau``, else ``eps``.

    >>> edges(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), 0.2, 1e-5).tolist()
    [[1.0, 1e-05], [1e-05, 1.0]]
    """
    unit = unit_keys(keys)
    return np.where((unit @ unit.T > tau).cpu().numpy(), 1.0, eps)


def second_eigenvector(weights: Array) -> Array:
    """Return the relaxed cut ``(N,)`` of a graph with edge weights ``(N, N)``; its sign is arbitrary.

    It is the ``x`` of the second smallest ``l`` with ``(D - E) x = l D x``, where ``D`` are the row sums of ``E``.

    >>> cut = second_eigenvector(np.array([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1], [0.1, 0.1, 1.0]]))
    >>> (np.sign(cut) * np.sign(cut[0])).tolist()
    [1.0, 1.0, -1.0]
    """
    root = weights.sum(1) ** -0.5
    # x = D^-1/2 y turns it into an ordinary symmetric problem, which takes less than half the time
    symmetric = np.eye(len(weights)) - root[:, None] * weights * root
    _, vectors = eigh(symmetric, subset_by_index=[1, 1])
    return np.asarray(root * vectors[:, 0])


def foreground(vector: Array) -> Array:
    """Return ``vector`` ``(N,)`` or its negative, so that the foreground is high.

    The paper cuts at the mean and takes the side of the largest absolute value. That value is the maximum or the minimum, so
    the side is that of its sign.

    >>> foreground(np.array([0.1, 0.2, -0.9])).tolist()
    [-0.1, -0.2, 0.9]
    """
    return vector if vector[np.abs(vector).argmax()] > 0 else -vector


class TokenCut(FrozenMethod):
    """The eigenvector that is cut, as a graded map."""

    name = "tokencut"
    title = "TokenCut"
    paper = "Wang et al., CVPR 2022"
    side = SIZE

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1], maximum 1: second eigenvectors above their mean, where the paper cuts, on
        the component of the largest value, which the paper boxes."""
        keys = centred(self.transformer(images, SIZE).keys)
        graphs = (edges(item.flatten(0, 1), TAU, EPS) for item in keys)
        vectors = np.stack([foreground(second_eigenvector(graph)) for graph in graphs])
        above = torch.from_numpy(vectors - vectors.mean(1, keepdims=True)).float().unflatten(1, keys.shape[1:3])
        parts = [seed_component(item, int(item.argmax())) for item in above]
        return normalise.max_norm(torch.stack(parts).to(keys.device))
