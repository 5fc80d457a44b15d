"""Crops: their sides, and that they follow from seed and place alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dips.adaptation import crops
from dips.adaptation.crops import Crops, Feed, crop_sides

from .conftest import CONFIG, MemoryPhotos


def drawn(feed: Feed, start: int = 0, end: int = 3) -> list[Crops]:
    return list(feed.steps(start, end))


def equal(one: list[Crops], other: list[Crops]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(left, right) for a, b in pairs for left, right in zip(a, b, strict=True))


def test_sides_are_whole_patches() -> None:
    assert crop_sides(CONFIG, 8) == (32, 16) and crop_sides(CONFIG, 14) == (28, 14)
    assert crop_sides(replace(CONFIG, local_side=28), 64) == (64, 64), "at least one patch"


def test_shapes() -> None:
    large, small = drawn(Feed(MemoryPhotos(), CONFIG, 8))[0]
    assert large.shape == (2, 4, 3, 32, 32) and small.shape == (2, 4, 3, 16, 16)
    assert large.dtype == small.dtype == torch.uint8
    assert not torch.equal(large[0], large[1]) and not torch.equal(small[0], small[1])
    large, small = drawn(Feed(MemoryPhotos(), replace(CONFIG, local_crops=0), 8))[0]
    assert len(large) == 2 and len(small) == 0


def test_what_is_drawn_follows_from_the_seed() -> None:
    first = drawn(Feed(MemoryPhotos(), CONFIG, 8))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = Feed(MemoryPhotos(), CONFIG, 8)
    assert equal(first, drawn(again)) and torch.equal(torch.get_rng_state(), before)
    assert equal(first[1:], drawn(Feed(MemoryPhotos(), CONFIG, 8), 1)), "a resumed run draws the same"
    assert not equal(first, drawn(Feed(MemoryPhotos(), replace(CONFIG, seed=1), 8)))


def test_processes_share_a_step() -> None:
    whole = drawn(Feed(MemoryPhotos(), CONFIG, 8))
    halves = [drawn(Feed(MemoryPhotos(), CONFIG, 8, rank=rank, world=2)) for rank in range(2)]
    for (large, small), *parts in zip(whole, *halves, strict=True):
        for rank, (own_large, own_small) in enumerate(parts):
            assert torch.equal(own_large, large[:, rank::2]) and torch.equal(own_small, small[:, rank::2])


@pytest.mark.slow
def test_workers_change_nothing() -> None:
    assert equal(drawn(Feed(MemoryPhotos(), CONFIG, 8)), drawn(Feed(MemoryPhotos(), replace(CONFIG, workers=1), 8)))


def test_every_photo_once_in_a_pass() -> None:
    class Counting(MemoryPhotos):
        def __getitem__(self, index: int) -> torch.Tensor:
            seen.append(index)
            return super().__getitem__(index)

    seen: list[int] = []
    drawn(Feed(Counting(6), CONFIG, 8), 0, 3)  # 12 places
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6)) and seen[:6] != seen[6:]


def test_each_crop_has_its_own_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blur at 1, 0.1 and 0.5, solarisation of the second crop alone (Caron et al., appendix); local crops show less."""
    made: list[tuple[object, ...]] = []
    original = crops._augmentation

    def spy(side: int, scale: tuple[float, float], colour: float, *, blur: float, solarise: float) -> Any:
        made.append((side, scale, blur, solarise))
        return original(side, scale, colour, blur=blur, solarise=solarise)

    monkeypatch.setattr(crops, "_augmentation", spy)
    Feed(MemoryPhotos(), replace(CONFIG, scale=0.3), 8)
    assert made == [(32, (0.3, 1.0), 1.0, 0.0), (32, (0.3, 1.0), 0.1, 0.2), (16, (0.05, 0.3), 0.5, 0.0)]


def test_only_the_second_crop_is_solarised() -> None:
    photos = MemoryPhotos(2)
    photos.photos = [torch.full((3, 40, 48), 250, dtype=torch.uint8)] * 2
    pairs = drawn(Feed(photos, replace(CONFIG, colour=1.0), 8), 0, 12)
    large, small = (torch.stack(part).float().mean((-3, -2, -1)) for part in zip(*pairs, strict=True))
    assert (large[:, 1] < 60).any(), "jitter alone leaves such a photo brighter than this"
    assert (large[:, 0] >= 60).all() and (small >= 60).all()


def test_without_colour_only_the_place_changes() -> None:
    """A photo of one colour keeps it."""
    photos = MemoryPhotos(2)
    photos.photos = [torch.full((3, 40, 48), 90, dtype=torch.uint8)] * 2
    plain = drawn(Feed(photos, replace(CONFIG, colour=0.0), 8))
    assert all((part.float() - 90).abs().max() <= 1 for pair in plain for part in pair)
    coloured = drawn(Feed(photos, replace(CONFIG, colour=1.0), 8))
    assert any((part.float() - 90).abs().max() > 10 for pair in coloured for part in pair)
