"""What the transformer said, read back from the store photo by photo.

In: shelves that :mod:`dips.harvest.harvester` filled. Out: squares ``(S, S, 3) uint8`` and maps ``(h, w)`` with maximum 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.errors import StoreError
from dips.harvest.attention import head_maps, normalised
from dips.harvest.store import Shelf
from dips.models.keymap import KeyMap
from dips.types import FloatArray, Problem, Sample

__all__ = ["Harvest", "decode_square", "encode_square", "read_record"]

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Harvest:
    """Photos whose maps are in the store.

    Attributes:
        samples: those that could be read, in the data set's order.
        digests: their keys in the store.
        problems: photos that were skipped.
        squares: shelf of the photos as squares, ``png``.
        maps: shelf of ``attention (H, h, w) float16``, ``refined (h, w) float16`` (unless refine=none), ``cls (D) float16``.
        key_map: the fitted directions (refine=dataset).
        seconds: that the transformer's work on these photos took, whenever it was done.
    """

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    problems: tuple[Problem, ...]
    squares: Shelf
    maps: Shelf
    key_map: KeyMap | None
    seconds: float = 0.0

    def square(self, digest: str) -> _Bytes:
        """The photo as ``(S, S, 3) uint8``, S = ``train.resize``."""
        return decode_square(read_record(self.squares, digest)["png"])

    def class_tokens(self, digests: Sequence[str]) -> Tensor:
        """The transformer's class tokens, ``(N, D) float32``."""
        return torch.from_numpy(np.stack([read_record(self.maps, d)["cls"] for d in digests]).astype(np.float32))

    def mean_attention(self, digest: str) -> FloatArray:
        """The mean attention map ``(h, w)``, maximum 1."""
        attention = torch.from_numpy(read_record(self.maps, digest)["attention"].astype(np.float32))
        return np.asarray(normalised(attention.mean(0)).numpy())

    def refined(self, digest: str) -> FloatArray | None:
        """The refined map ``(h, w)``, maximum 1; None with refine=none."""
        found = read_record(self.maps, digest).get("refined")
        return None if found is None else np.asarray(normalised(torch.from_numpy(found.astype(np.float32))).numpy())

    def linear(self, digest: str) -> FloatArray | None:
        """The linear map on the keys ``(h, w)`` as it is, in [0, 1]; None unless refine=dataset."""
        return None if self.key_map is None else np.asarray(read_record(self.maps, digest)["refined"], np.float32)

    def source_maps(self, digest: str, heads: int) -> FloatArray:
        """The maps that make proposals, ``(M, h, w)`` with maximum 1: refined or mean, then single heads."""
        attention = torch.from_numpy(read_record(self.maps, digest)["attention"].astype(np.float32))
        maps = head_maps(attention[None], heads)[0]
        refined = self.refined(digest)
        if refined is not None:
            maps = torch.cat([torch.from_numpy(refined)[None], maps[1:]])
        return np.asarray(maps.numpy())


def read_record(shelf: Shelf, digest: str) -> dict[str, NDArray[Any]]:
    """The record that must be there.

    Raises:
        StoreError: it is not.
    """
    record = shelf.get(digest)
    if record is None:
        raise StoreError(f"the store {shelf.folder} lost a photo's record while it was in use; run the command again")
    return record


def encode_square(image: _Bytes) -> _Bytes:
    """``(S, S, 3) uint8`` RGB as the bytes of a PNG."""
    done, data = cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return np.asarray(data, np.uint8).reshape(-1)


def decode_square(data: _Bytes) -> _Bytes:
    """What :func:`encode_square` packed.

    Raises:
        StoreError: it is damaged.
    """
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise StoreError("a photo in the store is damaged; remove the store's 'squares' folder, and it is made again")
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
