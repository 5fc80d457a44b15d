"""What the harvest's store hands over, and how it becomes batches (paper 3.2: one of the top P proposals per step).

In: any map-style collection of :class:`TrainItem`; out: :class:`Batch` after batch, in an order and with proposals that follow
from ``(seed, epoch)`` alone, so that a resumed run needs no hidden state. Photos are not decoded again, only stacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dips.config import TrainConfig
from dips.errors import ConfigError, RunError
from dips.train.sampling import choose

__all__ = ["Batch", "Feed", "Items", "TrainItem", "derive_seed", "stack"]

_Array = NDArray[Any]
_T_co = TypeVar("_T_co", covariant=True)
_ORDER = 1 << 20  # takes the place of a step number where the seed is for a whole epoch


class TrainItem(Protocol):
    """One photo with its proposals, best first; ``P`` differs between photos and is 0 where there is none."""

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
        """``(P, 4) float32``: ``x0 y0 x1 y1`` as shares of the frame."""

    @property
    def label(self) -> int:
        """Index of the class."""


class Items(Protocol[_T_co]):
    """A map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> _T_co: ...


@dataclass(frozen=True)
class Batch:
    """Photos with one drawn proposal each.

    Attributes:
        images: ``(B, S, S, 3) uint8``.
        maps: ``(B, 1, h, w) float16``.
        regions: ``(B, 1, R, R) bool``.
        boxes: ``(B, 4) float32``, shares of the frame.
        labels: ``(B,) int64``.
        found: ``(B,) bool``: there is a proposal; the three above are zero where not.
    """

    images: Tensor
    maps: Tensor
    regions: Tensor
    boxes: Tensor
    labels: Tensor
    found: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


@dataclass(frozen=True)
class _Pick:
    image: _Array
    label: int
    proposal: tuple[_Array, _Array, _Array] | None


class Feed:
    """Batches of this rank.

    An epoch is the fewest steps that no batch exceeds ``train.batch`` with, all of nearly equal size: every photo is seen
    once, and no batch of one spoils the batch norm. The ranks share each batch.

    Raises:
        RunError: no photo at all, or a batch has fewer photos than there are processes.
    """

    def __init__(self, items: Items[TrainItem], config: TrainConfig, *, rank: int = 0, world: int = 1) -> None:
        if len(items) == 0:
            raise RunError("there is no photo to train on; look at the data with 'dips check'")
        self.config, self.rank, self.world, self.count = config, rank, world, len(items)
        self.steps = -(-self.count // config.batch)
        if self.count // self.steps < world:
            raise RunError(
                f"{world} processes share batches of {self.count // self.steps} photos; "
                f"raise train.batch (now {config.batch}) or use fewer devices"
            )
        self._picks = _Picks(items)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """Batches of epoch ``number``, without the first ``skip``."""
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, number, _ORDER))
        order = torch.randperm(self.count, generator=generator)
        draws = torch.rand(self.count, generator=generator).tolist()
        plan = [
            [(int(index), draws[int(index)]) for index in part[self.rank :: self.world]]
            for part in torch.tensor_split(order, self.steps)
        ]
        loader = DataLoader(
            self._picks,
            batch_sampler=plan[skip:],
            num_workers=self.config.workers,
            collate_fn=self._stack,
            generator=generator,  # else the loader draws from the global one
        )
        return iter(loader)

    def _stack(self, picks: list[_Pick]) -> Batch:
        side = self.config.resize
        for pick in picks:
            if pick.image.shape[:2] != (side, side):
                raise ConfigError(
                    f"the harvested photos are {pick.image.shape[1]}x{pick.image.shape[0]}, train.resize is {side}; "
                    "harvest again or set train.resize to the former"
                )
        return stack(picks)


class _Picks(Dataset[_Pick]):
    """``(photo, u)`` -> the photo with the proposal that u chooses."""

    def __init__(self, items: Items[TrainItem]) -> None:
        self._items = items

    def __getitem__(self, key: tuple[int, float]) -> _Pick:
        item = self._items[key[0]]
        index = choose(len(item.maps), key[1])
        proposal = None
        if index is not None:
            proposal = (np.asarray(item.maps[index]), np.asarray(item.regions[index]), np.asarray(item.boxes[index]))
        return _Pick(np.asarray(item.image), int(item.label), proposal)


def stack(picks: list[_Pick]) -> Batch:
    """Picks to a batch; photos without a proposal get zeros."""
    found = [pick.proposal for pick in picks if pick.proposal is not None]
    blank = tuple(np.zeros_like(part) for part in found[0]) if found else _BLANK
    full = [pick.proposal or blank for pick in picks]
    maps, regions, boxes = (np.stack([proposal[part] for proposal in full]) for part in range(3))
    return Batch(
        images=torch.from_numpy(np.stack([pick.image for pick in picks])),
        maps=torch.from_numpy(maps)[:, None],
        regions=torch.from_numpy(regions)[:, None],
        boxes=torch.from_numpy(boxes),
        labels=torch.tensor([pick.label for pick in picks]),
        found=torch.tensor([pick.proposal is not None for pick in picks]),
    )


_BLANK = (np.zeros((1, 1), np.float16), np.zeros((1, 1), np.bool_), np.zeros(4, np.float32))


def derive_seed(*numbers: int) -> int:
    """One 63-bit seed from several whole numbers >= 0 (seed, epoch, step, rank)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
