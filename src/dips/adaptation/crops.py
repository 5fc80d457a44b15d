"""Multi-crop (Caron et al., 3.1; SwAV): two large crops of a photo and several small ones, each with different colours.

In: photos ``(3, H, W) uint8``. Out: batches of crops, ``uint8`` in [0, 255]. Random draws depend only on the seed and the
photo's position in the run, whichever process makes the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dips.config import AdaptConfig
from dips.models.inputs import whole_patches
from dips.train.batches import derive_seed

__all__ = ["Crops", "Feed", "Photos", "crop_sides"]

SMALLEST = 0.05
"""Smallest fraction of the photo's area that a local crop shows, as in the paper."""

_JITTER = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue: DINO's at adapt.colour = 1
_JITTER_CHANCE, _GREY_CHANCE, _SOLARISE_CHANCE = 0.8, 0.2, 0.2
_SIGMAS = (0.1, 2.0)
_ORDER = 1 << 20  # distinguishes the seed of the order of photos from the seeds of single photos

Crops = tuple[Tensor, Tensor]
"""Global crops ``(2, B, 3, S, S)`` and local ones ``(L, B, 3, s, s)``, ``uint8``."""


class Photos(Protocol):
    """Photos by index, ``(3, H, W) uint8`` RGB each."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


def crop_sides(config: AdaptConfig, patch: int) -> tuple[int, int]:
    """Return the sides of global and local crops in pixels, rounded to whole patches.

    >>> crop_sides(AdaptConfig(), 14), crop_sides(AdaptConfig(), 16)
    ((224, 98), (224, 96))
    """
    return whole_patches(config.global_side, patch), whole_patches(config.local_side, patch)


class Feed:
    """The crops of one process.

    Each pass visits the photos in a new random order; a step takes the next ``adapt.batch`` of them, split among processes.
    """

    def __init__(self, photos: Photos, config: AdaptConfig, patch: int, *, rank: int = 0, world: int = 1) -> None:
        self._drawn, self._config = _Drawn(photos, config, patch), config
        self._rank, self._world = rank, world

    def steps(self, start: int, end: int) -> Iterator[Crops]:
        """Yield the crops of the steps from ``start`` up to but excluding ``end``."""
        batch = self._config.batch
        plan = [list(range(step * batch, (step + 1) * batch))[self._rank :: self._world] for step in range(start, end)]
        loader = DataLoader(
            self._drawn,
            batch_sampler=plan,
            num_workers=self._config.workers,
            collate_fn=_collate,
            generator=torch.Generator().manual_seed(0),  # otherwise the loader draws from the global generator
        )
        return iter(loader)


class _Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Crops by position in the endless sequence of photos."""

    def __init__(self, photos: Photos, config: AdaptConfig, patch: int) -> None:
        self._photos, self._seed, self._count = photos, config.seed, config.local_crops
        self._pass, self._order = -1, torch.empty(0)
        sides = crop_sides(config, patch)
        whole, part = (config.scale, 1.0), (SMALLEST, config.scale)
        self._first = _augmentation(sides[0], whole, config.colour, blur=1.0, solarise=0.0)
        self._second = _augmentation(sides[0], whole, config.colour, blur=0.1, solarise=_SOLARISE_CHANCE)
        self._local = _augmentation(sides[1], part, config.colour, blur=0.5, solarise=0.0)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        photo = self._photos[self._index(position)]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.manual_seed(derive_seed(self._seed, position))
            large = torch.stack([self._first(photo), self._second(photo)])
            small = [self._local(photo) for _ in range(self._count)]
        return large, torch.stack(small) if small else large[:0]

    def _index(self, position: int) -> int:
        number, place = divmod(position, len(self._photos))
        if number != self._pass:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, number, _ORDER))
            self._pass, self._order = number, torch.randperm(len(self._photos), generator=generator)
        return int(self._order[place])


def _augmentation(
    side: int, scale: tuple[float, float], colour: float, *, blur: float, solarise: float
) -> Callable[[Tensor], Tensor]:
    """Return a function that makes a crop ``(3, side, side)`` of a photo; ``blur`` and ``solarise`` are probabilities."""
    jitter = v2.ColorJitter(*(strength * colour for strength in _JITTER))
    kernel = side // 20 * 2 + 1  # a tenth of the side, as in SimCLR, and odd
    steps: list[Any] = [
        v2.RandomResizedCrop(side, scale=scale, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([jitter], _JITTER_CHANCE),
        v2.RandomGrayscale(_GREY_CHANCE * min(1.0, colour)),
        v2.RandomApply([v2.GaussianBlur(kernel, _SIGMAS)], blur),
        v2.RandomSolarize(128, solarise * min(1.0, colour)),
    ]
    made: Callable[[Tensor], Tensor] = v2.Compose(steps)
    return made


def _collate(crops: Sequence[tuple[Tensor, Tensor]]) -> Crops:
    large, small = zip(*crops, strict=True)
    return torch.stack(large, 1), torch.stack(small, 1)
