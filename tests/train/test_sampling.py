"""Pools against a naive reference, draws against their weights, growth against a max-pool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import max_pool2d

from dips.config import TrainConfig
from dips.train.sampling import BACKGROUND, FOREGROUND, IGNORE, choose_proposal, draw, draw_targets, grow, highest

CONFIG = TrainConfig(fg_share=0.5, bg_share=0.5, fg_pixels=5, bg_pixels=6, grow=1)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _naive_highest(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """One photo: sort, cut, take ties."""
    chosen = values[mask]
    result = torch.zeros_like(mask)
    if share == 0 or len(chosen) == 0:
        return result
    wanted = max(1, int(len(chosen) * share + 0.5))
    least = chosen.sort(descending=True).values[wanted - 1]
    return mask & (values >= least)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.35, 0.6, 1.0])
def test_pool_equals_sorting(share: float) -> None:
    values = torch.rand(6, 900, generator=_generator(1))
    values[1] *= 1e-4  # a peaked map: almost all of it close to zero
    values[1, 0] = 1.0
    values[2] = (values[2] * 4).floor() / 4  # many ties
    values[3] = 0.5
    mask = torch.rand(6, 900, generator=_generator(2)) < 0.4
    mask[4] = False
    mask[5] = True
    naive = torch.stack([_naive_highest(v, m, share) for v, m in zip(values, mask, strict=True)])
    assert torch.equal(highest(values, mask, share), naive)


@settings(max_examples=40)
@given(
    values=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    bits=st.integers(0, 2**40 - 1),
    share=st.sampled_from([0.01, 0.25, 0.5, 0.9, 1.0]),
)
def test_pool_equals_sorting_with_ties(values: list[int], bits: int, share: float) -> None:
    levels = torch.tensor([values]) / 7
    mask = torch.tensor([[bool(bits >> i & 1) for i in range(len(values))]])
    assert torch.equal(highest(levels, mask, share)[0], _naive_highest(levels[0], mask[0], share))


def test_constant_map_prefers_no_place() -> None:
    pool = highest(torch.full((1, 100), 0.3), torch.ones(1, 100, dtype=torch.bool), 0.2)
    assert pool.all()


def test_weighted_draws_follow_the_weights() -> None:
    """Two of four pixels without replacement: every pair's frequency against its exact probability."""
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rounds = 20_000
    pool = torch.ones(rounds, 4, dtype=torch.bool)
    index, valid = draw(pool, 2, _generator(3), weights=weights.expand(rounds, 4))
    assert valid.all()
    pairs = torch.bincount(2 ** index[:, 0] + 2 ** index[:, 1], minlength=16).double() / rounds
    p = weights.tolist()
    for i in range(4):
        for j in range(i):
            expected = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
            error = (expected * (1 - expected) / rounds) ** 0.5
            assert abs(pairs[2**i + 2**j].item() - expected) < 4 * error


def test_uniform_draws_are_uniform_over_the_pool() -> None:
    pool = torch.tensor([True, False, True, True, True]).expand(20_000, 5)
    index, valid = draw(pool, 2, _generator(4))
    assert valid.all()
    share = torch.bincount(index.flatten(), minlength=5).double() / 20_000
    np.testing.assert_allclose(share, [0.5, 0, 0.5, 0.5, 0.5], atol=4 * 0.5 / 20_000**0.5)


def test_small_pool_is_taken_whole_and_nothing_else() -> None:
    pool = torch.zeros(2, 50, dtype=torch.bool)
    pool[0, [3, 17, 40]] = True
    weights = torch.zeros(2, 50)  # weight 0 is still drawn where nothing else is left
    for index, valid in (draw(pool, 10, _generator()), draw(pool, 10, _generator(), weights=weights)):
        assert sorted(index[0][valid[0]].tolist()) == [3, 17, 40]
        assert not valid[1].any()
    index, valid = draw(torch.ones(1, 4, dtype=torch.bool), 10, _generator())
    assert sorted(index[0].tolist()) == [0, 1, 2, 3] and valid.all()


def test_weight_zero_comes_last() -> None:
    weights = torch.tensor([[0.0, 0.0, 1.0, 0.5]]).expand(500, 4)
    index, _ = draw(torch.ones(500, 4, dtype=torch.bool), 2, _generator(), weights=weights)
    assert set(index.flatten().tolist()) == {2, 3}


@pytest.mark.parametrize("side", [1, 3, 5, 7])
def test_growth_equals_max_pool(side: int) -> None:
    height, width = 9, 13
    index = torch.stack([torch.randperm(height * width, generator=_generator(i))[:8] for i in range(4)])
    index[0, :4] = torch.tensor([0, width - 1, (height - 1) * width, height * width - 1])  # the corners
    valid = torch.rand(4, 8, generator=_generator(9)) < 0.7
    valid[1] = False
    seeds = torch.zeros(4, height * width)
    for seed, where, which in zip(seeds, index, valid, strict=True):
        seed[where[which]] = 1
    expected = max_pool2d(seeds.view(4, 1, height, width), side, 1, side // 2)[:, 0] > 0
    assert torch.equal(grow(index, valid, side, height, width), expected)


def _scene() -> tuple[Tensor, Tensor, Tensor]:
    activation = torch.rand(3, 12, 10, generator=_generator(5))
    inside = torch.zeros(3, 12, 10, dtype=torch.bool)
    inside[:, 2:8, 3:9] = True
    return activation, inside, ~inside


def test_targets_lie_in_their_pools_and_have_the_numbers_asked_for() -> None:
    activation, inside, outside = _scene()
    target = draw_targets(activation, inside, outside, config=CONFIG, generator=_generator())
    assert target.shape == (3, 12, 10) and target.dtype == torch.int64
    for photo in range(3):
        front = _naive_highest(activation[photo].flatten(), inside[photo].flatten(), 0.5).view(12, 10)
        back = _naive_highest(1 - activation[photo].flatten(), outside[photo].flatten(), 0.5).view(12, 10)
        assert (target[photo] == FOREGROUND).sum() == 5 and front[target[photo] == FOREGROUND].all()
        assert (target[photo] == BACKGROUND).sum() == 6 and back[target[photo] == BACKGROUND].all()


def test_every_pixel_of_a_pool_gets_its_turn() -> None:
    activation, inside, outside = _scene()
    seen = torch.zeros(3, 12, 10, dtype=torch.bool)
    for seed in range(60):
        seen |= draw_targets(activation, inside, outside, config=CONFIG, generator=_generator(seed)) == BACKGROUND
    back = highest(1 - activation.flatten(1), outside.flatten(1), 0.5).view(3, 12, 10)
    assert torch.equal(seen, back)


def test_conflicts_are_ignored() -> None:
    """Foreground in the left column, background in the right one: grown by 3, the middle belongs to both."""
    inside = torch.tensor([[[True, False, False]] * 4])
    config = replace(CONFIG, fg_share=1.0, bg_share=1.0, fg_pixels=99, bg_pixels=99, grow=3)
    outside = torch.tensor([[[False, False, True]] * 4])
    target = draw_targets(torch.ones(1, 4, 3), inside, outside, config=config, generator=_generator())
    assert torch.equal(target[0], torch.tensor([[FOREGROUND, IGNORE, BACKGROUND]] * 4))


def test_photo_of_the_background_class_has_background_everywhere_and_no_foreground() -> None:
    activation, inside, outside = _scene()
    empty = torch.tensor([False, True, False])
    config = replace(CONFIG, bg_pixels=1000)
    nowhere = torch.zeros_like(outside)
    target = draw_targets(activation, inside, nowhere, config=config, generator=_generator(), empty=empty)
    assert (target[1] == BACKGROUND).all()
    assert (target[0] == FOREGROUND).any() and not (target[0] == BACKGROUND).any()


def test_empty_region_gives_no_foreground() -> None:
    activation, inside, outside = _scene()
    inside[1] = False
    target = draw_targets(activation, inside, outside, config=CONFIG, generator=_generator())
    assert not (target[1] == FOREGROUND).any() and (target[1] == BACKGROUND).sum() == 6


def test_tiny_share_still_gives_the_peak() -> None:
    activation, inside, outside = _scene()
    target = draw_targets(
        activation, inside, outside, config=replace(CONFIG, fg_share=1e-5, bg_share=0.0), generator=_generator()
    )
    for photo in range(3):
        masked = torch.where(inside[photo], activation[photo], -1.0)
        assert (target[photo] == FOREGROUND).nonzero().tolist() == [list(divmod(int(masked.argmax()), 10))]
        assert not (target[photo] == BACKGROUND).any()


def test_same_generator_same_draw_and_another_step_another() -> None:
    scene = _scene()
    first, again, other = (draw_targets(*scene, config=CONFIG, generator=_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@given(count=st.integers(1, 40), u=st.floats(0, 1, exclude_max=True))
def test_chosen_proposal_exists(count: int, u: float) -> None:
    index = choose_proposal(count, u)
    assert index is not None and 0 <= index < count


def test_choice_is_uniform_and_none_where_there_is_none() -> None:
    draws = [choose_proposal(3, u) for u in np.linspace(0, 1, 3000, endpoint=False)]
    assert np.bincount(np.array(draws, dtype=int)).tolist() == [1000, 1000, 1000]
    assert choose_proposal(0, 0.5) is None
