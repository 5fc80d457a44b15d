"""Tiles cover a photo, and their maps become one without seams."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dips.scoremaps.levels import boxes_from_map
from dips.scoremaps.tiles import Blend, CellBlend, ClassVote, Tiles

lengths = st.integers(1, 400)


@given(lengths, lengths, st.integers(1, 200), st.floats(0, 0.75))
def test_tiles_cover_the_photo_and_overlap(width: int, height: int, side: int, overlap: float) -> None:
    tiles = Tiles.plan((width, height), side, overlap)
    seen = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in tiles:
        assert (x1 - x0, y1 - y0) == tiles.tile == (min(side, width), min(side, height))
        assert x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height
        seen[y0:y1, x0:x1] = True
    assert seen.all() and len(list(tiles)) == len(tiles)
    for starts, length in ((tiles.lefts, width), (tiles.tops, height)):
        steps = np.diff(starts)
        assert (steps <= max(1, side * (1 - overlap)) + 1).all(), "within a pixel of rounding"
        if length <= side:
            assert starts == (0,)


def joined(tiles: Tiles, whole: np.ndarray, resolution: int) -> np.ndarray:
    """Every tile's map cut from a map of the whole photo, in the photo's pixels."""
    blend = Blend(tiles, resolution)
    for x0, y0, x1, y1 in tiles:
        blend.add((x0, y0, x1, y1), np.ascontiguousarray(whole[y0:y1, x0:x1], dtype=np.float32))
    return blend.with_whole(whole.astype(np.float32))


def test_an_object_across_seams_is_one_object() -> None:
    """A long thin bar over four tiles: its map comes back, and it has one box."""
    whole = np.full((120, 400), 0.05, np.float32)
    whole[50:62, 20:380] = 0.9
    tiles = Tiles.plan((400, 120), 120, 0.25)
    assert len(tiles) == 5
    found = joined(tiles, whole, 120)
    assert found.shape == (120, 400)
    np.testing.assert_allclose(found, whole, atol=1e-3)
    boxes, _, _ = boxes_from_map(found, 0.5, min_area=0.001, max_boxes=9)
    assert boxes.tolist() == [[20, 50, 380, 62]]


def test_where_tiles_disagree_the_map_changes_gradually() -> None:
    tiles = Tiles.plan((190, 100), 100, 0.1)
    blend = Blend(tiles, 100)
    for value, tile in zip((0.2, 0.8), tiles, strict=True):
        blend.add(tile, np.full((100, 100), value, np.float32))
    row = blend.with_whole(np.full((10, 10), 0.5, np.float32))[50]
    odds = row / (1 - row)
    assert odds[[0, -1]] == pytest.approx([4 ** (-2 / 3), 4 ** (2 / 3)], rel=1e-3)
    assert (np.diff(row) >= -1e-6).all() and np.diff(row).max() < 0.2, "0.43 over the ten pixels of the overlap"


def test_the_whole_photo_counts_half_as_much_as_its_tiles() -> None:
    """The odds of both multiply, those of the whole to the power of 1/2, and their root of 3/2 is taken."""
    tiles = Tiles.plan((190, 100), 100, 0.1)
    blend = Blend(tiles, 100)
    for tile in tiles:
        blend.add(tile, np.full((100, 100), 0.2, np.float32))
    whole = np.full((50, 95), 0.5, np.float32)
    whole[10:20, 10:80] = 0.8
    found = blend.with_whole(whole)
    odds = found / (1 - found)
    assert found.shape == (100, 190)
    assert odds[30, 100] == pytest.approx((4**-1 * 4**0.5) ** (2 / 3)) and odds[80, 100] == pytest.approx(4 ** (-2 / 3))


def test_the_map_of_a_huge_photo_is_small() -> None:
    blend = Blend(Tiles.plan((30000, 20000), 512, 0.25), 160)
    assert 3_900_000 < blend.width * blend.height <= 4_010_000
    assert blend.width / blend.height == pytest.approx(1.5, rel=1e-3)


def test_a_photo_shows_what_any_view_shows() -> None:
    empty, bright = np.full((4, 4), 0.1, np.float32), np.full((4, 4), 0.9, np.float32)
    vote = ClassVote(empty, np.array([0.9, 0.06, 0.04], np.float32), background=0)
    vote.add(bright, np.array([0.05, 0.15, 0.8], np.float32))
    found = vote.probabilities()
    assert found.argmax() == 2 and found[0] == pytest.approx(0.05) and found.sum() == pytest.approx(1)
    vote = ClassVote(empty, np.array([0.5, 0.5], np.float32), background=None)
    vote.add(bright, np.array([0.9, 0.1], np.float32))
    assert vote.probabilities() == pytest.approx([0.86, 0.14])
    nothing = ClassVote(np.zeros((2, 2), np.float32), np.array([1.0, 0.0], np.float32), background=0)
    assert nothing.probabilities().tolist() == [1, 0]


def test_tall_and_wide_photos_are_joined_alike() -> None:
    """A map is brought to a tile's cells along each axis for itself: by means where it shrinks."""
    maps = [np.random.default_rng(seed).random((64, 64)).astype(np.float32) for seed in range(5)]
    joint = []
    for turned in (False, True):
        tiles = Tiles.plan((40, 400) if turned else (400, 40), 120, 0.25)
        blend = Blend(tiles, 64)
        for score_map, tile in zip(maps, tiles, strict=True):
            blend.add(tile, np.ascontiguousarray(score_map.T) if turned else score_map)
        joint.append(blend.with_whole(maps[0].T.copy() if turned else maps[0]))
    np.testing.assert_allclose(joint[0], joint[1].T, atol=1e-5)


@pytest.mark.parametrize(("size", "side", "overlap"), [((300, 200), 80, 0.25), ((90, 400), 100, 0.0), ((64, 64), 64, 0.5)])
def test_classes_of_cells_are_joined_where_they_are(size: tuple[int, int], side: int, overlap: float) -> None:
    """A photo whose left third is of one class, each tile saying so of its part."""
    tiles, (width, height) = Tiles.plan(size, side, overlap), size
    whole = np.zeros((3, 8, 8), np.float32)
    whole[0, :, : round(8 / 3)], whole[2, :, round(8 / 3) :] = 4, 4
    blend = CellBlend(tiles, whole)
    for tile in tiles:
        middles = tile[0] + (np.arange(8) + 0.5) * (tile[2] - tile[0]) / 8
        logits = np.zeros((3, 8, 8), np.float32)
        logits[0, :, middles < width / 3], logits[2, :, middles >= width / 3] = 4, 4
        blend.add(tile, logits)
    joined = blend.logits()
    assert joined.dtype == np.float32 and abs(joined.shape[2] / joined.shape[1] - width / height) < 0.3
    found, columns = joined.argmax(0), (np.arange(joined.shape[2]) + 0.5) / joined.shape[2]
    assert (found[:, columns < 0.25] == 0).all() and (found[:, columns > 0.42] == 2).all()


def test_classes_of_a_huge_photo_take_no_more_than_a_map() -> None:
    tiles = Tiles.plan((60000, 40000), 500, 0.0)
    blend = CellBlend(tiles, np.zeros((300, 16, 16), np.float32))
    for tile in list(tiles)[:3]:
        blend.add(tile, np.ones((300, 16, 16), np.float32))
    assert blend._sum.size <= 4_000_000
