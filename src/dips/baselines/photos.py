"""Photos as squares, decoded once, for methods that see them many times.

In: samples and a store. Out: :class:`Photos`, with batches ``(B, 3, S, S)`` in [0, 1] of whole photos or of random crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dips.data.images import ByteImage, read_image, resize_image
from dips.errors import ImageError
from dips.harvest.harvest import decode_square, encode_square, read_record
from dips.harvest.store import Shelf, Store
from dips.models.keymap import resize_to
from dips.system.console import log, track
from dips.train.crops import draw_crops
from dips.types import Problem, Sample

__all__ = ["RESIZE", "Photos", "store_photos"]

RESIZE = 256
"""Side of the stored squares; crops of 224 are taken from them, as the WSOL benchmark does (Choe et al. 2020, appendix)."""

_GROUP = 64


@dataclass(frozen=True)
class Photos:
    """Labelled photos whose squares are in the store.

    Attributes:
        samples: photos in the data set's order; all have a label.
        digests: their keys in the store.
        shelf: squares ``(RESIZE, RESIZE, 3) uint8``.
    """

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    shelf: Shelf

    def __len__(self) -> int:
        return len(self.samples)

    def label(self, position: int) -> int:
        """Return the class of a photo."""
        label = self.samples[position].label
        assert label is not None  # photos without a class are left out before
        return label

    def square(self, position: int) -> ByteImage:
        """The photo as ``(RESIZE, RESIZE, 3) uint8``."""
        return decode_square(read_record(self.shelf, self.digests[position])["png"])

    def batch(self, positions: Sequence[int], side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return whole photos ``(B, 3, side, side)`` in [0, 1] and their labels ``(B,)``, on ``device``."""
        images, labels = self._stacked(positions, device)
        return resize_to(images, side), labels

    def crops(
        self, positions: Sequence[int], side: int, device: torch.device, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return random crops of photos, half of them mirrored, ``(B, 3, side, side)`` in [0, 1], and their labels ``(B,)``.

        Args:
            positions: which photos, indices of ``samples``.
            side: of the crops in pixels of the squares, at most :data:`RESIZE`.
            device: device that the crops are made on.
            generator: CPU generator that they are drawn with.
        """
        images, labels = self._stacked(positions, device)
        return draw_crops(len(positions), RESIZE, side, True, generator).to(device).apply_to(images), labels

    def _stacked(self, positions: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        squares = torch.from_numpy(np.stack([self.square(i) for i in positions])).to(device)
        labels = torch.tensor([self.label(i) for i in positions], device=device)
        return squares.permute(0, 3, 1, 2).float() / 255, labels


def store_photos(samples: Sequence[Sample], store: Store) -> tuple[Photos, list[Problem]]:
    """Read photos into the store, if they are not there; those that cannot be read are reported and left out."""
    shelf = store.shelf("squares", {"side": RESIZE})
    kept: list[tuple[Sample, str]] = []
    problems: list[Problem] = []
    found = store.digests(sample.path for sample in track(samples, "looking at files", len(samples)))
    for sample, digest in zip(samples, found, strict=True):
        if isinstance(digest, str):
            kept.append((sample, digest))
        else:
            problems.append(Problem(sample.path, f"cannot be read: {digest.strerror or digest}"))
            log(f"skipped: {sample.path} cannot be read: {digest.strerror or digest}")
    paths = {digest: sample.path for sample, digest in kept}
    bad: dict[str, str] = {}

    def read(digest: str) -> None:
        try:
            photo = read_image(paths[digest], max_side=RESIZE)
        except ImageError as error:
            bad[digest] = str(error)
            log(f"skipped: {error}")
            return
        pngs[digest] = {"png": encode_square(resize_image(photo, (RESIZE, RESIZE)))}

    missing = shelf.missing(paths)
    with ThreadPoolExecutor(4) as pool:
        for start in track(range(0, len(missing), _GROUP), "photos", -(-len(missing) // _GROUP)):
            pngs: dict[str, dict[str, ByteImage]] = {}
            list(pool.map(read, missing[start : start + _GROUP]))
            shelf.put(pngs)
    problems += [Problem(sample.path, bad[digest]) for sample, digest in kept if digest in bad]
    good = [(sample, digest) for sample, digest in kept if digest not in bad]
    return Photos(tuple(s for s, _ in good), tuple(d for _, d in good), shelf), problems
