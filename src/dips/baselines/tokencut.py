"""TokenCut (Wang et al., CVPR 2022, section 3): a normalised cut of the graph whose nodes are patches.

In: keys of the frozen transformer's last block. Out: score maps on its patches. Nothing is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.frozen import FrozenMethod, centred
from dips.baselines.lost import seed_component
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.data.split import spread
from dips.models.linear_map import unit_keys

__all__ = ["TokenCut", "edges", "foreground", "second_eigenvector"]

SIZES = (224, 448)
"""Sides in pixels of the transformer's input that are tried on validation. The paper leaves photos as large as they are."""

TAU = 0.2
"""Cosine above which two patches are connected: the paper's value."""

TAUS = (TAU, 0.4)
"""Values tried on validation, at each size and with each way of centring."""

CENTRINGS = ("data set", "photo", "nothing")
"""Mean key that is subtracted from every key: that of training photos, the photo's own, or none as in the paper. A network
whose keys share a large constant (see :func:`~dips.baselines.frozen.centred`) needs one of the first two. Without validation
boxes, the first is used."""

MEAN_PHOTOS = 32
"""Number of training photos, evenly spread, used for the data set's mean key; each has hundreds of patches."""

EPS = 1e-5
"""Weight of the other edges: the paper's value."""

Array = NDArray[np.float64]

_WAYS = tuple(product(CENTRINGS, TAUS))


def edges(keys: Tensor, tau: float, eps: float) -> Array:
    """Return edge weights ``(N, N)`` between patches with keys ``(N, D)``: 1 where their cosine exceeds ``tau``, else ``eps``.

    >>> edges(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), 0.2, 1e-5).tolist()
    [[1.0, 1e-05], [1e-05, 1.0]]
    """
    unit = unit_keys(keys)
    return np.where((unit @ unit.T > tau).cpu().numpy(), 1.0, eps)


def second_eigenvector(weights: Array) -> Array:
    """Return the relaxed cut ``(N,)`` of a graph with edge weights ``(N, N)``; its sign is arbitrary.

    It is the ``x`` for the second smallest ``l`` with ``(D - E) x = l D x``, where ``D`` holds the row sums of ``E``.

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

    The paper cuts at the mean and picks the side of the largest absolute value. That value is the maximum or the minimum, so
    its sign determines the side.

    >>> foreground(np.array([0.1, 0.2, -0.9])).tolist()
    [-0.1, -0.2, 0.9]
    """
    return vector if vector[np.abs(vector).argmax()] > 0 else -vector


class TokenCut(FrozenMethod):
    """The eigenvector that the paper cuts, as a graded map.

    Attributes:
        side: one of :data:`SIZES`; centring: one of :data:`CENTRINGS`; tau: see :func:`edges`. :meth:`train` chooses all three.
            Before that, they need no training photos.
        mean: ``(D,)``, the mean key of training photos at that size.
    """

    name = "tokencut"
    title = "TokenCut"
    paper = "Wang et al., CVPR 2022"
    side = SIZES[0]
    caveat = (
        "the size of photos, how keys are centred, and tau are chosen on the boxes of validation; the paper leaves photos and "
        "keys as they are, and has tau 0.2."
    )
    centring = "photo"
    tau = TAU
    mean: Tensor | None = None

    def train(self, study: Study) -> Fit:
        """Choose size, centring and tau by MaxBoxAccV2 on validation; no weights are trained."""
        means = {size: self._mean_key(study, size) for size in SIZES}
        scores: list[float] = []
        for size, mean in means.items():
            scores += score_candidates(study, partial(self._each_way, mean=mean), size)
        options = list(product(SIZES, _WAYS))
        self.side, (self.centring, self.tau) = options[best_of(scores)]
        self.mean = means[self.side]
        curve = tuple(
            {"size": size, "centring": float(CENTRINGS.index(centring)), "tau": tau, "v2": score}
            for (size, (centring, tau)), score in zip(options, scores, strict=False)
        )
        words = f"{self.side} px, centring: {self.centring}, tau {self.tau:g}"
        return Fit(chosen=f"{words}{chosen_by(scores)}", curve=curve)

    def _each_way(self, images: Tensor, labels: Tensor, *, mean: Tensor) -> list[Tensor]:
        keys = self.transformer(images, images.shape[-1]).keys
        return [_cut(_subtracted(keys, centring, mean), tau) for centring, tau in _WAYS]

    def _mean_key(self, study: Study, size: int) -> Tensor:
        positions = spread(range(len(study.train)), MEAN_PHOTOS)
        total = torch.zeros((), device=study.device)
        for position in positions:
            images, _ = study.train.batch([position], size, study.device)
            total = total + self.transformer(images, size).keys.float().mean((0, 1, 2))
        return total / len(positions)

    def state(self) -> dict[str, Tensor]:
        """Return the chosen size, centring and tau, and the mean key; empty before :meth:`train`."""
        if self.mean is None:
            return {}
        chosen = [SIZES.index(self.side), CENTRINGS.index(self.centring), TAUS.index(self.tau)]
        return {"chosen": torch.tensor(chosen), "mean": self.mean.cpu()}

    def load(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Load the chosen size, centring and tau, and the mean key."""
        size, centring, tau = state["chosen"].tolist()
        self.side, self.centring, self.tau = SIZES[size], CENTRINGS[centring], TAUS[tau]
        self.mean = state["mean"].to(study.device)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1], maximum 1: second eigenvectors above their mean (the paper's cut), within
        the component of the largest value (the paper's box)."""
        return _cut(_subtracted(self.transformer(images, self.side).keys, self.centring, self.mean), self.tau)


def _subtracted(keys: Tensor, centring: str, mean: Tensor | None) -> Tensor:
    """Return keys ``(B, h, w, D)`` minus what ``centring`` names; ``mean`` is that of the data set."""
    if centring == "photo":
        return centred(keys)
    if centring == "nothing":
        return keys
    assert mean is not None
    return keys - mean


def _cut(keys: Tensor, tau: float) -> Tensor:
    """Return the maps ``(B, h, w)`` of keys ``(B, h, w, D)``; see :meth:`TokenCut.maps`."""
    graphs = (edges(item.flatten(0, 1), tau, EPS) for item in keys)
    vectors = np.stack([foreground(second_eigenvector(graph)) for graph in graphs])
    above = torch.from_numpy(vectors - vectors.mean(1, keepdims=True)).float().unflatten(1, keys.shape[1:3])
    parts = [seed_component(item, int(item.argmax())) for item in above]
    return normalise.max_norm(torch.stack(parts).to(keys.device))
