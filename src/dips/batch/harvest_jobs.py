"""Process each photo before a training, in any worker: CNN features, and for a U-Net also maps and proposals.

In: items of a plan. Out: records of a store. In a folder they go straight to their shelves, to which several processes of one
machine may write. At a URL each shard becomes one part, with the records that its own temporary store received.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dips.config import Config
from dips.data.depth import Depth
from dips.fitting.maps import MapMaker
from dips.harvest.features import fill_pooled, pooled_shelf
from dips.harvest.squares import SquareReader
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMaps
from dips.models.weights.resolve import Weights, resolve
from dips.shards.files import Files
from dips.shards.frames import frame, frames
from dips.shards.plan import Item
from dips.shards.work import Attempt
from dips.system.console import quiet
from dips.system.device import pick_device
from dips.system.records import Record
from dips.types import DataSet, Sample

__all__ = ["NETWORKS", "MapsContext", "MapsJob", "PhotosJob", "item_of", "name_of", "networks_of", "put_part", "sample_of"]

NETWORKS = "lists/networks.safetensors"
"""Name, among the files of the work, of the fitted networks that maps are made with."""

_ROWS_AT_ONCE = 256


def name_of(sample: Sample) -> str:
    """Return the unique name of a photo or tile."""
    return str(sample.path) if sample.window is None else f"{sample.path} {','.join(map(str, sample.window))}"


def item_of(sample: Sample) -> Item:
    """Return a photo or tile as an item."""
    return Item(name_of(sample), str(sample.path), "", [sample.label, *(sample.window or ())])


def sample_of(item: Item) -> Sample:
    """Return the photo or tile that an item represents."""
    label, *window = item.more
    return Sample(Path(item.uri), item.id, label, window=(window[0], window[1], window[2], window[3]) if window else None)


@dataclass(frozen=True)
class PhotosJob:
    """Computes CNN features of photos, and stores their squares if the CNN itself is trained.

    Attributes:
        config: the settings.
        given: local weights, as for ``--weights``.
        depth: how values of more than 8 bits are reduced to 8.
        store: the folder of the store; None makes parts.
        device: name of the device.
    """

    config: Config
    given: tuple[str, ...]
    depth: Depth
    store: str | None
    device: str

    def open(self) -> _Photos:
        """Return the function that processes a shard."""
        return _Photos(self)


class _Photos:
    """The work of one process, with its networks and its store."""

    def __init__(self, job: PhotosJob) -> None:
        self.job, self.device = job, pick_device(job.device)
        self.store = None if job.store is None else Store(Path(job.store))

    @cached_property
    def _networks(self) -> tuple[Weights, FrozenNetworks]:
        config = self.job.config.classifier
        weights = resolve(config.arch, role="cnn", given=self.job.given)
        return weights, FrozenNetworks(Classifier.from_weights(weights, 2), side=config.size)  # its last layer is not used

    def __call__(self, attempt: Attempt) -> Iterator[bytes]:
        """Yield one record per row, or an empty result per photo if the store holds the rows."""
        if self.store is not None:
            self._fill(self.store, attempt.items)
            yield from (b"" for _ in attempt.items)
            return
        with tempfile.TemporaryDirectory(prefix="dips-harvest-") as folder:
            store = Store(Path(folder))
            self._fill(store, attempt.items)
            yield from _part(store)
            store.close()

    def _fill(self, store: Store, items: Iterable[Item]) -> None:
        config, depth = self.job.config, self.job.depth
        side = config.classifier.size if config.classifier.mode == "full" else None
        with quiet():
            weights, frozen = self._networks
            reader = SquareReader([sample_of(item) for item in items], store, side, depth=depth)
            shelf = pooled_shelf(store, weights, config.classifier.size, depth)
            fill_pooled(frozen, reader, shelf, batch=config.harvest.batch, device=self.device)
            reader.fill(batch=config.harvest.batch)
            shelf.close()


class _Row(Record, frozen=True, array_like=True):
    """A record of a store: the name of its shelf, its key and its data; without a key, the data are the shelf's settings."""

    shelf: str
    key: str
    data: bytes


def _part(store: Store) -> Iterator[bytes]:
    for shelf, note in store.settings():
        yield frame(_Row(shelf, "", note))
    for row in store.rows():
        yield frame(_Row(*row))


def put_part(part: Iterable[bytes], store: Store, *, source: str) -> int:
    """Write the records of a part to a store, and return their number.

    Raises:
        RunError: the part is damaged.
        StoreError: the store cannot be written to.
    """
    count = 0
    for name, rows in groupby(frames(part, _Row, source=source), key=lambda row: row.shelf):
        shelf, waiting = store.shelf_named(name, source=source), {}
        for row in rows:
            if not row.key:
                store.write(shelf.note, row.data)
                continue
            waiting[row.key] = row.data
            count += 1
            if len(waiting) == _ROWS_AT_ONCE:
                shelf.put_rows(waiting)
                waiting = {}
        shelf.put_rows(waiting)
        shelf.close()
    return count


class MapsContext(Record, frozen=True, kw_only=True):
    """The data that each worker needs besides the networks, see :class:`~dips.fitting.maps.MapMaker`."""

    names: dict[str, str]
    depth: Depth
    classes: tuple[str, ...]
    background: int | None
    arch: str
    stages: int = 0
    channels: tuple[int, ...] = ()
    outputs: int = 0

    @staticmethod
    def of(maker: MapMaker, classes: tuple[str, ...]) -> MapsContext:
        """Return the context of a maker."""
        linear = maker.linear
        shape = (
            {} if linear is None else {"stages": linear.stages, "channels": linear.channels, "outputs": len(linear.fast.bias)}
        )
        more: dict[str, Any] = {"arch": maker.classifier.arch, "background": maker.background, **shape}
        return MapsContext(names=dict(maker.names), depth=maker.depth, classes=classes, **more)


def networks_of(maker: MapMaker) -> bytes:
    """Return the fitted networks of a maker."""
    parts: dict[str, Any] = {"classifier": maker.classifier, "linear": maker.linear}
    tensors: dict[str, Tensor] = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, network in parts.items()
        if network is not None
        for name, value in network.state_dict().items()
    }
    return safetensors.torch.save(tensors)


@dataclass(frozen=True)
class MapsJob:
    """Makes maps and proposals of photos.

    Attributes:
        files: the files of the work, with the networks.
        config, given, store, device: as in :class:`PhotosJob`.
        context: the context of the plan.
    """

    files: Files
    config: Config
    given: tuple[str, ...]
    store: str
    device: str
    context: MapsContext

    def open(self) -> _Maps:
        """Return the function that processes a shard."""
        return _Maps(self)


class _Maps:
    """The work of one process, with its networks and its store."""

    def __init__(self, job: MapsJob) -> None:
        context, state = job.context, safetensors.torch.load(job.files.read(NETWORKS))
        self.classes, device = context.classes, pick_device(job.device)
        classifier = Classifier(context.arch, len(context.classes))
        classifier.load_state_dict(_inside(state, "classifier."))
        classifier.to(device).freeze()
        linear = None
        if context.channels:
            linear = LinearMaps(context.channels, stages=context.stages, outputs=context.outputs)
            linear.load_state_dict(_inside(state, "linear."))

        @cache
        def load() -> FrozenNetworks:
            transformer = load_transformer(resolve(job.config.harvest.sst, role="transformer", given=job.given))
            config = job.config
            sides = config.harvest.sizes
            return FrozenNetworks(classifier, side=config.classifier.size, transformer=transformer, key_sides=sides)

        self.maker = MapMaker(
            job.config,
            classifier,
            linear,
            context.background,
            context.names,
            context.depth,
            Store(Path(job.store)),
            device,
            load,
        )

    def __call__(self, attempt: Attempt) -> Iterator[bytes]:
        """Yield an empty result per photo, as the store holds its maps and proposals."""
        samples = tuple(map(sample_of, attempt.items))
        with quiet(), torch.inference_mode():
            harvest = self.maker.harvest(DataSet(Path(), self.classes, samples, background=self.maker.background))
            labels = [sample.label or 0 for sample in harvest.samples]
            self.maker.score(harvest, range(len(labels)), labels, {})
        yield from (b"" for _ in samples)


def _inside(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
