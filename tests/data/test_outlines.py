"""Outlines on grids: the same from polygons and run lengths, in windows, and however large the picture is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dips.data.outlines import coverage
from dips.errors import DataError
from dips.scoremaps.rle import encode, run_lengths
from dips.types import Outline

SIZE = (64, 48)  # width, height
CORNERS = np.array([[8, 12], [40, 12], [40, 36], [8, 36]], np.float32)


def drawn() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[12:36, 8:40] = True
    return mask


@pytest.mark.parametrize("shape", [(48, 64), (12, 16), (96, 128), (6, 8)])
@pytest.mark.parametrize("kind", ["polygon", "parts", "compressed", "lengths"])
def test_a_rectangle_has_its_cells(shape: tuple[int, int], kind: str) -> None:
    outline = {
        "polygon": Outline(SIZE, (CORNERS,)),
        "parts": Outline(SIZE, (CORNERS * (0.5, 1) + (4, 0), CORNERS * (0.5, 1) + (20, 0), CORNERS)),
        "compressed": Outline(SIZE, runs=encode(drawn())),
        "lengths": Outline(SIZE, runs=tuple(run_lengths(drawn()).tolist())),
    }[kind]
    expected = cv2.resize(drawn().astype(np.float32), (1024, 768), interpolation=cv2.INTER_NEAREST)
    expected = cv2.resize(expected, shape[::-1], interpolation=cv2.INTER_AREA)
    found = coverage(outline, shape)
    assert found.shape == shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.13)
    assert abs(float(found.mean()) - drawn().mean()) < 0.01


def test_holes_and_slopes() -> None:
    ring = np.zeros((40, 40), np.uint8)
    cv2.circle(ring, (20, 20), 14, 1, 5)
    found = coverage(Outline((40, 40), runs=encode(ring > 0)), (40, 40))
    assert np.array_equal(found, ring)
    triangle = coverage(Outline((100, 50), (np.array([[0, 0], [100, 0], [0, 50]], np.float32),)), (10, 10))
    np.testing.assert_allclose(triangle, np.fliplr(np.triu(np.ones((10, 10)), 1)) + np.fliplr(np.eye(10)) / 2, atol=0.05)


@pytest.mark.parametrize("runs", [True, False])
def test_a_window_shows_its_part(runs: bool) -> None:
    outline = Outline(SIZE, runs=encode(drawn())) if runs else Outline(SIZE, (CORNERS,))
    whole = coverage(outline, (48, 64))
    part = coverage(replace(outline, window=(0.25, 0.5, 0.75, 1.0)), (24, 32))
    np.testing.assert_allclose(part, whole[24:, 16:48], atol=0.13)
    assert not coverage(replace(outline, window=(0.75, 0.0, 1.0, 1.0)), (4, 4)).any()


@pytest.mark.parametrize("runs", [True, False])
def test_a_small_object_of_a_huge_picture(runs: bool) -> None:
    """It is not drawn at the size of the picture; an object that is thinner than a cell has a share of it."""
    size = (40_000, 40_000)
    wire = np.ones((20_000, 100), bool)
    corners = np.array([[10_000, 0], [10_100, 0], [10_100, 20_000], [10_000, 20_000]], np.float32)
    found = coverage(
        Outline(size, runs=encode(wire, corner=(10_000, 0), size=size)) if runs else Outline(size, (corners,)), (16, 16)
    )
    assert (found[:8, 4] > 0).all() and not np.delete(found, 4, axis=1).any() and not found[8:].any()
    assert found.max() < 0.1


def test_nothing_and_nonsense() -> None:
    assert not coverage(Outline(SIZE, runs=(48 * 64,)), (8, 8)).any()
    assert not coverage(Outline(SIZE, (CORNERS + 1e9,)), (8, 8)).any()
    for runs in ("??", (5, 5)):
        with pytest.raises(DataError):
            coverage(Outline(SIZE, runs=runs), (8, 8))
