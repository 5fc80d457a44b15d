"""Thresholds, components, boxes and regions of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dips.harvest.proposals import Proposals, propose
from dips.scoremaps.levels import otsu, quantise
from dips.types import FloatArray

BYTES = arrays(np.uint8, (9, 9))


def found(level_map: NDArray[np.float32], *, frame: int | None = None, **arguments: float) -> Proposals:
    return propose(level_map[None], frame=frame or len(level_map), **({"min_area": 0.0} | arguments))  # type: ignore[arg-type]


def squares(*corners: tuple[int, int, int, float], side: int = 20) -> NDArray[np.float32]:
    """``(x, y, size, value)`` on a map of 0."""
    level_map = np.zeros((side, side), np.float32)
    for x, y, size, value in corners:
        level_map[y : y + size, x : x + size] = value
    return level_map


@settings(max_examples=60)
@given(levels=BYTES)
def test_foreground_is_strictly_above_otsu_on_the_8_bit_map(levels: NDArray[np.uint8]) -> None:
    level_map: FloatArray = levels.astype(np.float32) / np.float32(255)
    level_map = level_map / np.float32(max(float(level_map.max()), 1e-9))
    proposals = found(level_map)
    cut = otsu(level_map)
    if cut is None:
        assert len(proposals) == 0
        return
    assert np.array_equal(proposals.regions.any(0), quantise(level_map) > cut)
    assert proposals.regions.sum() == proposals.regions.any(0).sum()  # components do not overlap
    for box, region in zip(proposals.boxes, proposals.regions, strict=True):
        y, x = np.nonzero(region)
        np.testing.assert_allclose(box * 9, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1e-5)


@settings(max_examples=40)
@given(levels=BYTES, factor=st.floats(0.01, 1.0))
def test_only_the_shares_of_the_maximum_count(levels: NDArray[np.uint8], factor: float) -> None:
    level_map = levels.astype(np.float64) / 255
    one, other = (found((level_map * f).astype(np.float32), levels=3) for f in (1.0, 2.0 ** round(np.log2(factor))))
    assert np.array_equal(one.regions, other.regions)


def test_no_minimum_is_subtracted() -> None:
    ramp = np.tile(np.linspace(0.6, 1.0, 8, dtype=np.float32), (8, 1))
    assert found(ramp, levels=1).regions.all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_has_no_region(value: float) -> None:
    proposals = found(np.full((6, 6), value, np.float32), frame=12)
    assert len(proposals) == 0
    assert proposals.boxes.shape == (0, 4) and proposals.regions.shape == (0, 12, 12) and proposals.sources.shape == (0,)
    assert len(found(np.full((6, 6), value, np.float32), levels=5)) == 0


def test_corners_touch() -> None:
    assert len(found(squares((2, 2, 4, 1.0), (6, 6, 4, 1.0)))) == 1
    assert len(found(squares((2, 2, 4, 1.0), (7, 6, 4, 1.0)))) == 2


def test_least_area() -> None:
    level_map = squares((0, 0, 10, 1.0), (15, 15, 4, 1.0), (15, 0, 2, 1.0))  # 25%, 4%, 1% of the map
    areas = [[round(float(a), 3) for a in box_areas(found(level_map, min_area=m))] for m in (0.0, 0.02, 0.04, 0.25, 1.0)]
    assert areas == [[0.25, 0.01, 0.04], [0.25, 0.04], [0.25], [0.25], [0.25]]  # at the minimum is not above it


def box_areas(proposals: Proposals) -> NDArray[np.float32]:
    x0, y0, x1, y1 = proposals.boxes.T
    return np.asarray((x1 - x0) * (y1 - y0))


def test_every_map_gives_its_largest_at_least() -> None:
    maps = np.stack([squares((0, 0, 3, 1.0)), squares((10, 10, 12, 1.0)), np.zeros((20, 20), np.float32)])
    proposals = propose(maps, min_area=0.2, frame=20)
    assert proposals.sources.tolist() == [0, 1]


def test_equal_regions_once() -> None:
    maps = np.stack([squares((3, 3, 5, 1.0)), squares((3, 3, 5, 0.5)), squares((3, 3, 5, 1.0), (12, 12, 5, 1.0))])
    proposals = propose(maps, min_area=0.0, frame=20)
    assert proposals.sources.tolist() == [0, 2]
    ring = squares((3, 3, 5, 1.0))
    ring[5, 5] = 0  # the same box, another region
    assert len(propose(np.stack([maps[0], ring]), min_area=0.0, frame=20)) == 2


def test_levels_are_shares_of_the_maximum() -> None:
    level_map = squares((2, 2, 16, 0.4), (4, 4, 8, 0.6), (5, 5, 3, 1.0))
    proposals = found(level_map, levels=3)  # .25, .5, .75
    assert proposals.regions.sum((1, 2)).tolist() == [256, 64, 9]


def test_power_tempers() -> None:
    away = np.hypot(*np.mgrid[-10:11, -10:11]).astype(np.float32)
    sizes = [int(found(np.exp(-away / 3), power=power).regions.sum()) for power in (3.0, 1.0, 0.3)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_maps_grow_as_torch_resizes_them() -> None:
    level_map = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    big = torch.nn.functional.interpolate(
        torch.from_numpy(level_map)[None, None], (40, 40), mode="bilinear", align_corners=False
    )[0, 0]
    big = big / big.max()
    proposals = found(level_map, frame=40, levels=1)
    sure = ((big - 0.5).abs() > 1e-4).numpy()
    assert np.array_equal(np.asarray(proposals.regions.any(0))[sure], (big > 0.5).numpy()[sure])
