"""Photos as squares, decoded once, for methods that see them many times.

In: samples and a store. Out: :class:`Photos`, with batches ``(B, 3, S, S)`` in [0, 1] of whole photos or of random crops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dips.data.depth import Depth
from dips.data.images import ByteImage, resize_image
from dips.data.tiling import read_sample
from dips.harvest.squares import SquareReader, read_square
from dips.harvest.store import Shelf, Store
from dips.models.inputs import resize_to, to_tensor
from dips.train.crops import draw_crops
from dips.types import Problem, Sample

__all__ = ["SQUARE_SIDE", "Photos", "store_photos"]

SQUARE_SIDE = 256
"""Side of the stored squares; crops of 224 are taken from them, as in the WSOL benchmark (Choe et al. 2020, appendix)."""

_GROUP_SIZE = 64
_BATCH = 32  # photos answered at once


@dataclass(frozen=True)
class Photos:
    """Labelled photos whose squares are in the store.

    Attributes:
        samples: photos in the data set's order; all have a label.
        digests: their keys in the store.
        shelf: squares ``(SQUARE_SIDE, SQUARE_SIDE, 3) uint8``.
        depth: how values of more than 8 bits are reduced to 8.
    """

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    shelf: Shelf
    depth: Depth = field(default_factory=Depth)

    def __len__(self) -> int:
        return len(self.samples)

    def label(self, position: int) -> int:
        """Return the class of a photo."""
        label = self.samples[position].label
        assert label is not None  # photos without a class have been left out before
        return label

    def square(self, position: int) -> ByteImage:
        """Return a photo as RGB ``(SQUARE_SIDE, SQUARE_SIDE, 3) uint8``."""
        return read_square(self.shelf, self.digests[position])

    def batch(self, positions: Sequence[int], side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return whole photos ``(B, 3, side, side)`` in [0, 1] and their labels ``(B,)``, on ``device``.

        Photos larger than the stored squares are read from their files, so that they are as sharp as those that are measured.

        Raises:
            ImageError: a file can no longer be read.
        """
        if side <= SQUARE_SIDE:
            images, labels = self._stacked(positions, device)
            return resize_to(images, side), labels
        photos = (read_sample(self.samples[i], max_side=side, depth=self.depth) for i in positions)
        return to_tensor([resize_image(photo, (side, side)) for photo in photos], device), self._labels(positions, device)

    def crops(
        self, positions: Sequence[int], side: int, device: torch.device, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return random crops of photos, half of them mirrored, ``(B, 3, side, side)`` in [0, 1], and their labels ``(B,)``.

        Args:
            positions: indices into ``samples``.
            side: side of the crops in pixels of the squares, at most :data:`SQUARE_SIDE`.
            device: device that the crops are computed on.
            generator: CPU generator for the random crops.
        """
        images, labels = self._stacked(positions, device)
        crops = draw_crops(len(positions), SQUARE_SIDE, side, True, generator).to(device).apply_to(images)
        # in the memory format of the CNNs' weights: a step on a CPU takes a fifth less time
        return crops.contiguous(memory_format=torch.channels_last), labels

    @torch.no_grad()
    def answers(self, answer: Callable[[Tensor], Tensor], side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the results of ``answer`` for all photos, and their labels ``(N,)``.

        Args:
            answer: maps a batch of whole photos ``(B, 3, side, side)`` in [0, 1] to a tensor with as many rows.
            side: side of the photos in pixels.
            device: where to compute.
        """
        parts = []
        for start in range(0, len(self), _BATCH):
            images, labels = self.batch(range(start, min(start + _BATCH, len(self))), side, device)
            parts.append((answer(images), labels))
        made, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        return made, labels

    def _stacked(self, positions: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        return to_tensor([self.square(i) for i in positions], device), self._labels(positions, device)

    def _labels(self, positions: Sequence[int], device: torch.device) -> Tensor:
        return torch.tensor([self.label(i) for i in positions], device=device)


def store_photos(samples: Sequence[Sample], store: Store, depth: Depth | None = None) -> tuple[Photos, list[Problem]]:
    """Store the squares of photos that are not stored yet; return the readable photos, and a problem for each of the others."""
    reader = SquareReader(samples, store, SQUARE_SIDE, depth=depth)
    reader.fill(batch=_GROUP_SIZE)
    readable, digests, problems = reader.readable()
    assert reader.squares is not None
    return Photos(readable, digests, reader.squares, reader.depth), list(problems)
