"""Photo, activation, region and box stay on top of each other through crop and flip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dips.config import TrainConfig
from dips.train.augment import draw_views
from dips.train.batches import Batch

CONFIG = TrainConfig(resize=64, crop=48, fg_from="region", bg_from="outside")


def _batch(count: int = 8, side: int = 64, region: int = 64) -> Batch:
    """An object in the columns 16 to 40 and rows 24 to 56 of 64, painted into all of them."""
    share = torch.tensor([16, 24, 40, 56]) / 64
    image = torch.zeros(count, side, side, 3, dtype=torch.uint8)
    image[:, 24:56, 16:40] = 255
    maps = torch.zeros(count, 1, 8, 8, dtype=torch.float16)
    maps[..., 3:7, 2:5] = 1.0
    regions = torch.zeros(count, 1, region, region, dtype=torch.bool)
    x0, y0, x1, y1 = (share * region).int().tolist()
    regions[..., y0:y1, x0:x1] = True
    return Batch(image, maps, regions, share.expand(count, 4), torch.arange(count), torch.ones(count, dtype=torch.bool))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("region", [8, 32, 64, 128])
@pytest.mark.parametrize("fg_from", ["region", "box"])
def test_everything_moves_together(region: int, fg_from: Any) -> None:
    views = draw_views(_batch(region=region), replace(CONFIG, fg_from=fg_from), _generator())
    painted = views.images[:, 0] > 0.5
    assert views.images.shape == (8, 3, 48, 48) and views.images.max() == 1 and painted.any((1, 2)).all()
    assert torch.equal(views.inside, painted)
    assert torch.equal(views.outside, ~painted)
    assert (views.activation[painted] >= 0.25).all()  # at a corner two of four neighbours' shares meet
    assert ((views.activation >= 0.5) == painted).float().mean() > 0.98
    assert torch.equal(views.labels, torch.arange(8))


def test_background_from_the_whole_image() -> None:
    assert draw_views(_batch(), replace(CONFIG, bg_from="image"), _generator()).outside.all()


def test_the_crops_maximum_is_one_and_no_minimum_is_taken_off() -> None:
    batch = _batch()
    maps = torch.full_like(batch.maps, 0.25)
    maps[..., 0, 0] = 1.0  # lost in most crops
    views = draw_views(replace(batch, maps=maps), replace(CONFIG, crop=32), _generator())
    np.testing.assert_allclose(views.activation.amax((1, 2)), 1.0)
    constant = views.activation.flatten(1).std(1) < 1e-6
    assert constant.any() and (views.activation[constant] == 1).all()


def test_empty_map_stays_zero() -> None:
    batch = _batch()
    views = draw_views(replace(batch, maps=torch.zeros_like(batch.maps)), CONFIG, _generator())
    assert (views.activation == 0).all()


def test_crops_differ_between_photos_and_follow_the_generator() -> None:
    first, again, other = (draw_views(_batch(), CONFIG, _generator(seed)).images for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 1
