"""Photos on their way into a network: channels first, in [0, 1], at its side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dips.models.inputs import resize_to, to_tensor, whole_patches


def test_photos_become_a_batch() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    batch = to_tensor(photos)
    assert batch.shape == (2, 3, 4, 5) and batch.dtype == torch.float32
    np.testing.assert_allclose(batch.numpy(), photos.transpose(0, 3, 1, 2) / 255, atol=1e-7)
    assert torch.equal(to_tensor(list(photos)), batch)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (30, 50), (64, 64), (200, 3)])
def test_resize_to(height: int, width: int) -> None:
    images = torch.rand(1, 3, height, width)
    resized = resize_to(images, 32)
    assert resized.shape == (1, 3, 32, 32)
    assert float(resized.min()) >= -1e-6 and float(resized.max()) <= 1 + 1e-6
    assert resize_to(resized, 32) is resized
    torch.testing.assert_close(resize_to(images.flip(-1), 32), resized.flip(-1), atol=1e-5, rtol=1e-4)


def test_shrinking_averages() -> None:
    """A fine checkerboard becomes grey; without antialiasing it would become black or white."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    small = resize_to(board.float().expand(1, 3, 64, 64), 16)
    assert (small - 0.5).abs().max() < 0.05


@given(size=st.integers(28, 2048), patch=st.sampled_from([8, 14, 16]))
def test_whole_patches(size: int, patch: int) -> None:
    side = whole_patches(size, patch)
    assert side % patch == 0 and side >= patch and abs(side - size) <= patch / 2
