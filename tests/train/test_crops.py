"""Photo, map and region must stay together through crop and flip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dips.data.images import resize_image
from dips.errors import ConfigError
from dips.train.crops import Crops, draw_crops


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def drawn_crops(draw: st.DrawFn) -> Crops:
    frame = draw(st.integers(2, 24))
    crop = draw(st.integers(1, frame))
    return draw_crops(draw(st.integers(1, 4)), frame, crop, draw(st.booleans()), generator(draw(st.integers(0, 1000))))


@given(drawn_crops())
def test_all_kinds_of_tensors_move_alike(crops: Crops) -> None:
    images = torch.randint(0, 256, (len(crops), 3, crops.frame, crops.frame), dtype=torch.uint8, generator=generator(1))
    cropped = crops.apply_to(images)
    assert cropped.dtype == torch.uint8 and cropped.shape == (len(crops), 3, crops.size, crops.size)
    assert torch.equal(crops.apply_to(images[:, 1].float()), cropped[:, 1].float())
    assert torch.equal(crops.apply_to(images[:, None] > 99), cropped[:, None] > 99)
    assert torch.equal(crops._index_windows(images), cropped), "the accelerator's way gives the same"
    for number, image in enumerate(images):
        top, left = int(crops.tops[number]), int(crops.lefts[number])
        window = image[:, top : top + crops.size, left : left + crops.size]
        assert torch.equal(cropped[number], window.flip(-1) if crops.flips[number] else window)


def test_draws_are_reproducible_uniform_and_independent_of_flip() -> None:
    first, again = draw_crops(512, 12, 8, True, generator()), draw_crops(512, 12, 8, True, generator())
    assert torch.equal(first.tops, again.tops) and torch.equal(first.flips, again.flips)
    plain = draw_crops(512, 12, 8, False, generator())
    assert torch.equal(plain.lefts, first.lefts) and not plain.flips.any()
    assert set(first.tops.tolist()) == set(first.lefts.tolist()) == {0, 1, 2, 3, 4}, "both ends of the range occur"
    assert 0.4 < first.flips.float().mean() < 0.6
    assert (first.tops != first.lefts).any()


def test_a_crop_of_the_frame_is_the_whole() -> None:
    images = torch.arange(36.0).reshape(1, 6, 6)
    assert torch.equal(draw_crops(1, 6, 6, False, generator()).apply_to(images), images)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.crop \(9\)"):
        draw_crops(2, 8, 9, True, generator())
    crops = draw_crops(2, 8, 4, True, generator())
    for shape in ((2, 3, 8, 7), (3, 8, 8), (2, 4, 4)):
        with pytest.raises(ValueError, match="expected"):
            crops.apply_to(torch.zeros(shape))


def test_resize_keeps_what_an_area_mean_keeps() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    assert (resize_image(stripes, (32, 32)) == 100).all(), "shrinking averages, it skips no pixel"
    assert resize_image(stripes, (64, 64)) is stripes
    grown = resize_image(stripes[:2, :2], (8, 6))
    assert grown.shape == (6, 8, 3) and grown.dtype == np.uint8 and (np.diff(grown[0, :, 0].astype(int)) <= 0).all()
    wide = np.zeros((3, 2000, 3), dtype=np.uint8)
    wide[:, ::2] = 200
    mixed = resize_image(wide, (100, 30))
    assert mixed.shape == (30, 100, 3) and (mixed == 100).all(), "also where the other axis grows"
    assert resize_image(stripes[..., 0], (5, 9)).shape == (9, 5)
    assert resize_image(np.full((1, 1, 3), 7, dtype=np.uint8), (4, 4)).tolist() == [[[7] * 3] * 4] * 4
