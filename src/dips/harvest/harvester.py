"""Maps of all photos of a data set, for training a U-Net: each photo passes through the networks once (paper 3.1).

In: a data set, the frozen networks and a store. Out: :class:`~dips.harvest.harvest.Harvest`. What is already in the store is
not computed again, and a harvest that was killed continues where it stopped. Memory does not grow with the number of photos,
except for their names.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.data.depth import Depth
from dips.data.images import ByteImage
from dips.errors import DataError, StoreError
from dips.harvest.attention import join_attention, mirror_average, upsampled
from dips.harvest.harvest import Harvest
from dips.harvest.refine import refine_image
from dips.harvest.squares import SquareReader
from dips.harvest.store import Shelf, Store
from dips.models.backbones import Features
from dips.models.frozen import FrozenNetworks, Look
from dips.models.inputs import to_tensor
from dips.models.linear_map import unit_keys
from dips.system.console import counted, log
from dips.system.records import Record, read_record, to_json
from dips.types import DataSet

__all__ = ["Harvester"]

_Records = dict[str, dict[str, NDArray[Any]]]


class _Time(Record, frozen=True, kw_only=True):
    """``seconds.json`` of a shelf of maps: the time that the networks took for its photos, whenever they ran."""

    photos: int = 0
    seconds: float = 0.0


class Harvester:
    """Runs the frozen networks over photos that have no maps in the store yet.

    Args:
        resize: side of the stored squares, in pixels.
        side: side of the squares passed to the networks, in pixels: the largest that any of them uses.
        names: what the maps depend on: weights, sides, linear maps.
        depth: how values of more than 8 bits are converted to 8.
        load: builds CNN and transformer; called only if they must run.
        refined: with ``harvest.refine=dataset``, computes maps ``(B, h, w)`` in [0, 1] from a look.
    """

    def __init__(
        self,
        config: HarvestConfig,
        resize: int,
        side: int,
        store: Store,
        names: Mapping[str, str],
        load: Callable[[], FrozenNetworks],
        device: torch.device,
        refined: Callable[[Look], Tensor] | None = None,
        depth: Depth | None = None,
    ) -> None:
        self.config, self.resize, self.side, self.store, self.names = config, resize, side, store, names
        self.device, self._load, self._refined, self.depth = device, load, refined, depth

    @cached_property
    def frozen(self) -> FrozenNetworks:
        """CNN and transformer, loaded at first use."""
        return self._load().to(self.device).eval()

    def run(self, dataset: DataSet) -> Harvest:
        """Store maps and squares of all photos of ``dataset``; those that cannot be read are reported and skipped.

        Raises:
            DataError: no photo can be read.
            StoreError: the store cannot be written, or is damaged.
        """
        reader = SquareReader(dataset.samples, self.store, self.resize, decoded=self.side, depth=self.depth)
        pixels = {"decoded": reader.decoded, "depth": reader.depth.key}
        settings = {"version": 5, **self.names, **pixels, "flip": self.config.flip, "refine": self.config.refine}
        maps = self.store.shelf("maps", settings)
        missing = maps.missing(reader.digests)
        if not missing:
            log(f"harvest: {counted(len(reader), 'photo', 'is')} in the store {self.store.folder}; the transformer is not run")
        else:
            log(
                f"harvest: the transformer runs on {counted(len(missing), 'photo')}; in the store: {len(reader) - len(missing)}"
            )
        started, computed = time.perf_counter(), len(missing)
        for digests, images in reader.read(missing, batch=self.config.batch, side=self.side, title="harvest"):
            maps.put(self._records(digests, images))
        seconds = self._seconds_per_photo(maps, computed - len(reader.unreadable), time.perf_counter() - started)
        reader.fill(batch=self.config.batch)  # another train.resize needs squares, but no maps
        samples, readable, problems = reader.readable()
        if not samples:
            raise DataError(f"none of the photos in {dataset.root} can be read; see 'dips check'")
        assert reader.squares is not None
        return Harvest(samples, readable, problems, reader.squares, maps, seconds * len(samples))

    def _seconds_per_photo(self, maps: Shelf, photos: int, seconds: float) -> float:
        """Return the mean over the whole shelf, this run included, and store it, as it is part of every run's time."""
        file = maps.folder / "seconds.json"
        total = _Time()
        with suppress(StoreError):  # no file yet, or a damaged one: nothing depends on it
            total = read_record(file, _Time, remedy="", error=StoreError)
        if photos:
            total = _Time(photos=total.photos + photos, seconds=round(total.seconds + seconds, 3))
            self.store.write(file, to_json(total).encode())
        return total.seconds / total.photos if total.photos else 0.0

    @torch.inference_mode()
    def _records(self, digests: Sequence[str], images: Sequence[ByteImage]) -> _Records:
        """Return the record of each photo for the store, see :class:`~dips.harvest.harvest.Harvest`."""
        look = self.frozen.look(to_tensor(images, self.device))
        features = look.transformed
        if self.config.flip:
            mirrored = self.frozen.look(look.images.flip(-1)).transformed
            features = [_averaged(one, other) for one, other in zip(features, mirrored, strict=True)]
        record = {"attention": join_attention(features), "cls": features[-1].cls}
        if self.config.refine == "image":
            maps = [refine_image(item.attention.mean(1), item.keys) for item in features]
            finest = max((m.shape[-2:] for m in maps), key=lambda shape: shape[0] * shape[1])
            record["refined"] = torch.stack([upsampled(m[:, None], (finest[0], finest[1]))[:, 0] for m in maps]).mean(0)
        elif self._refined is not None:
            record["refined"] = self._refined(look)
        arrays = {name: value.half().cpu().numpy() for name, value in record.items()}
        return {digest: {name: value[i] for name, value in arrays.items()} for i, digest in enumerate(digests)}


def _averaged(plain: Features, mirrored: Features) -> Features:
    """Return a photo's features averaged with those of its mirror image."""
    return dataclasses.replace(
        plain,
        attention=mirror_average(plain.attention, mirrored.attention),
        keys=(unit_keys(plain.keys) + unit_keys(mirrored.keys).flip(2)) / 2,
        cls=(plain.cls + mirrored.cls) / 2,
    )
