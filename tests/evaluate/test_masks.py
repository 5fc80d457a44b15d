from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.errors import ProtocolError
from dips.evaluate import PixelAccumulator, mask_to_frame, pxap


def made(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    masks = random.choice(np.array([0, 1, 255], np.uint8), (count, 9, 11), p=[0.6, 0.3, 0.1])
    masks[0, 0, 0] = 1
    maps = np.clip(random.random((count, 9, 11)) * 0.7 + 0.3 * (masks == 1), 0, 1).astype(np.float32)
    return maps, masks


def test_perfect_maps_reach_100() -> None:
    masks = np.array([[[0, 1, 255], [1, 0, 255]]])
    maps = (masks == 1).astype(float)
    maps[masks == 255] = 0.5  # ignored
    assert pxap(maps, masks) == pytest.approx(100)


def test_worst_maps_get_the_share_of_the_object() -> None:
    masks = np.array([[[0, 1, 0, 0]]])
    assert pxap(1.0 - masks, masks) == pytest.approx(25)
    assert pxap(np.ones((1, 1, 4)), masks) == pytest.approx(25)  # says nothing: precision is the object's share


def test_average_precision_by_hand() -> None:
    # falling thresholds: 0.8 object, 0.6 background, 0.4 object -> 1/2 * 1 + 1/2 * 2/3
    assert pxap([[[0.8, 0.6, 0.4]]], [[[1, 0, 1]]]) == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3))


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_merging_equals_counting_together(seed: int) -> None:
    maps, masks = made(seed)
    one, two = PixelAccumulator(), PixelAccumulator()
    one.add(maps[0], masks[0])
    for index in (1, 2):
        two.add(maps[index], masks[index])
    one.merge(two)
    assert one.result() == pxap(maps, masks)
    assert 0 <= one.result() <= 100 + 1e-9


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((2, 3, 3)), np.zeros((1, 3, 3)), "one mask per score map"),
        (np.zeros((1, 3, 3)), np.ones((1, 3, 4)), "shape"),
        (np.zeros((1, 3, 3)), np.full((1, 3, 3), 2), "0 .background., 1 .object. and 255"),
        (np.full((1, 3, 3), 2.0), np.ones((1, 3, 3)), r"\[0, 1\]"),
        (np.zeros((1, 3, 3)), np.zeros((1, 3, 3)), "at least one object pixel"),
    ],
)
def test_mistakes_are_told(maps: np.ndarray, masks: np.ndarray, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        pxap(maps, masks)


def test_masks_are_resized_to_the_nearest_pixel() -> None:
    mask = np.zeros((100, 300), np.uint8)
    mask[:50, :150] = 1
    mask[50:, 150:] = 255
    small = mask_to_frame(mask)
    assert small.shape == (224, 224) and set(np.unique(small)) == {0, 1, 255}
    assert (small[:112, :112] == 1).all() and (small[112:, 112:] == 255).all()
