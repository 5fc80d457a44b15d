"""Features of the frozen networks over a data set: pooled ones of all photos, and grids of those that maps are fitted on.

In: photos and networks. Out: pooled CNN features, computed once and stored, and :class:`~dips.models.linear_map.LinearMaps`,
fitted once and stored. The transformer sees only the photos of the fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dips.config import HarvestConfig
from dips.data.depth import Depth
from dips.errors import DataError, StoreError
from dips.harvest.linear import PhotoFeatures, fit_linear_maps, joint_grids
from dips.harvest.squares import SquareReader
from dips.harvest.store import Shelf, Store
from dips.models.frozen import FrozenNetworks
from dips.models.inputs import to_tensor
from dips.models.linear_map import LinearMaps
from dips.models.weights.resolve import Weights
from dips.system.console import counted, log

__all__ = ["choose_photos", "linear_maps", "pooled_features", "pooled_shelf"]

_MAX_FEATURE_BYTES = 2**30  # of the photos that maps are fitted on
_FILE = "maps.safetensors"


def pooled_shelf(store: Store, weights: Weights, side: int, depth: Depth) -> Shelf:
    """Return the shelf of the pooled features of a CNN that sees squares of ``side`` pixels of photos read with ``depth``."""
    settings = {"version": 3, "weights": weights.sha256, "arch": weights.arch, "side": side, "depth": depth.key}
    return store.shelf("cnn", settings)


@torch.inference_mode()
def pooled_features(frozen: FrozenNetworks, reader: SquareReader, shelf: Shelf, *, batch: int, device: torch.device) -> Tensor:
    """Return the pooled CNN features ``(N, F) float32`` of all readable photos on the CPU; the store holds them from then on.

    Args:
        frozen: with the pretrained weights in the layers below the CNN's last; ends on ``device`` in evaluation mode.
        reader: the photos; afterwards it knows which cannot be read.
    """
    frozen.to(device).eval()
    missing = shelf.missing(reader.digests)
    for digests, images in reader.read(missing, batch=batch, side=frozen.side, title="classifier"):
        pooled = frozen.look(to_tensor(images, device)).pooled.cpu().numpy()
        shelf.put({digest: {"pooled": row} for digest, row in zip(digests, pooled, strict=True)})
    _, readable, _ = reader.readable()
    if not readable:
        raise DataError("none of the photos can be read; see 'dips check'")
    return torch.from_numpy(np.stack([shelf.require(digest)["pooled"] for digest in readable]).astype(np.float32))


def choose_photos(labels: Mapping[str, int], background: int | None, limit: int) -> list[str]:
    """Return the digests of at most ``limit`` photos, chosen by digest alone: as many of each class as there are.

    No more than half show no object where others suffice.

    Args:
        labels: of each photo, by digest.

    >>> choose_photos({"b": 0, "a": 0, "c": 1, "d": 2, "e": 2}, 2, 4)
    ['a', 'c', 'd', 'e']
    """
    by_class: dict[int, list[str]] = {}
    for digest in sorted(labels):
        by_class.setdefault(labels[digest], []).append(digest)
    blank = by_class.pop(background, []) if background is not None else []
    shown = [d for _, d in sorted((rank, d) for digests in by_class.values() for rank, d in enumerate(digests))]
    count = min(len(blank), max(limit // 2, limit - len(shown)))
    return sorted(shown[: limit - count] + blank[:count])


def linear_maps(
    reader: SquareReader,
    labels: Mapping[str, int],
    *,
    load: Callable[[], FrozenNetworks],
    names: Mapping[str, str],
    classes: int,
    background: int | None,
    config: HarvestConfig,
    store: Store,
    shelf: Shelf | None,
    device: torch.device,
) -> LinearMaps:
    """Return the linear maps of a data set; the store holds them from then on.

    Args:
        reader: reads the photos.
        labels: by digest, of the photos that may be fitted on.
        load: makes CNN and transformer; called only if the maps are not in the store.
        names: what else the features depend on: weights, sides, the photos' depth.
        classes: number of classes, the background's included.
        shelf: where the photos' pooled features are put on the way; None = nowhere.

    Raises:
        DataError: no photo of a class with objects can be read.
        StoreError: the store cannot be written, or is damaged.
    """
    chosen = choose_photos(labels, background, config.refine_photos)
    marks = "".join(f"{digest}{labels[digest]}" for digest in chosen)
    refinement = {name: value for name, value in vars(config).items() if name.startswith(("refine", "fast"))}
    settings = {"version": 3, **names, **refinement, "fitted_on": hashlib.sha256(marks.encode()).hexdigest()[:16]}
    file = store.shelf("linear", {**settings, "classes": classes, "background": background}).folder / _FILE
    if file.is_file():
        log(f"harvest: the linear maps are in the store {store.folder}; the transformer is not run")
        return _read(file)
    log(
        f"harvest: the transformer runs on {len(chosen)} of {counted(len(labels), 'training photo')}, which the "
        f"linear maps are fitted on"
    )
    frozen = load().to(device).eval()
    features = _collect(frozen, reader, chosen, labels, background, config.batch, shelf, device)
    maps = fit_linear_maps(features, classes - (background is not None), config)
    state = {name: value.contiguous() for name, value in maps.state_dict().items()}
    shape = {"stages": str(maps.stages)}
    store.write(file, safetensors.torch.save(state, shape))
    return maps


@torch.inference_mode()
def _collect(
    frozen: FrozenNetworks,
    reader: SquareReader,
    chosen: Sequence[str],
    labels: Mapping[str, int],
    background: int | None,
    batch: int,
    shelf: Shelf | None,
    device: torch.device,
) -> PhotoFeatures:
    """Look at the chosen photos, as many as memory allows, and keep their features."""
    blocks: list[list[Tensor]] = []
    attention: list[Tensor] = []
    seen: list[str] = []
    room, side = len(chosen), max((frozen.side, *frozen.key_sides))
    if side != frozen.side:
        shelf = None  # they would be read at another side than those of the other photos
    for digests, images in reader.read(chosen, batch=batch, side=side, title="harvest"):
        if len(seen) >= room:
            break
        look = frozen.look(to_tensor(images, device))
        parts = joint_grids([*look.stages, *look.keys])
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise DataError("the features of some photos are not finite; check the weights (--weights)")
        if not seen:
            room = max(2, _MAX_FEATURE_BYTES // sum(part[0].nbytes for part in parts))
            blocks = [[] for _ in parts]
            if room < len(chosen):
                log(f"harvest: features of {counted(room, 'photo')} fill {_MAX_FEATURE_BYTES / 2**30:g} GB; no more are used")
        for block, part in zip(blocks, parts, strict=True):
            block.append(part)
        attention.append(_mean_attention(look.transformed))
        if shelf is not None:
            rows = look.pooled.cpu().numpy()
            shelf.put({digest: {"pooled": row} for digest, row in zip(digests, rows, strict=True)})
        seen += digests
    objects = np.array([_object_label(labels[digest], background) for digest in seen], np.int64)
    if not (objects >= 0).any():
        raise DataError("no photo of a class with objects can be read, so there is nothing to fit maps on; see 'dips check'")
    return PhotoFeatures(tuple(torch.cat(block) for block in blocks), frozen.key_sides, torch.cat(attention), objects)


def _mean_attention(features: Iterable[Any]) -> Tensor:
    """Return the mean attention ``(B, h, w)`` at the first side, on the CPU."""
    first = next(iter(features))
    return torch.as_tensor(first.attention.mean(1)).float().cpu()


def _object_label(label: int, background: int | None) -> int:
    """Return the label among the object classes, -1 for the background class."""
    if background is None or label < background:
        return label
    return -1 if label == background else label - 1


def _read(file: Path) -> LinearMaps:
    """Read stored maps.

    Raises:
        StoreError: they are damaged.
    """
    try:
        with safetensors.safe_open(file, "pt") as stored:
            shape = stored.metadata()
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # no mapping
        count = sum(name.startswith("accurate.weight") for name in state)
        channels = [state[f"accurate.weight_{i}"].shape[1] for i in range(count)]
        maps = LinearMaps(channels, stages=int(shape["stages"]), outputs=len(state["fast.bias"]))
        maps.load_state_dict(state)
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); remove its folder, and it will be rebuilt") from error
    return maps
