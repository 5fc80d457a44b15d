"""The CRF energy against the double sum it stands for, its gradient, and its scale."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dips.data.images import read_image, resize_image
from dips.train import crf
from dips.train.crf import crf_energy, crf_loss


def _naive(foreground: Tensor, images: Tensor) -> Tensor:
    """Both channels, all pairs, full size, written as the formula is; differentiable by autograd."""
    total = foreground.new_zeros(())
    height, width = foreground.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([y, x], -1).flatten(0, 1).to(foreground)
    for s, image in zip(foreground, images, strict=True):
        colour = image.flatten(1).T * 255
        exponent = (colour[:, None] - colour[None]).square().sum(-1) / (2 * 15**2)
        exponent = exponent + (place[:, None] - place[None]).square().sum(-1) / (2 * 100**2)
        weight = (-exponent).exp()
        for channel in (s.flatten(), 1 - s.flatten()):
            total = total + channel @ weight @ (1 - channel)
    return total / len(foreground)


def _scene(side: int = 20, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, side, side, generator=generator, dtype=torch.float64) * 0.2 + 0.4
    return torch.rand(batch, side, side, generator=generator, dtype=torch.float64), images


@pytest.mark.parametrize("rows", [7, 256])
def test_value_and_gradient_equal_the_double_sum(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf, "_CPU_ROWS", rows)  # many blocks with a ragged last one, and one block
    foreground, images = _scene()
    mine, theirs = foreground.clone().requires_grad_(), foreground.clone().requires_grad_()
    value, expected = crf_loss(mine, images, size=20, full=20), _naive(theirs, images)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_single_precision_is_enough() -> None:
    foreground, images = _scene()
    value = crf_loss(foreground.float(), images.float(), size=20, full=20)
    torch.testing.assert_close(value.double(), _naive(foreground, images), rtol=1e-5, atol=0)


def test_gradcheck_through_the_reduction() -> None:
    foreground, images = _scene(side=8)
    assert torch.autograd.gradcheck(lambda s: crf_loss(s, images, size=4, full=8), foreground.requires_grad_())


def test_gradcheck_of_the_energy() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    signal = torch.rand(2, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: crf_energy(s, features), signal)


def test_path_for_accelerators_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(3, 30, 5, generator=generator, dtype=torch.float64)
    signal = torch.rand(3, 30, generator=generator, dtype=torch.float64)
    weight = (-0.5 * torch.cdist(features, features).square()).exp()
    monkeypatch.setattr(crf, "_GPU_VALUES", 2 * 30**2)  # two images at once, then the third
    every, chosen = crf._filter_whole(*crf._factors(features), signal)
    torch.testing.assert_close(every, weight.sum(-1))
    torch.testing.assert_close(chosen, (weight @ signal[:, :, None])[..., 0])


@pytest.mark.parametrize("size", [4, 8, 16])
def test_reduced_size_keeps_the_scale_of_the_full_one(size: int) -> None:
    """Blocks of constant colour and probability are not changed by the reduction: the energy of size 32 stays (position
    matters little at sigma 100)."""
    coarse, images = _scene(side=4)
    foreground = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    full = crf_loss(foreground, images, size=32, full=32)
    assert math.isclose(crf_loss(foreground, images, size=size, full=32).item(), full.item(), rel_tol=0.01)


def test_position_is_measured_at_full_size() -> None:
    """Two halves of one colour, far apart at full size: with sigma_xy of 2 px they hardly meet, at any reduced size."""
    foreground = torch.zeros(1, 16, 16, dtype=torch.float64)
    foreground[:, :, 8:] = 1
    images = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    full = crf_loss(foreground, images, size=16, full=16, sigma_xy=4.0).item()
    half = crf_loss(foreground, images, size=8, full=16, sigma_xy=4.0).item()
    wide = crf_loss(foreground, images, size=16, full=16).item()
    assert math.isclose(half, full, rel_tol=0.05)
    assert full < 0.5 * wide


def test_like_neighbours_cost_nothing_and_an_edge_in_colour_is_cheap() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1.0
    split = torch.zeros(1, 8, 8)
    split[..., 4:] = 1.0
    across = split.mT
    assert crf_loss(torch.ones(1, 8, 8), images, size=8, full=8) == 0
    assert crf_loss(split, images, size=8, full=8) < 1e-3 < crf_loss(across, images, size=8, full=8)


def test_half_precision_and_smaller_images_pass() -> None:
    foreground, images = _scene(side=6)
    half = foreground.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = crf_loss(half, images.float(), size=48, full=6)
    assert value.dtype == torch.float32
    value.backward()
    assert half.grad is not None and half.grad.abs().sum() > 0


@pytest.mark.parametrize("number", range(3))
def test_a_weight_means_the_same_at_every_size_of_crop(real_data: Path, number: int) -> None:
    """A soft disc on a real photo: without the scaling its energy at 80 px would be a thirtieth of that at 224 px."""
    photo = read_image(sorted((real_data / "birds20" / "train").rglob("*.jpg"))[number])

    def energy(side: int, full: int) -> float:
        image = torch.from_numpy(resize_image(photo, (side, side)).copy()).permute(2, 0, 1)[None] / 255
        along = (torch.arange(side) + 0.5) / side - 0.5
        disc = torch.sigmoid((0.3 - (along[:, None] ** 2 + along**2).sqrt()) * 20)[None]
        return crf_loss(disc, image, size=48, full=full).item()

    paper = energy(224, 224)  # at its own size nothing is scaled
    for side in (80, 160):
        assert math.isclose(energy(side, 224), paper, rel_tol=0.1)
        assert energy(side, side) < 0.4 * paper
    # the paper took the weight for 224 px at 448 px, too: there it is another loss, several times as strong
    assert 4 * paper < energy(448, 448) < 16 * paper
    assert math.isclose(energy(448, 224), paper, rel_tol=0.1)
