"""Linear maps on features of which is known where the object lies."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.harvest import linear
from dips.harvest.grids import interpolation, joint_grids, resampled
from dips.harvest.linear import PhotoFeatures, fit_linear_maps
from dips.models.linear_map import LinearMap, LinearMaps

GRIDS, WIDTHS, STAGES = (12, 6, 8), (5, 6, 7), 2  # two stages of the CNN, then keys
SIDE = max(GRIDS)


@dataclasses.dataclass
class Scene:
    """Features, and which cells ``(N, SIDE, SIDE)`` show the object."""

    features: PhotoFeatures
    inside: NDArray[np.bool_]

    def fit(self, classes: int, **options: Any) -> LinearMaps:
        return fit_linear_maps(self.features, classes, HarvestConfig(**options))[0]

    def blocks(self, mode: str) -> list[Tensor]:
        blocks = [block.float() for block in self.features.blocks]
        return blocks if mode == "accurate" else blocks[:STAGES]

    def logits(self, maps: LinearMaps, mode: str) -> Tensor:
        """Logits of the photos with objects, whose classes are known."""
        priors = F.one_hot(torch.from_numpy(self.features.labels.clip(0)), len(maps.fast.bias)).float()
        logits: Tensor = maps.of(mode)(self.blocks(mode), priors)
        return logits

    def ranking(self, maps: LinearMaps, mode: str) -> float:
        """Fraction of pairs (object cell, other cell) of one photo in the right order, averaged."""
        pairs = [
            np.mean(m[i][:, None] > m[~i][None])
            for m, i in zip(self.logits(maps, mode).numpy(), self.inside, strict=True)
            if i.any()
        ]
        return float(np.mean(pairs))


def scene(shown: int = 24, blank: int = 0, classes: int = 1, *, seed: int = 0, texture: bool = False) -> Scene:
    """Photos with a 5 x 5 object, and blank ones; each block has a direction of "object", and one for each class.

    Attention lies on parts of the object, in blank photos anywhere. With ``texture`` other places attract it as well, in all
    photos, and have a direction of their own.
    """
    random = torch.Generator().manual_seed(seed)
    count = shown + blank
    inside, distracting = torch.zeros(2, count, SIDE, SIDE)
    for number in range(shown):
        y, x = torch.randint(0, SIDE - 4, (2,), generator=random).tolist()
        inside[number, y : y + 5, x : x + 5] = 1
    if texture:
        distracting[:, :4] = 1
        distracting *= 1 - inside
    labels = np.array([number % classes for number in range(shown)] + [-1] * blank, np.int64)
    blocks = []
    for grid, width in zip(GRIDS, WIDTHS, strict=True):
        common, other = torch.randn(2, width, generator=random)
        own = common + 0.5 * torch.randn(classes, width, generator=random)
        small, away = (F.adaptive_avg_pool2d(item[:, None], grid) for item in (inside, distracting))
        signal = own[labels.clip(0)][:, :, None, None] * small + other[:, None, None] * away
        noise = 0.5 * torch.randn(count, width, grid, grid, generator=random)
        blocks.append((3 * (signal + noise) + 1).half())
    parts = torch.rand(count, 8, 8, generator=random) * (0.7 + F.adaptive_avg_pool2d(inside + distracting, 8))
    return Scene(PhotoFeatures(tuple(blocks), (64,), parts, labels), inside.bool().numpy())


@pytest.mark.parametrize("classes", [1, 2, 30])
@pytest.mark.parametrize("blank", [0, 10])
def test_both_maps_find_the_object(classes: int, blank: int) -> None:
    made = scene(30, blank, classes)
    maps = made.fit(classes)
    assert maps.channels == WIDTHS and maps.stages == STAGES
    assert maps.accurate.bias.shape == (classes,) and maps.fast.channels == WIDTHS[:STAGES]
    attention = F.interpolate(made.features.attention[:30, None], (SIDE, SIDE), mode="bilinear")[:, 0].numpy()
    before = np.mean([np.mean(m[i][:, None] > m[~i][None]) for m, i in zip(attention, made.inside, strict=False)])
    assert made.ranking(maps, "accurate") > 0.97 and made.ranking(maps, "fast") > 0.95 and before < 0.9


def test_background_photos_are_background() -> None:
    """A texture that attracts the attention fills part of all photos: only those without object can tell that it is none."""
    told = scene(24, 12, texture=True)
    labels = told.features.labels >= 0
    untold = Scene(
        PhotoFeatures(
            tuple(b[labels] for b in told.features.blocks), (64,), told.features.attention[labels], np.zeros(24, int)
        ),
        told.inside[labels],
    )
    assert told.ranking(told.fit(1), "accurate") > 0.97 > 0.9 > untold.ranking(untold.fit(1), "accurate")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_background_photos_of_another_place_do_no_harm(seed: int) -> None:
    """They have nothing of the background of the others. Two that decide alone would turn the maps upside down."""
    plain = scene(24, seed=seed)
    first = plain.fit(1)
    for blank in (2, 60):
        made = scene(24, blank, seed=seed)
        random = torch.Generator().manual_seed(9)
        for block in made.features.blocks:
            far = block[:24].float().mean((0, 2, 3)) + 3 * torch.randn(block.shape[1], generator=random)
            block[24:] = (far[None, :, None, None] + torch.randn(blank, *block.shape[1:], generator=random) / 2).half()
        maps = made.fit(1)
        assert made.ranking(maps, "accurate") > 0.99 and made.ranking(maps, "fast") > 0.99
        if blank == 2:
            assert 0.7 < float(maps.accurate.level) / float(first.accurate.level) < 1.3, "nor is the border moved by two"
    assert plain.ranking(first, "accurate") > 0.99


def test_a_few_background_photos_do_not_decide_alone() -> None:
    without, few, many = (linear._Fit(scene(12, blank).features, 1, HarvestConfig()) for blank in (0, 2, 90))
    assert (without.trust, round(few.trust, 3), round(many.trust, 3)) == (0.0, 0.133, 0.72)
    foreground = torch.zeros(14, SIDE**2)
    foreground[:, :5] = 1
    parts = few._background(foreground)
    assert [(round(weight, 3), len(rows)) for weight, rows, _ in parts] == [(0.133, 2), (0.867, 12)]
    assert bool((parts[0][2] == 1).all()) and bool((parts[1][2] == 1 - foreground).all())


@pytest.mark.parametrize("blank", [0, 10])
def test_levels_lie_between_background_and_object(blank: int) -> None:
    made = scene(24, blank, 2)
    maps = made.fit(2)
    for mode in ("accurate", "fast"):
        logits = made.logits(maps, mode).numpy()
        outside = logits[24:] if blank else logits[:24][~made.inside[:24]]
        assert outside.mean() < float(maps.of(mode).level) < logits[made.inside].mean()
        assert outside.mean() + 2 < logits[made.inside].mean()


def test_classes_differ_where_their_photos_do() -> None:
    """With many photos each class has a direction of its own; with few it stays near that of all."""
    many, few = (scene(count, 0, 2, seed=3) for count in (200, 8))
    apart = []
    for made in (many, few):
        weight = torch.cat(made.fit(2).accurate.weights, 1)
        apart.append(float(F.cosine_similarity(weight[0], weight[1], dim=0)))
    assert 1 - apart[0] > 10 * (1 - apart[1]) and apart[1] > 0.99


def test_a_class_without_photos_has_the_map_of_all() -> None:
    made = scene(12, 4, 2)
    maps = made.fit(5)  # the photos are of two of five classes
    weight, bias = torch.cat(maps.accurate.weights, 1), maps.accurate.bias
    for other in (3, 4):
        torch.testing.assert_close(weight[other], weight[2])
        torch.testing.assert_close(bias[other], bias[2])
    torch.testing.assert_close((weight[0] + weight[1]) / 2 - weight[2], torch.zeros(sum(WIDTHS)), atol=1e-3, rtol=0)
    assert made.ranking(maps, "fast") > 0.95


def test_one_photo_is_enough() -> None:
    for blank in (0, 3):
        made = scene(1, blank)
        maps = made.fit(1)
        assert made.ranking(maps, "accurate") > 0.9 and torch.isfinite(made.logits(maps, "fast")).all()


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("penalty", [0.0, 20.0])
@pytest.mark.parametrize("value", [0.0, 37.3])
def test_features_that_tell_nothing(blank: int, penalty: float, value: float) -> None:
    blocks = tuple(torch.full((3 + blank, width, grid, grid), value).half() for grid, width in zip(GRIDS, WIDTHS, strict=True))
    features = PhotoFeatures(blocks, (64,), torch.rand(3 + blank, 8, 8), np.array([0, 1, 0] + [-1] * blank))
    made = Scene(features, np.zeros((3 + blank, SIDE, SIDE), bool))
    maps = made.fit(2, refine_penalty=penalty)
    for mode in ("accurate", "fast"):
        logits = made.logits(maps, mode)
        assert float(logits.std()) < 1e-3 and float(logits.abs().max()) < 20 and abs(float(maps.of(mode).level)) < 20


@pytest.mark.parametrize("value", [0.0, 37.3])
def test_a_constant_channel_has_no_part(value: float) -> None:
    made = scene(20, 5, 2)
    for block in made.features.blocks:
        block[:, 1] = value
    maps = made.fit(2)
    for module in (maps.accurate, maps.fast):
        assert all(float(weight[:, 1].abs().max()) < 1e-4 * float(weight.abs().max()) for weight in module.weights)
    assert made.ranking(maps, "accurate") > 0.95


def test_a_photo_without_contrast_says_nothing() -> None:
    """Neither object nor background can be told in it: the maps of the others stay good."""
    made = scene(24)
    for block in made.features.blocks:
        block[5] = block[5].mean()
    made.features.attention[5] = 0.5
    made.inside[5] = False
    maps = made.fit(1)
    assert made.ranking(maps, "accurate") > 0.97 and made.ranking(maps, "fast") > 0.95
    logits = made.logits(maps, "accurate").numpy()
    assert logits[~made.inside].mean() < float(maps.accurate.level) < logits[made.inside].mean()


@pytest.mark.parametrize("penalty", ["refine_penalty", "fast_penalty"])
def test_no_ridge_at_all(penalty: str) -> None:
    made = scene(2)  # fewer cells than would be needed, and a channel twice
    for block in made.features.blocks:
        block[:, 0] = block[:, 1]
    maps = made.fit(1, **{penalty: 0.0})
    assert all(torch.isfinite(made.logits(maps, mode)).all() for mode in ("accurate", "fast"))


def test_the_fit_is_reproducible_and_leaves_its_input_alone() -> None:
    made, same = scene(20, 5, 3), scene(20, 5, 3)
    one, again = made.fit(3), made.fit(3)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values(), strict=True))
    for a, b in zip(made.features.blocks, same.features.blocks, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(made.features.attention, same.features.attention)


@settings(max_examples=15)
@given(factor=st.sampled_from([0.1, 0.5, 4.0, 16.0]), shift=st.sampled_from([-8.0, 0.0, 2.0]), attention=st.floats(0.01, 100.0))
def test_scale_and_origin_of_features_do_not_matter(factor: float, shift: float, attention: float) -> None:
    made = scene(12, 4, 2)
    blocks = tuple((factor * block.float() + shift).half() for block in made.features.blocks)
    changed = dataclasses.replace(made.features, blocks=blocks, attention=made.features.attention * attention)
    other = Scene(changed, made.inside)
    maps, others = made.fit(2), other.fit(2)
    for mode in ("accurate", "fast"):
        # half precision moves the features a little, and Otsu's threshold with them
        torch.testing.assert_close(other.logits(others, mode), made.logits(maps, mode), atol=0.4, rtol=0)


@pytest.mark.parametrize(("inputs", "unused"), [("keys", (0, 1)), ("cnn", (2,))])
def test_the_accurate_map_sees_what_it_may(inputs: str, unused: tuple[int, ...]) -> None:
    made = scene(24, 8, 2)
    maps = made.fit(2, refine_inputs=inputs)
    for index, weight in enumerate(maps.accurate.weights):
        assert bool(weight.any()) == (index not in unused)
    assert all(weight.any() for weight in maps.fast.weights)
    assert made.ranking(maps, "accurate") > 0.9 and made.ranking(maps, "fast") > 0.9


def test_the_fast_map_imitates_the_accurate_one() -> None:
    """Where the CNN's features tell all that the keys do, both maps are the same."""
    made = scene(30, 10, 2)
    first = made.features.blocks[0]
    copied = dataclasses.replace(made.features, blocks=(first, made.features.blocks[1], first))
    maps = Scene(copied, made.inside).fit(2, refine_inputs="keys", fast_penalty=0.0)
    accurate, fast = (Scene(copied, made.inside).logits(maps, mode) for mode in ("accurate", "fast"))
    torch.testing.assert_close(fast, accurate, atol=1e-2, rtol=1e-3)


def test_imitation_is_least_squares() -> None:
    made = scene(10)
    fit = linear._Fit(made.features, 2, HarvestConfig(fast_penalty=0.0))
    cells = torch.randn(500, sum(WIDTHS)) @ torch.randn(sum(WIDTHS), sum(WIDTHS))
    weights = torch.randn(2, sum(WIDTHS))
    count = sum(WIDTHS[:STAGES])
    best = torch.linalg.lstsq(cells[:, :count], cells @ weights.T).solution.T
    got = fit._imitation(weights, cells.T @ cells)
    torch.testing.assert_close(got[:, :count], best, atol=1e-3, rtol=1e-3)
    assert not got[:, count:].any()
    weaker = linear._Fit(made.features, 2, HarvestConfig(fast_penalty=10.0))._imitation(weights, cells.T @ cells)
    assert float(weaker.norm()) < float(got.norm())


def test_the_accurate_map_is_the_mean_with_the_fast_one() -> None:
    """With all inputs; up to scale, its part on the keys is what only keys and CNN together would have."""
    made = scene(24, 8)
    fit = linear._Fit(made.features, 1, HarvestConfig())
    maps, _ = fit.run()
    accurate, fast = ([*module.weights] for module in (maps.accurate, maps.fast))
    _, _, means, background, covariance = fit._discriminant(last_foreground(fit))
    weights, biases = fit._per_class(means, background, covariance)
    both, _, _ = fit._scaled(weights, biases, last_foreground(fit))
    expected = (both / fit.deviation).split(list(WIDTHS), dim=1)
    ratios = accurate[2] / expected[2]
    torch.testing.assert_close(ratios, ratios[0, 0].expand_as(ratios), atol=1e-4, rtol=1e-3)
    for index in range(STAGES):
        torch.testing.assert_close(accurate[index], ratios[0, 0] * (expected[index] + fast[index]), atol=1e-4, rtol=1e-3)


def last_foreground(fit: linear._Fit) -> Tensor:
    """What the last round calls object."""
    attention = F.interpolate(fit.features.attention[:, None], (fit.grid, fit.grid), mode="bilinear")
    maps = attention.flatten(1).numpy()
    for turn in range(fit.config.refine_rounds):
        foreground = linear._foreground(maps, 0.2 if turn == 0 else 0.0)
        maps = fit._maps(*fit._discriminant(foreground)[:2])
    return foreground


def test_standardisation_is_folded_in() -> None:
    """The map of features as they come gives the logits that the fit made of standardised ones."""
    made = scene(10, 4)
    fit = linear._Fit(made.features, 1, HarvestConfig())
    weights, biases = torch.randn(1, sum(WIDTHS)), torch.randn(1)
    module = LinearMap(WIDTHS, 1)
    fit._fill(module, weights, biases)
    got = module(made.blocks("accurate"), torch.ones(14, 1))
    assert got.shape == (14, SIDE, SIDE)
    torch.testing.assert_close(got.flatten(1), torch.from_numpy(fit._maps(weights[0], biases[0])), atol=1e-4, rtol=1e-4)
    expected = torch.stack([fit._joined(i) for i in range(14)]) @ weights[0] + biases
    torch.testing.assert_close(got.flatten(1), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=15)
@given(seed=st.integers(0, 999))
def test_sums_on_the_blocks_own_grids_are_those_on_the_joint_one(seed: int) -> None:
    made = scene(6, 3, seed=seed)
    fit = linear._Fit(made.features, 1, HarvestConfig())
    joint = torch.cat(
        [F.interpolate(b, (SIDE, SIDE), mode="bilinear", align_corners=False) for b in made.blocks("accurate")], 1
    )
    joint = ((joint - fit.mean[:, None, None]) / fit.deviation[:, None, None]).flatten(2)  # (N, D, P)
    random = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(sum(WIDTHS), generator=random), torch.randn((), generator=random)
    np.testing.assert_allclose(fit._maps(weight, bias), torch.einsum("ndp,d->np", joint, weight) + bias, atol=1e-4)
    masks = (torch.rand(9, SIDE**2, generator=random) < 0.3).float()
    expected = (joint * masks[:, None]).sum(2) / masks.sum(1)[:, None]
    every = torch.arange(9)
    torch.testing.assert_close(fit._means(masks, every), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fit._means(masks, every[[7, 2]]), expected[[7, 2]], atol=1e-4, rtol=1e-4)
    # the covariance of the sampled cells, by hand
    cells, mean = fit.samples, expected.mean(0)
    around = cells.float() - mean
    naive = torch.stack(
        [torch.cov(a.T, correction=0, fweights=m.int()) for a, m in zip(around, masks.gather(1, fit.cells), strict=True)]
    ).mean(0)
    shift = torch.stack([a[m > 0].mean(0) for a, m in zip(around, masks.gather(1, fit.cells), strict=True)])
    naive += torch.einsum("nd,ne->de", shift, shift) / 9
    torch.testing.assert_close(fit._covariance(every, masks, mean), naive, atol=1e-3, rtol=1e-3)


def test_cnn_and_keys_weigh_the_same() -> None:
    """Half of the variance of all channels is the CNN's, however many it has; within each, channels count the same."""
    made = scene(8)
    fit = linear._Fit(made.features, 1, HarvestConfig())
    own = torch.cat([linear._moments(block)[1] for block in made.features.blocks])
    variances = (own / fit.deviation).square()
    cnn, keys = variances.split([sum(WIDTHS[:STAGES]), WIDTHS[STAGES]])
    for part in (cnn, keys):
        torch.testing.assert_close(part, torch.full_like(part, sum(WIDTHS) / 2 / len(part)))


def test_moments_are_those_of_all_cells() -> None:
    block = (torch.randn(70, 3, 4, 5) * torch.tensor([0.1, 1, 30])[:, None, None] + 7).half()
    mean, deviation = linear._moments(block)
    cells = block.float().permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(mean, cells.mean(1))
    torch.testing.assert_close(deviation, cells.std(1, correction=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cells", "grid"), [(4, 4), (4, 8), (5, 12), (1, 6)])
def test_upsampling_as_a_matrix(cells: int, grid: int) -> None:
    rows = interpolation(cells, grid)
    assert rows.shape == (grid, cells)
    block = torch.rand(2, cells, cells)
    expected = F.interpolate(block[None], (grid, grid), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resampled(block, rows), expected)


@settings(max_examples=50)
@given(seed=st.integers(0, 9999), fraction=st.sampled_from([0.0, 0.1, 0.5, 0.9]), steps=st.sampled_from([2, 5, 1000]))
def test_what_is_called_object(seed: int, fraction: float, steps: int) -> None:
    """The highest cells, as many as was asked for, or between 6% and 75% by Otsu; cells of one value share their side."""
    maps = np.random.default_rng(seed).integers(0, steps, (3, 100)).astype(np.float32)
    for row, inside in zip(maps, linear._foreground(maps, fraction).numpy() > 0, strict=True):
        assert not inside.any() or row[inside].min() > row[~inside].max()
        if steps == 1000:  # hardly any cells have the same value
            low, high = (fraction, fraction) if fraction else (0.06, 0.75)
            assert low - 0.03 <= inside.mean() <= high + 0.03


def test_two_heaps_are_told_apart() -> None:
    row = np.concatenate([np.full(70, -1.0), np.full(30, 2.0)]).astype(np.float32)
    row += np.random.default_rng(0).normal(0, 0.2, 100).astype(np.float32)
    assert row[:70].max() <= linear._otsu(row) < row[70:].min()
    assert linear._foreground(row[None], 0.0)[0].tolist() == [0.0] * 70 + [1.0] * 30
    assert linear._otsu(np.full(5, 3.0, np.float32)) == 3


def test_fixed_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fraction nothing is found by Otsu; without, only the first round has one: the attention is no finished map."""
    asked: list[float] = []
    found = linear._foreground

    def recorded(maps: NDArray[np.float32], fraction: float) -> Tensor:
        asked.append(fraction)
        return found(maps, fraction)

    monkeypatch.setattr(linear, "_foreground", recorded)
    scene(6).fit(1, refine_fraction=0.3, refine_rounds=2)
    scene(6).fit(1, refine_rounds=3)
    assert asked == [0.3, 0.3, 0.2, 0.0, 0.0]


def test_grids_are_bounded() -> None:
    blocks = [torch.rand(2, 3, 64, 64), torch.rand(2, 4, 20, 20), torch.rand(2, 1, 32, 32) * 1e-3]
    joint = joint_grids(blocks)
    assert [part.shape[1:] for part in joint] == [(3, 32, 32), (4, 20, 20), (1, 32, 32)]
    assert {part.dtype for part in joint} == {torch.float16}
    # halving averages, with weights that fall off beyond the two cells
    torch.testing.assert_close(joint[0].mean((2, 3)).float(), blocks[0].mean((2, 3)), atol=5e-3, rtol=0)
    assert torch.equal(joint[1], blocks[1].half()) and torch.equal(joint[2], blocks[2].half())


def test_a_photo_with_several_labels_counts_for_each() -> None:
    """Labels that always come together have the same direction, and a photo of both is none of a third."""
    made = scene(12, classes=3)
    both = {row: (0, 1) for row, label in enumerate(made.features.labels) if label < 2}
    told = Scene(dataclasses.replace(made.features, several=both), made.inside).fit(3)
    weight = torch.cat([*told.accurate.weights], 1)
    assert torch.equal(weight[0], weight[1]) and not torch.equal(weight[0], weight[2])
    alone = {row: (int(label),) for row, label in enumerate(made.features.labels)}
    again = Scene(dataclasses.replace(made.features, several=alone), made.inside).fit(3)
    for mine, plain in zip(again.state_dict().values(), made.fit(3).state_dict().values(), strict=True):
        assert torch.equal(mine, plain)
