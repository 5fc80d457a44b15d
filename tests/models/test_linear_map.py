"""Linear maps: their algebra against a naive loop, the joining of grids and classes, and that they travel as tensors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dips.models.linear_map import LinearMap, LinearMaps, add_grids, unit_keys


def made(outputs: int, *, channels: tuple[int, ...] = (3, 5, 4), seed: int = 0) -> LinearMap:
    """A map of random weights."""
    random = torch.Generator().manual_seed(seed)
    linear = LinearMap(channels, outputs)
    for weight in linear.weights:
        weight.copy_(torch.randn(weight.shape, generator=random))
    linear.bias.copy_(torch.randn(outputs, generator=random))
    return linear


def blocks(*, grids: tuple[int, ...] = (8, 4, 6), channels: tuple[int, ...] = (3, 5, 4), seed: int = 1) -> list[Tensor]:
    """Features of two photos."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, width, grid, grid, generator=random) for width, grid in zip(channels, grids, strict=True)]


def naive(linear: LinearMap, features: list[Tensor], priors: Tensor) -> Tensor:
    """Return the logits cell by cell, on features that were resized first."""
    side = max(block.shape[-1] for block in features)
    joint = [F.interpolate(block, (side, side), mode="bilinear", align_corners=False) for block in features]
    result = torch.zeros(len(priors), side, side)
    for photo, classes in enumerate(priors):
        likeliest = sorted(range(len(classes)), key=lambda k: -float(classes[k]))[:5]
        for y in range(side):
            for x in range(side):
                odds = torch.zeros(())
                for k in likeliest:
                    logit = linear.bias[k]
                    for block, weight in zip(joint, linear.weights, strict=True):
                        logit = logit + weight[k] @ block[photo, :, y, x]
                    odds = odds + classes[k] * logit.exp()
                result[photo, y, x] = odds.log()
    return result


@settings(max_examples=10)
@given(outputs=st.integers(1, 9), grids=st.sampled_from([(8, 4, 6), (4, 4, 4), (1, 7, 2)]), seed=st.integers(0, 99))
def test_equals_the_naive_loop(outputs: int, grids: tuple[int, ...], seed: int) -> None:
    linear, features = made(outputs, seed=seed), blocks(grids=grids, seed=seed)
    priors = torch.randn(2, outputs, generator=torch.Generator().manual_seed(seed)).softmax(1)
    logits = linear(features, priors)
    assert logits.shape == (2, max(grids), max(grids))
    torch.testing.assert_close(logits, naive(linear, features, priors), atol=1e-4, rtol=1e-4)


def test_the_first_blocks_alone() -> None:
    linear = made(3)
    linear.level.fill_(0.7)
    part, features = linear.first(2), blocks()
    priors = torch.full((2, 3), 1 / 3)
    linear.weights[2].zero_()
    torch.testing.assert_close(part(features[:2], priors), linear(features, priors))
    assert part.channels == (3, 5) and float(part.level) == pytest.approx(0.7)
    linear.weights[0].zero_()
    assert part.weights[0].any(), "a copy"


def test_one_class_needs_no_probability() -> None:
    linear, features = made(1), blocks()
    expected = naive(linear, features, torch.ones(2, 1))
    for priors in (torch.ones(2, 1), torch.full((2, 1), 0.2)):
        torch.testing.assert_close(linear(features, priors), expected, atol=1e-4, rtol=1e-4)


def test_the_five_likeliest_classes_count() -> None:
    linear, features = made(7), blocks()
    priors = torch.tensor([[0.3, 0.02, 0.2, 0.1, 0.15, 0.03, 0.2], [0.01, 0.2, 0.2, 0.19, 0.2, 0.19, 0.01]])
    before = linear(features, priors)
    for photo, unlikely in ((0, (1, 5)), (1, (0, 6))):
        changed = made(7)
        for weight in changed.weights:
            weight[list(unlikely)] = 99.0
        changed.bias[list(unlikely)] = 99.0
        after = changed(features, priors)
        assert torch.equal(after[photo], before[photo]) and not torch.equal(after[1 - photo], before[1 - photo])


def test_a_sure_class_decides_alone() -> None:
    linear, features = made(3), blocks()
    for k in range(3):
        single = LinearMap(linear.channels, 1)
        for own, weight in zip(single.weights, linear.weights, strict=True):
            own.copy_(weight[k : k + 1] * 0.1)
        single.bias.copy_(linear.bias[k : k + 1] * 0.1)
        small = made(3)
        for weight in (*small.weights, small.bias):
            weight.mul_(0.1)
        sure = F.one_hot(torch.tensor([k, k]), 3).float()
        torch.testing.assert_close(small(features, sure), single(features, torch.ones(2, 1)), atol=1e-3, rtol=1e-3)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_adding_grids_is_symmetric_and_adds_evidence(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 3, 4, 4, generator=random), torch.randn(2, 3, 7, 7, generator=random)
    added = add_grids([one, other])
    torch.testing.assert_close(added, add_grids([other, one]))
    assert torch.equal(add_grids([other]), other)
    torch.testing.assert_close(added.flip(-1), add_grids([one.flip(-1), other.flip(-1)]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(add_grids([torch.zeros_like(one), other]), other)
    torch.testing.assert_close(add_grids([other, other]), 2 * other)
    torch.testing.assert_close(add_grids([torch.full_like(one, 0.5), other]), other + 0.5)


def test_the_finest_grid_counts_by_its_cells() -> None:
    assert add_grids([torch.zeros(1, 1, 3, 5), torch.zeros(1, 1, 4, 4)]).shape == (1, 1, 4, 4)


def test_unit_keys() -> None:
    keys = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(unit_keys(7 * keys), keys / keys.norm(dim=-1, keepdim=True))
    assert unit_keys(keys.half()).dtype == torch.float32
    assert torch.equal(unit_keys(torch.zeros(1, 2, 2, 3)), torch.zeros(1, 2, 2, 3)), "those of nothing are finite"


def test_maps_travel_as_tensors() -> None:
    maps = LinearMaps((3, 5, 4), stages=2, outputs=3)
    assert maps.accurate.channels == (3, 5, 4) and maps.fast.channels == (3, 5)
    for index, (mode, source) in enumerate((("accurate", made(3)), ("fast", made(3, channels=(3, 5), seed=4)))):
        maps.of(mode).load_state_dict(source.state_dict())
        maps.of(mode).level.fill_(0.5 + index)
    other = LinearMaps((3, 5, 4), stages=2, outputs=3)
    other.load_state_dict(maps.state_dict())
    priors = torch.full((2, 3), 1 / 3)
    assert torch.equal(other.of("accurate")(blocks(), priors), made(3)(blocks(), priors))
    assert torch.equal(other.of("fast")(blocks()[:2], priors), made(3, channels=(3, 5), seed=4)(blocks()[:2], priors))
    assert (float(other.accurate.level), float(other.fast.level)) == (0.5, 1.5)
    assert list(other.parameters()) == []  # nothing that an optimiser would move


def test_blocks_belong_to_weights() -> None:
    for wrong in (blocks()[:2], [*blocks(), torch.rand(2, 3, 4, 4)]):
        with pytest.raises(ValueError, match="zip"):
            made(2)(wrong, torch.ones(2, 2))
