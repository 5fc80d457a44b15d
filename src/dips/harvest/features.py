"""Features of the frozen networks over a data set: pooled for all photos, and as grids for those that maps are fitted on.

In: photos and networks. Out: pooled CNN features, computed once and stored, and :class:`~dips.models.linear_map.LinearMaps`,
fitted once and stored. The transformer sees only the photos of the fit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.data.depth import Depth
from dips.data.gain import ReviewGain
from dips.errors import DataError, StoreError
from dips.harvest.grids import joint_grids
from dips.harvest.linear import PhotoFeatures, fit_linear_maps
from dips.harvest.squares import SquareReader
from dips.harvest.store import Arrays, Shelf, Store
from dips.models.frozen import FrozenNetworks
from dips.models.inputs import to_tensor
from dips.models.linear_map import LinearMaps
from dips.models.weights.resolve import Weights
from dips.system.console import counted, log
from dips.system.records import to_json
from dips.types import Review

__all__ = ["choose_photos", "fill_pooled", "linear_maps", "pooled_features", "pooled_shelf"]

_MAX_FEATURE_BYTES = 2**30  # for all photos that maps are fitted on
_FILE = "maps.safetensors"
_Value = TypeVar("_Value")
_BLOCK, _ATTENTION = "block", "attention"  # what the store holds of a photo that maps are fitted on


def pooled_shelf(store: Store, weights: Weights, side: int, depth: Depth) -> Shelf:
    """Return the shelf of the pooled features of a CNN that sees photos read with ``depth`` as squares of ``side`` pixels."""
    settings = {"version": 3, "weights": weights.sha256, "arch": weights.arch, "side": side, "depth": depth.key}
    return store.shelf("cnn", settings)


@torch.inference_mode()
def fill_pooled(frozen: FrozenNetworks, reader: SquareReader, shelf: Shelf, *, batch: int, device: torch.device) -> None:
    """Compute and store the pooled CNN features of all readable photos that the store lacks.

    Args:
        frozen: has pretrained weights in all layers but the CNN's last; afterwards it is on ``device`` in evaluation mode.
        reader: the photos; afterwards it knows which of them cannot be read.
    """
    frozen.to(device).eval()
    missing = shelf.missing(reader.digests)
    for digests, images in reader.read(missing, batch=batch, side=frozen.side, title="classifier"):
        pooled = frozen.look(to_tensor(images, device)).pooled.cpu().numpy()
        shelf.put({digest: {"pooled": row} for digest, row in zip(digests, pooled, strict=True)})


def pooled_features(frozen: FrozenNetworks, reader: SquareReader, shelf: Shelf, *, batch: int, device: torch.device) -> Tensor:
    """Return the pooled CNN features ``(N, F) float32`` of all readable photos, on the CPU, and store them.

    The arguments are those of :func:`fill_pooled`.
    """
    fill_pooled(frozen, reader, shelf, batch=batch, device=device)
    _, readable, _ = reader.readable()
    if not readable:
        raise DataError("none of the photos can be read; see 'dips check'")
    return torch.from_numpy(np.stack([shelf.require(digest)["pooled"] for digest in readable]).astype(np.float32))


def choose_photos(labels: Mapping[str, int], limit: int, first: Collection[str] = ()) -> list[str]:
    """Return the digests of at most ``limit`` photos, chosen by digest alone and balanced over the classes where possible.

    At most half of them show no object if there are enough others.

    Args:
        labels: object class of each photo, by digest; -1 if it shows no object.
        first: photos that take precedence over the others of their class.

    >>> choose_photos({"b": 0, "a": 0, "c": 1, "d": -1, "e": -1}, 4, {"b"})
    ['b', 'c', 'd', 'e']
    """
    by_class: dict[int, list[str]] = {}
    for digest in sorted(labels, key=lambda digest: (digest not in first, digest)):
        by_class.setdefault(labels[digest], []).append(digest)
    blank = by_class.pop(-1, [])
    ranked = ((digest not in first, rank, digest) for digests in by_class.values() for rank, digest in enumerate(digests))
    shown = [digest for _, _, digest in sorted(ranked)]
    count = min(len(blank), max(limit // 2, limit - len(shown)))
    return sorted(shown[: limit - count] + blank[:count])


def linear_maps(
    reader: SquareReader,
    labels: Mapping[str, int],
    *,
    load: Callable[[], FrozenNetworks],
    names: Mapping[str, str],
    classes: int,
    several: Mapping[str, tuple[int, ...]] | None = None,
    reviews: Mapping[str, Review] | None = None,
    config: HarvestConfig,
    store: Store,
    shelf: Shelf | None,
    device: torch.device,
) -> tuple[LinearMaps, ReviewGain | None]:
    """Return the linear maps of a data set and the gain from reviewed photos, and store them.

    Args:
        reader: reads the photos.
        labels: object classes of the photos that may be fitted on, by digest; -1 if they show no object.
        load: builds CNN and transformer; called only if the maps are not in the store.
        names: everything else that the features depend on: weights, sides, the photos' depth.
        classes: number of object classes.
        several: all labels of photos with several, by digest; ``labels`` has the first of them.
        reviews: reviews of the photos that a person reviewed, by digest.
        shelf: where the photos' pooled features are stored as well; None = nowhere.

    Raises:
        DataError: no photo of a class with objects can be read.
        StoreError: the store cannot be written, or is damaged.
    """
    several, reviews = several or {}, reviews or {}
    numbers = Counter(label for digest, first in labels.items() for label in several.get(digest, (first,)))
    rarest = {digest: min(own, key=lambda label: numbers[label]) for digest, own in several.items()}
    chosen = choose_photos({**labels, **rarest}, config.refine_photos, reviews)
    marks = "".join(f"{digest}{labels[digest]}{several.get(digest, '')}{reviews.get(digest, '')}" for digest in chosen)
    refinement = {name: value for name, value in vars(config).items() if name.startswith(("refine", "fast"))}
    settings = {"version": 4, **names, **refinement, "fitted_on": hashlib.sha256(marks.encode()).hexdigest()[:16]}
    file = store.shelf("linear", {**settings, "classes": classes}).folder / _FILE
    if file.is_file():
        log(f"harvest: the linear maps are in the store {store.folder}; the transformer is not run")
        return _read(file)
    frozen, kept = load(), store.shelf("features", {"version": 1, **names})
    _look(frozen.to(device).eval(), reader, chosen, kept, shelf, batch=config.batch, device=device)
    features = _collect(kept, chosen, labels, several, reviews, frozen.key_sides, reader.files)
    maps, gain = fit_linear_maps(features, classes, config)
    state = {name: value.contiguous() for name, value in maps.state_dict().items()}
    notes = {"stages": str(maps.stages), "review": "" if gain is None else to_json(gain)}
    store.write(file, safetensors.torch.save(state, notes))
    return maps, gain


@torch.inference_mode()
def _look(
    frozen: FrozenNetworks,
    reader: SquareReader,
    chosen: Sequence[str],
    kept: Shelf,
    pooled: Shelf | None,
    *,
    batch: int,
    device: torch.device,
) -> None:
    """Store the features of the photos that the shelf ``kept`` lacks, until those to be fitted on fill the memory limit."""
    missing = kept.missing(chosen)
    seen, side = set(chosen).difference(missing), max((frozen.side, *frozen.key_sides))
    where = f"; the store has what it saw of the other {len(seen)}" if seen else ""
    unit = "tile" if any(sample.window is not None for sample in reader.samples) else "photo"
    log(f"harvest: linear maps are fitted on {counted(len(chosen), unit)}, the transformer runs on {len(missing)}{where}")
    if side != frozen.side:
        pooled = None  # these photos would be read at another side than the others
    for digests, images in reader.read(missing, batch=batch, side=side, title="harvest"):
        look = frozen.look(to_tensor(images, device))
        blocks = joint_grids([*look.stages, *look.keys])
        if not all(bool(torch.isfinite(block).all()) for block in blocks):
            raise DataError("the features of some photos are not finite; check the weights (--weights)")
        parts = {f"{_BLOCK}{number:02}": block.numpy() for number, block in enumerate(blocks)}
        parts[_ATTENTION] = _mean_attention(look.transformed).numpy()
        records = {digest: {name: part[row] for name, part in parts.items()} for row, digest in enumerate(digests)}
        kept.put(records)
        if pooled is not None:
            rows = look.pooled.cpu().numpy()
            pooled.put({digest: {"pooled": row} for digest, row in zip(digests, rows, strict=True)})
        seen.update(digests)
        # the first ones are fitted on, so that the maps do not depend on what else the store holds
        first = takewhile(lambda digest: digest in seen or digest in reader.unreadable, chosen)
        if sum(digest in seen for digest in first) >= _room(records[digests[0]]):
            break


def _room(record: Arrays) -> int:
    """Return the maximum number of photos that are fitted on if their features have this size."""
    return max(2, _MAX_FEATURE_BYTES // sum(part.nbytes for name, part in record.items() if name != _ATTENTION))


def _collect(
    kept: Shelf,
    chosen: Sequence[str],
    labels: Mapping[str, int],
    several: Mapping[str, tuple[int, ...]],
    reviews: Mapping[str, Review],
    key_sides: tuple[int, ...],
    files: Mapping[str, str],
) -> PhotoFeatures:
    """Return the features of the chosen photos, as many as memory allows; those that cannot be read are skipped."""
    records: dict[str, dict[str, NDArray[Any]]] = {}
    room = len(chosen)
    for digest in chosen:
        if len(records) >= room:
            log(f"harvest: features of {counted(room, 'photo')} fill {_MAX_FEATURE_BYTES / 2**30:g} GB; no more are used")
            break
        if (record := kept.get(digest)) is not None:
            records[digest] = record
            room = min(room, _room(record))
    objects = np.array([labels[digest] for digest in records], np.int64)
    if not (objects >= 0).any():
        raise DataError("no photo of a class with objects can be read, so there is nothing to fit maps on; see 'dips check'")
    names = sorted(name for name in next(iter(records.values())) if name.startswith(_BLOCK))
    blocks = [_stacked(records, name) for name in names]
    rows = {digest: row for row, digest in enumerate(records)}

    def of(values: Mapping[str, _Value]) -> dict[int, _Value]:
        return {row: values[digest] for digest, row in rows.items() if digest in values}

    photos = [files[digest] for digest in records]
    attention = _stacked(records, _ATTENTION)
    return PhotoFeatures(tuple(blocks), key_sides, attention, objects, photos, of(several), of(reviews))


def _stacked(records: Mapping[str, dict[str, NDArray[Any]]], name: str) -> Tensor:
    """Return one array of all records ``(N, ...)``, removing it from them, as keeping both would double the memory."""
    return torch.from_numpy(np.stack([record.pop(name) for record in records.values()]))


def _mean_attention(features: Iterable[Any]) -> Tensor:
    """Return the mean attention ``(B, h, w)`` at the first side, on the CPU."""
    first = next(iter(features))
    return torch.as_tensor(first.attention.mean(1)).float().cpu()


def _read(file: Path) -> tuple[LinearMaps, ReviewGain | None]:
    """Read stored maps and the gain from reviewed photos.

    Raises:
        StoreError: they are damaged.
    """
    try:
        with safetensors.safe_open(file, "pt") as stored:
            notes = stored.metadata()
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # no mapping
        count = sum(name.startswith("accurate.weight") for name in state)
        channels = [state[f"accurate.weight_{i}"].shape[1] for i in range(count)]
        maps = LinearMaps(channels, stages=int(notes["stages"]), outputs=len(state["fast.bias"]))
        maps.load_state_dict(state)
        gain = msgspec.json.decode(notes["review"], type=ReviewGain) if notes["review"] else None
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); remove its folder, and it will be rebuilt") from error
    return maps, gain
