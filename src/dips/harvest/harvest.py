"""Read access to what the harvest stored, photo by photo: squares, attention, refined maps.

In: shelves that :mod:`dips.harvest.harvester` filled. Out: squares ``(S, S, 3) uint8`` and maps ``(h, w)`` with maximum 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dips.data.images import ByteImage
from dips.harvest.attention import head_maps, normalised, upsampled
from dips.harvest.squares import read_square
from dips.harvest.store import Shelf
from dips.types import FloatArray, Problem, Sample

__all__ = ["Harvest"]


@dataclass(frozen=True)
class Harvest:
    """The photos of a data set whose maps are in the store.

    Attributes:
        samples: those that could be read, in the data set's order.
        digests: their keys in the store.
        problems: photos that were skipped.
        squares: shelf of the photos as squares, ``png``.
        maps: shelf of ``attention (H, h, w) float16``, ``refined (h, w) float16`` (unless refine=none), ``cls (D) float16``.
        seconds: time that the networks took for these photos, whenever they ran.
    """

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    problems: tuple[Problem, ...]
    squares: Shelf
    maps: Shelf
    seconds: float = 0.0

    def square(self, digest: str) -> ByteImage:
        """Return the photo as ``(S, S, 3) uint8`` RGB, S = ``train.resize``."""
        return read_square(self.squares, digest)

    def class_tokens(self, digests: Sequence[str]) -> Tensor:
        """Return the transformer's class tokens ``(N, D) float32``."""
        return torch.from_numpy(np.stack([self.maps.require(d)["cls"] for d in digests]).astype(np.float32))

    def mean_attention(self, digest: str) -> FloatArray:
        """Return the mean attention map ``(h, w)``, maximum 1."""
        attention = torch.from_numpy(self.maps.require(digest)["attention"].astype(np.float32))
        return np.asarray(normalised(attention.mean(0)).numpy())

    def refined(self, digest: str) -> FloatArray | None:
        """Return the refined map ``(h, w)``, maximum 1; None with refine=none."""
        stored = self.maps.require(digest).get("refined")
        return None if stored is None else np.asarray(normalised(torch.from_numpy(stored.astype(np.float32))).numpy())

    def source_maps(self, digest: str, heads: int) -> FloatArray:
        """Return the maps from which proposals are made, ``(M, h, w)`` with maximum 1: refined or mean, then single heads."""
        attention = torch.from_numpy(self.maps.require(digest)["attention"].astype(np.float32))
        refined = self.refined(digest)
        if refined is None:
            return np.asarray(head_maps(attention[None], heads)[0].numpy())
        rows, columns = refined.shape  # finer than the attention's grid if CNN stages contribute to it
        maps = head_maps(upsampled(attention[None], (rows, columns)), heads)[0]
        return np.asarray(torch.cat([torch.from_numpy(refined)[None], maps[1:]]).numpy())
