"""Order, choice of proposals and stacking of the harvested photos."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pytest
import torch

from dips.config import TrainConfig
from dips.errors import ConfigError, RunError
from dips.train.batches import Batch, Feed, derive_seed

CONFIG = TrainConfig(batch=4, resize=32)


@dataclass(frozen=True)
class _Item:
    image: np.ndarray
    maps: np.ndarray
    regions: np.ndarray
    boxes: np.ndarray
    label: int


def _items(count: int, proposals: int | None = None, side: int = 32) -> list[_Item]:
    """Photo i is painted with i, its proposal p has p + 1 in the map's corner; every fifth photo has none."""
    items = []
    for index in range(count):
        p = (index % 5) if proposals is None else proposals
        maps = np.zeros((p, 4, 4), np.float16)
        maps[:, 0, 0] = np.arange(p) + 1
        boxes = np.tile(np.array([0, 0, 0.5, 0.5], np.float32), (p, 1))
        image = np.full((side, side, 3), index, np.uint8)
        image.flags.writeable = False  # as a memory-mapped store hands it over
        items.append(_Item(image, maps, np.ones((p, 8, 8), np.bool_), boxes, index % 3))
    return items


def _photos(feed: Feed, epoch: int = 0, skip: int = 0) -> list[list[int]]:
    return [batch.images[:, 0, 0, 0].tolist() for batch in feed.epoch(epoch, skip=skip)]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 16])
def test_every_photo_once_in_batches_of_like_size(count: int) -> None:
    feed = Feed(_items(count), CONFIG)
    photos = _photos(feed)
    assert sorted(chain(*photos)) == list(range(count))
    assert len(photos) == feed.steps == -(-count // 4)
    sizes = [len(batch) for batch in photos]
    assert max(sizes) <= 4 and max(sizes) - min(sizes) <= 1


def test_order_follows_seed_and_epoch() -> None:
    feed = Feed(_items(16), CONFIG)
    assert _photos(feed) == _photos(feed)
    assert _photos(feed, 0) != _photos(feed, 1)
    assert _photos(feed) != _photos(Feed(_items(16), replace(CONFIG, seed=1)))


def test_skipped_batches_leave_the_rest_as_it_was() -> None:
    feed = Feed(_items(14), CONFIG)
    whole, rest = list(feed.epoch(2)), list(feed.epoch(2, skip=2))
    assert len(rest) == len(whole) - 2
    for one, other in zip(whole[2:], rest, strict=True):
        for name in vars(one):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_ranks_share_every_batch() -> None:
    both = [_photos(Feed(_items(10), CONFIG, rank=rank, world=2)) for rank in range(2)]
    assert len(both[0]) == len(both[1]) == 3
    assert sorted(chain(*both[0], *both[1])) == list(range(10))
    assert [sorted(a + b) for a, b in zip(*both, strict=True)] == [sorted(b) for b in _photos(Feed(_items(10), CONFIG))]


def test_proposals_are_drawn_anew_and_uniformly() -> None:
    feed = Feed(_items(8, proposals=3), CONFIG)
    seen: Counter[float] = Counter()
    for epoch in range(60):
        for batch in feed.epoch(epoch):
            seen.update(batch.maps[:, 0, 0, 0].tolist())
    assert set(seen) == {1.0, 2.0, 3.0}
    assert all(abs(times - 160) < 4 * (480 * 2 / 9) ** 0.5 for times in seen.values())


def test_shapes_and_photos_without_proposal() -> None:
    batch: Batch = next(Feed(_items(10), replace(CONFIG, batch=10)).epoch(0))
    assert batch.images.shape == (10, 32, 32, 3) and batch.images.dtype == torch.uint8
    assert batch.maps.shape == (10, 1, 4, 4) and batch.regions.shape == (10, 1, 8, 8) and batch.boxes.shape == (10, 4)
    photo = batch.images[:, 0, 0, 0].long()
    assert torch.equal(batch.has_proposal, photo % 5 != 0) and torch.equal(batch.labels, photo % 3)
    assert not batch.maps[~batch.has_proposal].any() and not batch.regions[~batch.has_proposal].any()


def test_no_photo_with_a_proposal_in_a_batch() -> None:
    batch = next(Feed(_items(4, proposals=0), CONFIG).epoch(0))
    assert not batch.has_proposal.any() and len(batch.maps) == len(batch.regions) == 4


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(RunError, match="no photo"):
        Feed([], CONFIG)
    with pytest.raises(RunError, match=r"train\.batch"):
        Feed(_items(5), CONFIG, world=3)
    with pytest.raises(ConfigError, match=r"train\.resize is 64"):
        next(Feed(_items(4), replace(CONFIG, resize=64)).epoch(0))


def test_seeds_differ_in_every_place() -> None:
    seeds = {derive_seed(*numbers) for numbers in np.ndindex(3, 3, 3, 3)}
    assert len(seeds) == 81 and all(0 <= seed < 2**63 for seed in seeds)
