"""The second half of the harvest: proposals, their scores, and what training reads of them (paper 3.1, 3.2).

In: :class:`~dips.harvest.harvest.Harvest` photos, a fitted classifier and labels. Out: :class:`Items`, one per photo,
that fulfil the protocol of :mod:`dips.train.batches`. Scores are kept in the store under the classifier's own hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dips.config import HarvestConfig
from dips.data.images import resize_image
from dips.harvest.harvest import Harvest
from dips.harvest.proposals import propose
from dips.harvest.scoring import best, score
from dips.harvest.store import Record, Shelf, Store, network_hash
from dips.system.console import log, track
from dips.types import FloatArray

__all__ = ["Item", "Items", "harvest_items", "record_key"]


@dataclass(frozen=True)
class Item:
    """One photo with its best proposals.

    Attributes:
        image: ``(S, S, 3) uint8``.
        maps: ``(P, h, w) float16``, the map each proposal comes from, tempered, maximum 1.
        regions: ``(P, F, F) bool``.
        boxes: ``(P, 4) float32``, ``x0 y0 x1 y1`` as shares of the frame.
        scores: ``(P,) float32``, the classifier's probability of the photo's class.
        label: index of the class.
    """

    image: NDArray[np.uint8]
    maps: NDArray[np.float16]
    regions: NDArray[np.bool_]
    boxes: FloatArray
    scores: FloatArray
    label: int


class Items:
    """Photos with proposals, read from the store one at a time."""

    def __init__(
        self, harvested: Harvest, shelf: Shelf, index: Sequence[int], labels: Sequence[int], background: int | None
    ) -> None:
        self.harvested, self.shelf, self.background = harvested, shelf, background
        self.positions, self.labels = list(index), list(labels)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int, /) -> Item:
        if position >= len(self):
            raise IndexError(position)
        label = self.labels[position]
        digest = self.harvested.digests[self.positions[position]]
        image = self.harvested.square(digest)
        if label == self.background:
            none = np.zeros((0, 1, 1))
            return Item(
                image, none.astype(np.float16), none.astype(bool), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), label
            )
        record = self.shelf.require(record_key(digest, label))
        side = int(record["side"][0])
        count = len(record["boxes"])
        regions = np.unpackbits(record["regions"], axis=1, count=side * side).reshape(count, side, side).astype(bool)
        return Item(image, record["maps"], regions, record["boxes"], record["scores"], label)


def harvest_items(
    harvested: Harvest,
    index: Sequence[int],
    labels: Sequence[int],
    classifier: nn.Module,
    *,
    config: HarvestConfig,
    side: int,
    store: Store,
    background: int | None,
    device: torch.device,
) -> Items:
    """Propose and score what is not in the store yet.

    Args:
        index: positions in ``harvested.samples``.
        labels: their classes.
        classifier: ``(B, 3, side, side)`` in [0, 1] to logits, in evaluation mode.
        side: of the frame that proposals are made and scored on.
    """
    settings = {
        "version": 1,
        "maps": harvested.maps.folder.name,
        "squares": harvested.squares.folder.name,
        "classifier": network_hash(classifier),
        "side": side,
        **{
            name: getattr(config, name)
            for name in ("heads", "map_power", "levels", "min_area", "score_on", "top_p", "min_score")
        },
    }
    shelf = store.shelf("proposals", settings)
    wanted = {
        record_key(harvested.digests[i], label): (harvested.digests[i], label)
        for i, label in zip(index, labels, strict=True)
        if label != background
    }
    todo = shelf.missing(wanted)
    log(f"proposals: {len(wanted) - len(todo)} photos are in the store, {len(todo)} are scored")
    step = config.batch
    for start in track(range(0, len(todo), step), "proposals", -(-len(todo) // step)):
        keys = todo[start : start + step]
        pairs = [wanted[key] for key in keys]
        images = [resize_image(harvested.square(digest), (side, side)) for digest, _ in pairs]
        sources = [harvested.source_maps(digest, config.heads) for digest, _ in pairs]
        proposals = [
            propose(maps, min_area=config.min_area, frame=side, power=config.map_power, levels=config.levels)
            for maps in sources
        ]
        scores = score(classifier, images, proposals, [label for _, label in pairs], score_on=config.score_on, device=device)
        records: dict[str, Record] = {}
        for key, maps, found, values in zip(keys, sources, proposals, scores, strict=True):
            chosen = best(values, top_p=config.top_p, min_score=config.min_score)
            regions = found.regions[chosen]
            records[key] = {
                "maps": (maps[found.sources[chosen]] ** config.map_power).astype(np.float16),
                "regions": np.packbits(regions.reshape(len(chosen), side * side), axis=1),
                "boxes": found.boxes[chosen],
                "scores": values[chosen],
                "side": np.array([side], np.int32),
            }
        shelf.put(records)
    return Items(harvested, shelf, index, labels, background)


def record_key(digest: str, label: int) -> str:
    """Key of what a store holds about a photo and a class; a photo may lie in the folders of two."""
    return hashlib.sha256(f"{digest}:{label}".encode()).hexdigest()
