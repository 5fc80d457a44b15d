"""From harvested photos to batches, with one of the top P proposals of each photo per step (paper 3.2).

In: :class:`TrainingPhotos`, which the harvest's store holds. Out: a sequence of :class:`Batch`, whose order and proposals
follow from ``(seed, epoch)`` alone, so that a resumed run needs no hidden state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dips.config import TrainConfig
from dips.errors import ConfigError, RunError
from dips.train.sampling import choose_proposal

__all__ = ["Batch", "Feed", "TrainingPhoto", "TrainingPhotos", "derive_seed"]

_Array = NDArray[Any]
_EPOCH_ORDER = 1 << 20  # stands for the step in seeds of a whole epoch


class TrainingPhoto(Protocol):
    """One photo with its proposals, best first; ``P`` differs between photos and is 0 if there is none."""

    @property
    def image(self) -> _Array:
        """``(S, S, 3) uint8``, the photo resized to ``train.resize``."""

    @property
    def maps(self) -> _Array:
        """``(P, h, w) float16``: activation of each proposal's source map on the transformer's grid, maximum 1."""

    @property
    def regions(self) -> _Array:
        """``(P, R, R) bool``: the proposal's component, whole frame, any R."""

    @property
    def boxes(self) -> _Array:
        """``(P, 4) float32``: ``x0 y0 x1 y1`` as fractions of the frame."""

    @property
    def label(self) -> int:
        """Index of the class."""


class TrainingPhotos(Protocol):
    """All photos, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> TrainingPhoto: ...


@dataclass(frozen=True)
class Batch:
    """Photos with one drawn proposal each.

    Attributes:
        images: ``(B, S, S, 3) uint8``.
        maps: ``(B, 1, h, w) float16``.
        regions: ``(B, 1, R, R) bool``.
        boxes: ``(B, 4) float32``, ``x0 y0 x1 y1`` as fractions of the frame.
        labels: ``(B,) int64``.
        has_proposal: ``(B,) bool``: whether the photo has a proposal; if not, maps, regions and boxes are zero.
    """

    images: Tensor
    maps: Tensor
    regions: Tensor
    boxes: Tensor
    labels: Tensor
    has_proposal: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


@dataclass(frozen=True)
class _DrawnPhoto:
    image: _Array
    label: int
    proposal: tuple[_Array, _Array, _Array] | None


class Feed:
    """The batches of one process.

    An epoch shows every photo once, in as few steps as ``train.batch`` allows. All batches have nearly the same size, so that
    no batch of one spoils the batch norm; several processes share each batch.

    Raises:
        RunError: there is no photo at all, or a batch has fewer photos than there are processes.
    """

    def __init__(self, items: TrainingPhotos, config: TrainConfig, *, rank: int = 0, world: int = 1) -> None:
        if len(items) == 0:
            raise RunError("there is no photo to train on; look at the data with 'dips check'")
        self.config, self.rank, self.world, self.count = config, rank, world, len(items)
        self.steps = -(-self.count // config.batch)
        if self.count // self.steps < world:
            raise RunError(
                f"{world} processes share batches of {self.count // self.steps} photos; "
                f"raise train.batch (now {config.batch}) or use fewer devices"
            )
        self._photos = _DrawnPhotos(items)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch ``number``, skipping the first ``skip``."""
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, number, _EPOCH_ORDER))
        order = torch.randperm(self.count, generator=generator)
        draws = torch.rand(self.count, generator=generator).tolist()
        plan = [
            [(int(index), draws[int(index)]) for index in part[self.rank :: self.world]]
            for part in torch.tensor_split(order, self.steps)
        ]
        loader = DataLoader(
            self._photos,
            batch_sampler=plan[skip:],
            num_workers=self.config.workers,
            collate_fn=self._collate,
            generator=generator,  # else the loader draws from the global one
        )
        return iter(loader)

    def _collate(self, photos: list[_DrawnPhoto]) -> Batch:
        side = self.config.resize
        for photo in photos:
            if photo.image.shape[:2] != (side, side):
                raise ConfigError(
                    f"the harvested photos are {photo.image.shape[1]}x{photo.image.shape[0]}, train.resize is {side}; "
                    "harvest again or set train.resize to the former"
                )
        return _collate(photos)


class _DrawnPhotos(Dataset[_DrawnPhoto]):
    """Photos by ``(index, u)``, each with the proposal that ``u`` in [0, 1) chooses."""

    def __init__(self, items: TrainingPhotos) -> None:
        self._items = items

    def __getitem__(self, key: tuple[int, float]) -> _DrawnPhoto:
        item = self._items[key[0]]
        index = choose_proposal(len(item.maps), key[1])
        proposal = None
        if index is not None:
            proposal = (np.asarray(item.maps[index]), np.asarray(item.regions[index]), np.asarray(item.boxes[index]))
        return _DrawnPhoto(np.asarray(item.image), int(item.label), proposal)


def _collate(photos: list[_DrawnPhoto]) -> Batch:
    """Stack photos into a batch; those without a proposal get zeros."""
    drawn = [photo.proposal for photo in photos if photo.proposal is not None]
    blank = tuple(np.zeros_like(part) for part in drawn[0]) if drawn else _BLANK
    full = [photo.proposal or blank for photo in photos]
    maps, regions, boxes = (np.stack([proposal[part] for proposal in full]) for part in range(3))
    return Batch(
        images=torch.from_numpy(np.stack([photo.image for photo in photos])),
        maps=torch.from_numpy(maps)[:, None],
        regions=torch.from_numpy(regions)[:, None],
        boxes=torch.from_numpy(boxes),
        labels=torch.tensor([photo.label for photo in photos]),
        has_proposal=torch.tensor([photo.proposal is not None for photo in photos]),
    )


_BLANK = (np.zeros((1, 1), np.float16), np.zeros((1, 1), np.bool_), np.zeros(4, np.float32))


def derive_seed(*numbers: int) -> int:
    """Return one 63-bit seed derived from several integers >= 0 (seed, epoch, step, rank)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
