"""The first half of the harvest: every photo once through the transformer (paper 3.1).

In: a data set, the transformer's weights and a store. Out: :class:`~dips.harvest.harvest.Harvest`. Whatever is in the store
already is not computed again, and a harvest that was killed goes on where it stopped. Memory does not grow with the number of
photos but for their names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from dips.config import HarvestConfig
from dips.data.images import ByteImage
from dips.errors import DataError, StoreError
from dips.harvest.attention import join_attention, mirror_average, upsampled
from dips.harvest.harvest import Harvest
from dips.harvest.refine import fit_direction, refine_image
from dips.harvest.squares import SquareReader
from dips.harvest.store import Shelf, Store, network_hash
from dips.models.backbones import Features, Transformer
from dips.models.inputs import resize_to, to_tensor
from dips.models.keymap import KeyMap, join_scales, unit_keys
from dips.models.weights.resolve import Weights
from dips.system.console import log
from dips.system.records import Record, read_record, to_json
from dips.types import DataSet

__all__ = ["Harvester"]

_Records = dict[str, dict[str, NDArray[Any]]]

_MAX_KEY_BYTES = 2 * 2**30  # of the keys that a refinement is fitted on


class _Time(Record, frozen=True, kw_only=True):
    """``seconds.json`` of a shelf of maps: what the transformer's work on its photos took, whenever it was done."""

    photos: int = 0
    seconds: float = 0.0


class Harvester:
    """Runs the transformer over photos that have no maps in the store yet.

    Args:
        load: makes the transformer; called only if it must run.
    """

    def __init__(
        self,
        config: HarvestConfig,
        resize: int,
        store: Store,
        weights: Weights,
        load: Callable[[], Transformer],
        device: torch.device,
    ) -> None:
        self.config, self.resize, self.store, self.weights, self.device = config, resize, store, weights, device
        self._load = load

    @cached_property
    def transformer(self) -> Transformer:
        """Loaded at first use."""
        return self._load().to(self.device)

    def run(self, dataset: DataSet, fitted: KeyMap | None = None, *, held_out: Collection[Path] = ()) -> Harvest:
        """Make maps and squares of all photos of ``dataset``; those that cannot be read are reported and left out.

        Args:
            fitted: directions of an earlier harvest (photos to evaluate on must not be fitted on); without them
                ``refine=dataset`` fits its own.
            held_out: photos that nothing is fitted on.

        Raises:
            DataError: no photo can be read.
            StoreError: the store cannot be written, or is damaged.
        """
        reader = SquareReader(dataset.samples, self.store, self.resize)
        empty = _empty_photos(reader, dataset.background)
        fit_on: list[str] = []
        if self.config.refine == "dataset" and fitted is None:
            free = [d for s, d in zip(reader.samples, reader.digests, strict=True) if s.path not in held_out]
            fit_on = self._fit_photos(free, empty)
        maps = self.store.shelf("maps", self._settings(fit_on, empty, fitted))
        direction = maps.folder / "direction.safetensors"

        missing = maps.missing(reader.digests)
        if not missing and (not fit_on or direction.is_file()):
            log(f"harvest: all {len(reader)} photos are in the store {self.store.folder}; the transformer is not run")
        else:
            log(f"harvest: the transformer runs on {len(missing)} photos, {len(reader) - len(missing)} are in the store")
        started, computed = time.perf_counter(), len(missing)
        key_map = _read_direction(direction, self._sides()) if fit_on and direction.is_file() else fitted
        if fit_on and key_map is None:
            key_map = self._fit(fit_on, empty, reader, maps, direction)
            missing = maps.missing(reader.digests)
        for digests, images in reader.read(missing, batch=self.config.batch, side=max(self._sides()), title="harvest"):
            maps.put(self._records(digests, self._features(images), key_map))
        seconds = self._seconds_per_photo(maps, computed - len(reader.unreadable), time.perf_counter() - started)
        reader.fill(batch=self.config.batch, side=max(self._sides()))  # another train.resize needs squares, but no maps
        samples, readable, problems = reader.readable()
        if not samples:
            raise DataError(f"none of the {len(reader.samples)} photos in {dataset.root} can be read; see 'dips check'")
        return Harvest(samples, readable, problems, reader.squares, maps, key_map, seconds * len(samples))

    def _seconds_per_photo(self, maps: Shelf, photos: int, seconds: float) -> float:
        """Return the mean over all that the shelf holds, with what was just done; stored, as it is part of every run's time."""
        file = maps.folder / "seconds.json"
        total = _Time()
        with suppress(StoreError):  # no file yet, or a damaged one: nothing depends on it
            total = read_record(file, _Time, remedy="", error=StoreError)
        if photos:
            total = _Time(photos=total.photos + photos, seconds=round(total.seconds + seconds, 3))
            self.store.write(file, to_json(total).encode())
        return total.seconds / total.photos if total.photos else 0.0

    def _sides(self) -> tuple[int, ...]:
        """Return the input sides of the transformer in pixels, whole patches each."""
        return tuple(max(1, round(size / self._patch)) * self._patch for size in self.config.sizes)

    @cached_property
    def _patch(self) -> int:
        """Side of a patch in pixels, from the weights where they tell, so that the network need not be loaded."""
        weight = next((v for k, v in self.weights.state.items() if k.endswith("patch_embed.proj.weight")), None)
        return self.transformer.patch if weight is None or weight.ndim != 4 else int(weight.shape[-1])

    def _settings(self, fit_on: Sequence[str], empty: set[str], fitted: KeyMap | None) -> dict[str, Any]:
        """Return everything that maps depend on, whose hash names their shelf."""
        settings: dict[str, Any] = {
            "version": 3,
            "weights": self.weights.sha256,
            "arch": self.weights.arch,
            "sizes": list(self._sides()),
            "flip": self.config.flip,
            "refine": self.config.refine,
        }
        if fitted is not None:
            settings["direction"] = network_hash(fitted)
        if fit_on:
            marks = "".join(f"{d}{'-' if d in empty else '+'}" for d in sorted(fit_on))
            settings |= {"rounds": self.config.refine_rounds, "fitted_on": hashlib.sha256(marks.encode()).hexdigest()[:16]}
        return settings

    def _fit_photos(self, digests: Sequence[str], empty: set[str]) -> list[str]:
        """Choose at most ``refine_photos`` by digest alone, no more than half of them without object where others suffice."""
        unique = sorted(set(digests))
        with_object, without = [d for d in unique if d not in empty], [d for d in unique if d in empty]
        room = self.config.refine_photos
        count = min(len(without), max(room // 2, room - len(with_object)))
        return with_object[: room - count] + without[:count]

    def _fit(self, fit_on: Sequence[str], empty: set[str], reader: SquareReader, maps: Shelf, file: Path) -> KeyMap:
        """Fit the directions; the photos they are fitted on pass the transformer here and nowhere else."""
        grids = [side // self._patch for side in self._sides()]
        dim = self.transformer.dim
        room = max(2, _MAX_KEY_BYTES // (2 * dim * sum(grid * grid for grid in grids)))
        if room < len(fit_on):
            log(f"harvest: the keys of {room} photos fill {_MAX_KEY_BYTES / 2**30:g} GB; the refinement is fitted on no more")
            fit_on = [fit_on[int(i)] for i in np.linspace(0, len(fit_on) - 1, room)]  # of both kinds
        seen: list[str] = []
        attention = [np.empty((len(fit_on), grid, grid), np.float32) for grid in grids]
        keys = [np.empty((len(fit_on), grid, grid, dim), np.float16) for grid in grids]
        records: _Records = {}
        batches = reader.read(fit_on, batch=self.config.batch, side=max(self._sides()), title="harvest, for the refinement")
        for digests, images in batches:
            features = self._features(images)
            rows = slice(len(seen), len(seen) + len(digests))
            seen += digests
            for scale, item in enumerate(features):
                attention[scale][rows] = item.attention.mean(1).cpu().numpy()
                keys[scale][rows] = unit_keys(item.keys).half().cpu().numpy()
            records |= self._records(digests, features, None)
        if not any(digest not in empty for digest in seen):
            raise DataError("no photo of a class with objects can be read, so there is nothing to refine maps on")
        key_map = KeyMap(self._sides(), dim)
        blank = np.array([digest in empty for digest in seen])
        for scale in range(len(grids)):
            weight, bias = fit_direction(
                attention[scale][: len(seen)], keys[scale][: len(seen)], blank, rounds=self.config.refine_rounds
            )
            key_map.weight[scale] = torch.from_numpy(weight)
            key_map.bias[scale] = bias
        self.store.write(file, safetensors.torch.save(key_map.state_dict()))
        for position, digest in enumerate(seen):
            logits = [key_map.logits(torch.from_numpy(keys[s][position])[None], s) for s in range(len(grids))]
            records[digest]["refined"] = join_scales(logits)[0].half().numpy()
        maps.put(records)
        return key_map

    def _features(self, images: Sequence[ByteImage]) -> list[Features]:
        """Run the transformer on photos ``(N, N, 3) uint8`` at every size; with ``flip`` on their mirror images, too."""
        full = to_tensor(images, self.device)
        results = []
        for side in self._sides():
            view = resize_to(full, side)
            plain = self.transformer(view)
            if self.config.flip:
                other = self.transformer(view.flip(-1))
                plain = dataclasses.replace(
                    plain,
                    attention=mirror_average(plain.attention, other.attention),
                    keys=(unit_keys(plain.keys) + unit_keys(other.keys).flip(2)) / 2,
                    cls=(plain.cls + other.cls) / 2,
                )
            results.append(plain)
        return results

    def _records(self, digests: Sequence[str], features: Sequence[Features], key_map: KeyMap | None) -> _Records:
        """Return what the store holds of each photo, see :class:`~dips.harvest.harvest.Harvest`."""
        record = {"attention": join_attention(features), "cls": features[-1].cls}
        if self.config.refine == "image":
            maps = [refine_image(item.attention.mean(1), item.keys) for item in features]
            finest = max((m.shape[-2:] for m in maps), key=lambda shape: shape[0] * shape[1])
            record["refined"] = torch.stack([upsampled(m[:, None], (finest[0], finest[1]))[:, 0] for m in maps]).mean(0)
        elif key_map is not None:
            record["refined"] = key_map.from_features(features)
        arrays = {name: value.half().cpu().numpy() for name, value in record.items()}
        return {digest: {name: value[i] for name, value in arrays.items()} for i, digest in enumerate(digests)}


def _empty_photos(reader: SquareReader, background: int | None) -> set[str]:
    """Return the photos that show no object: all of the background class but those that lie in another folder, too."""
    if background is None:
        return set()
    with_object = {d for s, d in zip(reader.samples, reader.digests, strict=True) if s.label != background}
    return set(reader.digests) - with_object


def _read_direction(file: Path, sides: Sequence[int]) -> KeyMap:
    try:
        state = safetensors.torch.load_file(file)
        key_map = KeyMap(sides, state["weight"].shape[1])
        key_map.load_state_dict(state)
    except (OSError, LookupError, RuntimeError, safetensors.SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); remove its folder, and it will be rebuilt") from error
    return key_map
