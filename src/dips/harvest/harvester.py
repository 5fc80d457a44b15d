"""The first half of the harvest: every photo once through the transformer (paper 3.1).

In: a data set, the transformer's weights and a store. Out: :class:`~dips.harvest.harvest.Harvest`. Whatever is in the store
already is not computed again, and a harvest that was killed goes on where it stopped. Memory does not grow with the number of
photos but for their names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.data.images import read_image, resize_image
from dips.errors import DataError, ImageError, StoreError
from dips.harvest.attention import join_attention, mirror_average, upsampled
from dips.harvest.harvest import Harvest, encode_square
from dips.harvest.refine import fit_direction, refine_image
from dips.harvest.store import Shelf, Store, network_hash
from dips.models.backbones import Features, Transformer
from dips.models.keymap import KeyMap, join_scales, resize_to, unit_keys
from dips.models.weights.resolve import Weights
from dips.system.console import log, track
from dips.types import DataSet, Problem, Sample

__all__ = ["Harvester"]

_Bytes = NDArray[np.uint8]
_MOST_KEYS = 2 * 2**30  # bytes of the keys that a refinement is fitted on


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
        """Maps and squares of all photos of ``dataset``; those that cannot be read are reported and left out.

        Args:
            held_out: photos that nothing is fitted on.
            fitted: directions of an earlier harvest (photos to evaluate on must not be fitted on); without them
                ``refine=dataset`` fits its own.

        Raises:
            DataError: no photo can be read.
            StoreError: the store cannot be written, or is damaged.
        """
        samples, digests, problems = self._identify(dataset)
        squares = self.store.shelf("squares", {"side": self.resize})
        none = dataset.background
        shown = {d for s, d in zip(samples, digests, strict=True) if none is None or s.label != none}
        empty = set(digests) - shown  # a photo that lies in both folders shows something
        kept = [d for s, d in zip(samples, digests, strict=True) if s.path not in held_out]
        fit = self._fit_photos(kept, empty) if self.config.refine == "dataset" and fitted is None else []
        maps = self.store.shelf("maps", self._settings(fit, empty, fitted))
        direction = maps.folder / "direction.safetensors"

        paths = {d: s.path for s, d in zip(samples, digests, strict=True)}
        absent = maps.missing(digests)
        if not absent and (not fit or direction.is_file()):
            log(f"harvest: all {len(paths)} photos are in the store {self.store.folder}; the transformer is not run")
        else:
            log(f"harvest: the transformer runs on {len(absent)} photos, {len(paths) - len(absent)} are in the store")
        started, computed = time.perf_counter(), len(absent)
        key_map = _read_direction(direction, self._sides()) if fit and direction.is_file() else fitted
        bad: dict[str, str] = {}
        if fit and key_map is None:
            key_map = self._fit(fit, empty, paths, squares, maps, direction, bad)
            absent = maps.missing(digests)
        for keys, images in self._read([d for d in absent if d not in bad], paths, squares, bad, "harvest"):
            maps.put(self._records(keys, self._features(images), key_map))
        each = self._seconds_per_photo(maps, computed - len(bad), time.perf_counter() - started)
        for _ in self._read([d for d in squares.missing(digests) if d not in bad], paths, squares, bad, "photos"):
            pass  # another train.resize needs squares, but no maps
        good = [d not in bad for d in digests]
        problems += [Problem(s.path, bad[d]) for s, d in zip(samples, digests, strict=True) if d in bad]
        if not any(good):
            raise DataError(f"none of the {len(samples)} photos in {dataset.root} can be read; see 'dips check'")
        return Harvest(
            tuple(s for s, ok in zip(samples, good, strict=True) if ok),
            tuple(d for d, ok in zip(digests, good, strict=True) if ok),
            tuple(problems),
            squares,
            maps,
            key_map,
            each * sum(good),
        )

    def _seconds_per_photo(self, maps: Shelf, photos: int, seconds: float) -> float:
        """Mean over all that the shelf holds, with what was just done; kept, as it is part of the time of every run."""
        file = maps.folder / "seconds.json"
        known = {"photos": 0, "seconds": 0.0}
        if file.is_file():
            with suppress(OSError, ValueError):
                known = json.loads(file.read_text(encoding="utf-8"))
        if photos:
            known = {"photos": known["photos"] + photos, "seconds": round(known["seconds"] + seconds, 3)}
            self.store.write(file, json.dumps(known).encode())
        return float(known["seconds"]) / known["photos"] if known["photos"] else 0.0

    def _identify(self, dataset: DataSet) -> tuple[list[Sample], list[str], list[Problem]]:
        samples, digests, problems = [], [], []
        found = self.store.digests(s.path for s in track(dataset.samples, "looking at files", len(dataset)))
        for sample, digest in zip(dataset.samples, found, strict=True):
            if isinstance(digest, str):
                digests.append(digest)
                samples.append(sample)
            else:
                problems.append(Problem(sample.path, f"cannot be read: {digest.strerror or digest}"))
        return samples, digests, problems

    def _sides(self) -> tuple[int, ...]:
        # a patch size is part of the architecture; 'meta' would need the network, so ask it once and keep it
        return tuple(max(1, round(size / self._patch)) * self._patch for size in self.config.sizes)

    @cached_property
    def _patch(self) -> int:
        weight = next((v for k, v in self.weights.state.items() if k.endswith("patch_embed.proj.weight")), None)
        return self.transformer.patch if weight is None or weight.ndim != 4 else int(weight.shape[-1])

    def _settings(self, fit: Sequence[str], empty: set[str], fitted: KeyMap | None) -> dict[str, Any]:
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
        if fit:
            marks = "".join(f"{d}{'-' if d in empty else '+'}" for d in sorted(fit))
            settings |= {"rounds": self.config.refine_rounds, "fitted_on": hashlib.sha256(marks.encode()).hexdigest()[:16]}
        return settings

    def _fit_photos(self, digests: Sequence[str], empty: set[str]) -> list[str]:
        """At most ``refine_photos``, chosen by digest alone; at most half of them from the background class."""
        unique = sorted(set(digests))
        shown, none = [d for d in unique if d not in empty], [d for d in unique if d in empty]
        room = self.config.refine_photos
        few = min(len(none), max(room // 2, room - len(shown)))
        return shown[: room - few] + none[:few]

    def _fit(
        self,
        fit: Sequence[str],
        empty: set[str],
        paths: dict[str, Path],
        squares: Shelf,
        maps: Shelf,
        file: Path,
        bad: dict[str, str],
    ) -> KeyMap:
        """Fit the directions; the photos they are fitted on pass the transformer here and nowhere else."""
        grids = [side // self._patch for side in self._sides()]
        dim = self.transformer.dim
        room = max(2, _MOST_KEYS // (2 * dim * sum(grid * grid for grid in grids)))
        if room < len(fit):
            log(f"harvest: the keys of {room} photos fill {_MOST_KEYS / 2**30:g} GB; the refinement is fitted on no more")
            fit = [fit[int(i)] for i in np.linspace(0, len(fit) - 1, room)]  # of both kinds
        seen: list[str] = []
        attention = [np.empty((len(fit), grid, grid), np.float32) for grid in grids]
        keys = [np.empty((len(fit), grid, grid, dim), np.float16) for grid in grids]
        kept: dict[str, dict[str, NDArray[Any]]] = {}
        for names, images in self._read(list(fit), paths, squares, bad, "harvest, for the refinement"):
            features = self._features(images)
            here = slice(len(seen), len(seen) + len(names))
            seen += names
            for scale, item in enumerate(features):
                attention[scale][here] = item.attention.mean(1).cpu().numpy()
                keys[scale][here] = unit_keys(item.keys).half().cpu().numpy()
            kept |= self._records(names, features, None)
        if not any(name not in empty for name in seen):
            raise DataError("no photo of a class with objects can be read, so there is nothing to refine maps on")
        key_map = KeyMap(self._sides(), dim)
        blank = np.array([name in empty for name in seen])
        for scale in range(len(grids)):
            weight, bias = fit_direction(
                attention[scale][: len(seen)], keys[scale][: len(seen)], blank, rounds=self.config.refine_rounds
            )
            key_map.weight[scale] = torch.from_numpy(weight)
            key_map.bias[scale] = bias
        self.store.write(file, safetensors.torch.save(key_map.state_dict()))
        for position, name in enumerate(seen):
            logits = [key_map.logits(torch.from_numpy(keys[s][position])[None], s) for s in range(len(grids))]
            kept[name]["refined"] = join_scales(logits)[0].half().numpy()
        maps.put(kept)
        return key_map

    def _read(
        self, digests: Sequence[str], paths: dict[str, Path], squares: Shelf, bad: dict[str, str], what: str
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Batches of photos for the transformer, ``(B, 3, N, N) uint8``; absent squares are stored on the way."""
        side = max(self._sides())
        absent = set(squares.missing(digests))

        def one(digest: str) -> tuple[_Bytes, _Bytes | None] | str:
            try:
                photo = read_image(paths[digest], max_side=max(side, self.resize))
            except ImageError as error:
                return str(error)
            png = encode_square(resize_image(photo, (self.resize, self.resize))) if digest in absent else None
            return resize_image(photo, (side, side)), png

        groups = [digests[start : start + self.config.batch] for start in range(0, len(digests), self.config.batch)]
        with ThreadPoolExecutor(4) as pool:
            ahead = [pool.submit(one, digest) for digest in groups[0]] if groups else []
            for group, following in track(zip(groups, [*groups[1:], []], strict=False), what, len(groups)):
                results = [future.result() for future in ahead]
                ahead = [pool.submit(one, digest) for digest in following]  # read while the transformer works
                names, images, pngs = [], [], {}
                for digest, result in zip(group, results, strict=True):
                    if isinstance(result, str):
                        bad[digest] = result
                        log(f"skipped: {result}")
                        continue
                    names.append(digest)
                    images.append(result[0])
                    if result[1] is not None:
                        pngs[digest] = {"png": result[1]}
                if names:
                    squares.put(pngs)
                    yield names, torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def _features(self, images: Tensor) -> list[Features]:
        """What the transformer says at every size."""
        full = images.to(self.device).float() / 255
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

    def _records(
        self, names: Sequence[str], features: Sequence[Features], key_map: KeyMap | None
    ) -> dict[str, dict[str, NDArray[Any]]]:
        record = {"attention": join_attention(features), "cls": features[-1].cls}
        if self.config.refine == "image":
            maps = [refine_image(item.attention.mean(1), item.keys) for item in features]
            finest = max((m.shape[-2:] for m in maps), key=lambda shape: shape[0] * shape[1])
            record["refined"] = torch.stack([upsampled(m[:, None], (finest[0], finest[1]))[:, 0] for m in maps]).mean(0)
        elif key_map is not None:
            record["refined"] = key_map.from_features(features)
        arrays = {name: value.half().cpu().numpy() for name, value in record.items()}
        return {digest: {name: value[i] for name, value in arrays.items()} for i, digest in enumerate(names)}


def _read_direction(file: Path, sides: Sequence[int]) -> KeyMap:
    try:
        state = safetensors.torch.load_file(file)
        key_map = KeyMap(sides, state["weight"].shape[1])
        key_map.load_state_dict(state)
    except (OSError, LookupError, RuntimeError, safetensors.SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); remove its folder, and it is made again") from error
    return key_map
