"""The second half of the harvest: proposals, their scores, and what training reads from them (paper 3.1, 3.2).

In: a :class:`~dips.harvest.harvest.Harvest`, a fitted classifier and labels. Out: :class:`ScoredPhotos`, which are
:class:`~dips.train.batches.TrainingPhotos`. Scores are stored under the classifier's own hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dips.config import HarvestConfig
from dips.data.images import resize_image
from dips.data.outlines import HALF, object_shares
from dips.harvest.harvest import Harvest
from dips.harvest.proposals import propose
from dips.harvest.scoring import best_proposals, score_proposals
from dips.harvest.store import Arrays, Shelf, Store, network_hash
from dips.system.console import counted, log, track
from dips.types import FloatArray, Review

__all__ = ["ScoredPhoto", "ScoredPhotos", "record_key", "reviewed_photo", "score_photos"]


@dataclass(frozen=True)
class ScoredPhoto:
    """One photo with its P best proposals.

    Attributes:
        image: ``(S, S, 3) uint8``.
        maps: ``(P, h, w) float16``, the map each proposal comes from, tempered, maximum 1.
        regions: ``(P, F, F) bool``.
        boxes: ``(P, 4) float32``, ``x0 y0 x1 y1`` as fractions of the frame.
        scores: ``(P,) float32``, the classifier's probability of the photo's class.
        label: index of the class.
    """

    image: NDArray[np.uint8]
    maps: NDArray[np.float16]
    regions: NDArray[np.bool_]
    boxes: FloatArray
    scores: FloatArray
    label: int


class ScoredPhotos:
    """Photos with their best proposals, read from the store one at a time."""

    def __init__(
        self,
        harvest: Harvest,
        shelf: Shelf,
        index: Sequence[int],
        labels: Sequence[int],
        background: int | None,
        reviews: Mapping[str, Review],
    ) -> None:
        self.harvest, self.shelf, self.background, self.reviews = harvest, shelf, background, reviews
        self.positions, self.labels = list(index), list(labels)

    @property
    def review(self) -> list[str]:
        """The reviews of the photos, as text that differs whenever a review differs."""
        return sorted(f"{digest}{review}" for digest, review in self.reviews.items())

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int, /) -> ScoredPhoto:
        if position >= len(self):
            raise IndexError(position)
        label = self.labels[position]
        digest = self.harvest.digests[self.positions[position]]
        image = self.harvest.square(digest)
        if label == self.background:
            empty = np.zeros((0, 1, 1))
            return ScoredPhoto(
                image,
                empty.astype(np.float16),
                empty.astype(bool),
                np.zeros((0, 4), np.float32),
                np.zeros(0, np.float32),
                label,
            )
        record = self.shelf.require(record_key(digest, label))
        side = int(record["side"][0])
        count = len(record["boxes"])
        regions = np.unpackbits(record["regions"], axis=1, count=side * side).reshape(count, side, side).astype(bool)
        scored = ScoredPhoto(image, record["maps"], regions, record["boxes"], record["scores"], label)
        review = self.reviews.get(digest)
        return reviewed_photo(scored, review) if review else scored


def score_photos(
    harvest: Harvest,
    index: Sequence[int],
    labels: Sequence[int],
    classifier: nn.Module,
    *,
    config: HarvestConfig,
    side: int,
    store: Store,
    background: int | None,
    reviews: Mapping[str, Review],
    device: torch.device,
) -> ScoredPhotos:
    """Make proposals, score them, and keep the best; what the store holds is not computed again.

    Args:
        index: positions in ``harvest.samples``.
        labels: their classes.
        classifier: ``(B, 3, side, side)`` in [0, 1] to logits, in evaluation mode.
        side: side of the frame on which proposals are made and scored.
        reviews: reviews by digest; the reviewed objects replace the photo's proposals.
    """
    settings = {
        "version": 1,
        "maps": harvest.maps.folder.name,
        "squares": harvest.squares.folder.name,
        "classifier": network_hash(classifier),
        "side": side,
        **{
            name: getattr(config, name)
            for name in ("heads", "map_power", "levels", "min_area", "score_on", "top_p", "min_score")
        },
    }
    shelf = store.shelf("proposals", settings)
    pairs = {
        record_key(harvest.digests[i], label): (harvest.digests[i], label)
        for i, label in zip(index, labels, strict=True)
        if label != background
    }
    missing = shelf.missing(pairs)
    log(f"proposals: {counted(len(pairs) - len(missing), 'photo', 'is')} in the store, {len(missing)} to be scored")
    step = config.batch
    for start in track(range(0, len(missing), step), "proposals", -(-len(missing) // step)):
        keys = missing[start : start + step]
        batch = [pairs[key] for key in keys]
        images = [resize_image(harvest.square(digest), (side, side)) for digest, _ in batch]
        sources = [harvest.source_maps(digest, config.heads) for digest, _ in batch]
        proposals = [
            propose(maps, min_area=config.min_area, frame=side, power=config.map_power, levels=config.levels)
            for maps in sources
        ]
        scores = score_proposals(
            classifier, images, proposals, [label for _, label in batch], score_on=config.score_on, device=device
        )
        records: dict[str, Arrays] = {}
        for key, maps, candidates, values in zip(keys, sources, proposals, scores, strict=True):
            chosen = best_proposals(values, top_p=config.top_p, min_score=config.min_score)
            regions = candidates.regions[chosen]
            records[key] = {
                "maps": (maps[candidates.sources[chosen]] ** config.map_power).astype(np.float16),
                "regions": np.packbits(regions.reshape(len(chosen), side * side), axis=1),
                "boxes": candidates.boxes[chosen],
                "scores": values[chosen],
                "side": np.array([side], np.int32),
            }
        shelf.put(records)
    return ScoredPhotos(harvest, shelf, index, labels, background, reviews)


def reviewed_photo(photo: ScoredPhoto, review: Review) -> ScoredPhoto:
    """Return a photo whose only proposal covers a person's objects (at least one) and nothing else.

    Args:
        photo: has at least one proposal; its map is kept inside the boxes, or the outlines where there are any.
    """
    shares, inside = (object_shares(review, shape).max(0) for shape in (photo.regions.shape[1:], photo.maps.shape[1:]))
    region = shares >= HALF
    within = photo.maps[0] * inside.astype(np.float16)
    within = within / within.max() if within.any() else (inside / inside.max()).astype(np.float16)
    around = np.concatenate([review.boxes[:, :2].min(0), review.boxes[:, 2:].max(0)])
    scores = np.ones(1, np.float32)
    return dataclasses.replace(photo, maps=within[None], regions=region[None], boxes=around[None], scores=scores)


def record_key(digest: str, label: int) -> str:
    """Return the store's key for a photo and a class; the same photo may be in the folders of two classes."""
    return hashlib.sha256(f"{digest}:{label}".encode()).hexdigest()
