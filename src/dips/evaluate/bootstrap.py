"""Bootstrap intervals over photos, computed in a single pass.

In: for each photo, the points of the curves at which it is right. Out: percentages in many resamples of the photos. A resample
draws each photo a Poisson(1) number of times, which for many photos equals the ordinary bootstrap, needs no list of photos, and
can be merged: the draws depend on the photo's id alone, so order and number of processes make no difference.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from dips.errors import ProtocolError

__all__ = ["Bootstrap", "interval"]

_BUFFER = 64  # photos counted together in one matrix product


class Bootstrap:
    """Weighted counts of curves ``(C, T)`` in ``replicates`` resamples.

    >>> bootstrap = Bootstrap(100, (1, 2))
    >>> for number in range(50):
    ...     bootstrap.add(np.array([[True, False]]), f"{number}.jpg")
    >>> bootstrap.percent()[:, 0].mean(axis=0).tolist()
    [100.0, 0.0]
    """

    def __init__(self, replicates: int, shape: tuple[int, int], *, seed: int = 0) -> None:
        self.replicates, self._shape, self._seed = replicates, shape, seed
        # differences between consecutive counts; integers, exact up to 16 million
        self._steps = np.zeros((replicates, shape[0] * shape[1]), np.float32)
        self._totals = np.zeros(replicates, np.int64)
        self._hits: list[NDArray[np.bool_]] = []
        self._weights: list[NDArray[np.int64]] = []

    def add(self, hits: NDArray[np.bool_], id: str) -> None:
        """Count one photo, right or wrong at each point of the curves; its draws are derived from ``id``."""
        digest = hashlib.blake2b(f"{self._seed}\n{id}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
        self._weights.append(np.random.default_rng(int.from_bytes(digest, "little")).poisson(1, self.replicates))
        self._hits.append(hits.reshape(-1))
        if len(self._hits) == _BUFFER:
            self._flush()

    def merge(self, other: Bootstrap) -> None:
        """Add the counts of another bootstrap.

        Raises:
            ProtocolError: the other has different curves, replicates or seed.
        """
        if (self._shape, self.replicates, self._seed) != (other._shape, other.replicates, other._seed):
            raise ProtocolError("bootstraps merge only if curves, replicates and seeds are the same")
        other._flush()
        self._steps = self._steps + other._steps
        self._totals = self._totals + other._totals

    def percent(self) -> NDArray[np.float32]:
        """Return percentages ``(replicates, C, T)``; NaN in a resample without any photo."""
        self._flush()
        with np.errstate(invalid="ignore"):
            percent = np.float32(100) * self._steps.cumsum(axis=1) / self._totals[:, None].astype(np.float32)
        return np.asarray(percent.reshape(self.replicates, *self._shape), np.float32)

    def _flush(self) -> None:
        if self._hits:
            weights = np.stack(self._weights)
            steps = np.diff(np.stack(self._hits).astype(np.int8), axis=1, prepend=np.int8(0))
            columns = np.flatnonzero(steps.any(axis=0))  # few: maps have 256 levels
            self._steps[:, columns] += weights.T.astype(np.float32) @ steps[:, columns].astype(np.float32)
            self._totals += weights.sum(axis=0)
            self._hits, self._weights = [], []


def interval(values: NDArray[np.floating], level: float = 95) -> list[float]:
    """Return the bounds ``[low, high]`` of the middle ``level`` percent of resampled values."""
    tail = (100 - level) / 2
    return [float(bound) for bound in np.nanpercentile(values, [tail, 100 - tail])]
