"""Where the second look is directed, what it sees, and how both looks become one map."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from dips.models.second_look import SECOND_WEIGHT, crop, object_windows, paste
from dips.scoremaps.levels import components


def logits_of(mask: np.ndarray, peak: tuple[int, int]) -> Tensor:
    logits = torch.from_numpy(np.where(mask, 1.0, -1.0).astype(np.float32))
    logits[peak] = 2
    return logits[None]


def expected_window(mask: np.ndarray, peak: tuple[int, int]) -> list[float]:
    """The window by OpenCV's components."""
    labels, stats = components(mask)
    x, y, width, height, _ = stats[labels[peak]]
    window = []
    for start, length, cells in ((x, width, mask.shape[1]), (y, height, mask.shape[0])):
        centre, half = (start + length / 2) / cells, max(0.75 * length / cells, 0.125)
        window.append((max(0.0, centre - half), min(1.0, centre + half)))
    return [window[0][0], window[1][0], window[0][1], window[1][1]]


@settings(max_examples=50)
@given(st.integers(4, 16), st.integers(0, 10**6), st.floats(0.05, 0.7))
def test_the_window_holds_the_component_of_the_peak(side: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((side, side)) < density
    peak = (int(rng.integers(side)), int(rng.integers(side)))
    mask[peak] = True
    window = object_windows(logits_of(mask, peak), torch.tensor(0.0))
    assert window[0].tolist() == pytest.approx(expected_window(mask, peak), abs=1e-6)


def test_each_map_of_a_batch_has_its_own_window() -> None:
    logits = torch.full((3, 64, 64), -1.0)
    logits[0, 8:24, 8:40] = 1
    logits[1, 40:60, 40:60] = 1
    logits[2] = 1  # flat: everything is one object
    windows = object_windows(logits, 0.0)
    np.testing.assert_allclose(windows[0], [0, 0.0625, 0.75, 0.4375], atol=1e-6)
    assert windows[1, 0] == windows[1, 1] == pytest.approx(0.625 - 0.078125) and windows[2].tolist() == [0, 0, 1, 1]
    for one, window in zip(logits, windows, strict=True):
        assert torch.equal(object_windows(one[None], 0.0)[0], window), "whatever else is in the batch"


def test_of_two_equal_peaks_the_first_is_taken() -> None:
    logits = torch.full((1, 16, 16), -1.0)
    logits[0, 1:3, 1:3] = logits[0, 12:15, 12:15] = 9.21
    assert object_windows(logits, 0.0)[0].tolist() == pytest.approx([0.03125, 0.03125, 0.21875, 0.21875], abs=0.04)


@pytest.mark.parametrize("window", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.5, 0.75, 1.0), (0.5, 0.25, 0.75, 0.75)])
def test_a_crop_shows_its_window(window: tuple[float, float, float, float]) -> None:
    """Of a picture that is linear in its pixels, away from its rim, sampling is exact."""
    rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    pictures = torch.stack([columns, rows])[None] / 64
    found = crop(pictures, torch.tensor([window]), 16)
    for axis, values in ((0, found[0, 0, 8]), (1, found[0, 1, :, 8])):
        centres = (torch.arange(16) + 0.5) / 16
        expected = window[axis] + (window[axis + 2] - window[axis]) * centres
        torch.testing.assert_close(values, expected, atol=0.5 / 64, rtol=0)
        torch.testing.assert_close(values[1:-1], expected[1:-1], atol=1e-5, rtol=0)


def test_what_was_cut_out_comes_back_where_it_was() -> None:
    first = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    first = torch.nn.functional.avg_pool2d(first[None], 15, stride=1, padding=7)[0]  # smooth
    windows = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.5, 0.5, 1.0]])
    again = crop(first[:, None], windows, 64)[:, 0]
    torch.testing.assert_close(paste(first, again, windows), first, atol=0.01, rtol=0)
    doubled = paste(first, again + 1, windows)
    inside = torch.zeros(2, 64, 64)
    inside[0, 16:48, 16:48] = inside[1, 32:, :32] = 1
    torch.testing.assert_close(doubled - first, SECOND_WEIGHT * inside, atol=0.01, rtol=0)


def test_nothing_is_skipped_where_a_crop_shrinks() -> None:
    """Every pixel of a fine pattern counts, as in its mean."""
    pattern = torch.zeros(1, 1, 256, 256)
    pattern[..., ::4] = 1
    found = crop(pattern, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 32)
    torch.testing.assert_close(found[..., 4:-4, 4:-4], torch.full((1, 1, 24, 24), 0.25), atol=0.05, rtol=0)
