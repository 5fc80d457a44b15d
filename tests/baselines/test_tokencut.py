"""TokenCut on made graphs: edges, the relaxed cut and which side is the foreground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import eig

from dips.baselines.study import Study
from dips.baselines.tokencut import CENTRINGS, SIZES, TAU, TAUS, TokenCut, _subtracted, edges, foreground, second_eigenvector
from dips.models.backbones import Features
from dips.types import FloatArray, Sample


def two_blocks(small: int, large: int, eps: float = 1e-5) -> np.ndarray:
    weights = np.full((small + large, small + large), eps)
    weights[:small, :small] = weights[small:, small:] = 1
    return weights


def test_edges_by_loops() -> None:
    torch.manual_seed(0)
    keys = torch.randn(7, 3)
    found = edges(keys, 0.2, 1e-5)
    for i, p in enumerate(keys.double().numpy()):
        for j, q in enumerate(keys.double().numpy()):
            cosine = p @ q / np.sqrt(p @ p * (q @ q))
            assert found[i, j] == (1.0 if cosine > 0.2 else 1e-5)


def test_eigenvector_of_the_generalised_problem() -> None:
    torch.manual_seed(1)
    weights = edges(torch.randn(12, 4), 0.2, 1e-2)
    degrees = np.diag(weights.sum(1))
    vector = second_eigenvector(weights)
    values, vectors = eig(degrees - weights, degrees)  # by the other solver, which knows no symmetry
    order = values.real.argsort()
    assert values.real[order[0]] == pytest.approx(0, abs=1e-9)
    second, expected = values.real[order[1]], vectors.real[:, order[1]]
    np.testing.assert_allclose((degrees - weights) @ vector, second * degrees @ vector, atol=1e-9)
    assert abs(vector @ expected) / np.linalg.norm(vector) / np.linalg.norm(expected) == pytest.approx(1)


def test_two_blocks_are_told_apart_and_the_small_one_is_the_foreground() -> None:
    vector = foreground(second_eigenvector(two_blocks(3, 9)))
    assert (vector[:3] > 0).all() and (vector[3:] < 0).all()
    np.testing.assert_allclose(vector[:3], vector[0])
    # orthogonal to the constant in the metric of the degrees: 9 patches of degree 9 weigh nine times 3 of degree 3
    assert vector[0] / -vector[3] == pytest.approx(9, rel=1e-3)
    np.testing.assert_array_equal(foreground(-vector), vector)


def test_the_foreground_is_the_side_of_the_mean_that_holds_the_largest_absolute_value() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        vector = generator.normal(generator.normal(), 1, 9)
        above = vector > vector.mean()
        side = above if above[np.abs(vector).argmax()] else ~above
        found = foreground(vector)
        np.testing.assert_array_equal(np.abs(found), np.abs(vector))
        np.testing.assert_array_equal(found > found.mean(), side)


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_method(shift: float) -> None:
    """What all patches share, however large, changes nothing."""
    keys = torch.zeros(2, 4, 5, 2)
    keys[..., 0] = 1
    keys[0, 1:3, 1:3] = torch.tensor([0.1, 1.0])
    keys[1, 0, 4] = torch.tensor([0.0, 2.0])
    asked: list[int] = []

    def transformer(images: torch.Tensor, size: int) -> Features:
        asked.append(size)
        return Features(torch.zeros(2, 1, 4, 5), keys + shift, torch.zeros(2, 1))

    method = TokenCut()
    study: Any = SimpleNamespace(transformer=transformer)
    method.build(study)
    maps = method.maps(torch.rand(2, 3, method.side, method.side), torch.zeros(2))
    expected = torch.zeros(2, 4, 5)
    expected[0, 1:3, 1:3] = expected[1, 0, 4] = 1
    assert asked == [SIZES[0]] and method.state() == {}
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)
    assert maps.dtype == torch.float32 and maps.min() == 0 and maps.max() == 1


def with_keys(keys: torch.Tensor) -> TokenCut:
    """A method whose transformer answers ``keys``, whatever it sees."""
    method = TokenCut()
    study: Any = SimpleNamespace(
        transformer=lambda images, size: Features(torch.zeros(len(keys), 1, *keys.shape[1:3]), keys, torch.zeros(len(keys), 1))
    )
    method.build(study)
    return method


def test_which_mean_is_taken_off() -> None:
    """Two patches of the object among ten: less the data set's mean they alone are on its side of a right angle."""
    keys = torch.ones(1, 2, 5, 2) * torch.tensor([1.0, -0.2])
    keys[0, 0, :2] = torch.tensor([1.0, 0.4])
    method = with_keys(keys)
    method.mean = torch.tensor([1.0, 0.1])
    expected = torch.zeros(1, 2, 5)
    expected[0, 0, :2] = 1
    labels, images = torch.zeros(1), torch.rand(1, 3, method.side, method.side)
    for method.centring in ("data set", "photo"):
        torch.testing.assert_close(method.maps(images, labels), expected, rtol=0, atol=1e-4)
    assert torch.equal(_subtracted(keys, "nothing", method.mean), keys)
    torch.testing.assert_close(_subtracted(keys, "data set", method.mean)[0, 0, 0], torch.tensor([0.0, 0.3]))
    torch.testing.assert_close(_subtracted(keys, "photo", method.mean).sum((0, 1, 2)), torch.zeros(2), rtol=0, atol=1e-5)


def test_tau_decides_what_is_joined() -> None:
    keys = torch.zeros(1, 1, 4, 2)
    keys[0, 0] = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.3, 1.0], [-1.0, 0.2]])  # the third has 0.29 with the first
    method = with_keys(keys)
    method.centring, found = "nothing", {}
    for method.tau in TAUS:
        found[method.tau] = method.maps(torch.rand(1, 3, 64, 64), torch.zeros(1))
    assert not torch.allclose(found[0.2], found[0.4], atol=1e-2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches by the dozen."""
    monkeypatch.setattr("dips.baselines.tokencut.SIZES", (64, 96))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("wanted", [0, 3, 5, 8])
def test_size_centring_and_tau_are_those_that_the_judge_prefers(wanted: int, study: Study) -> None:
    asked: list[int] = []

    def judge(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        asked.append(len(list(maps)))
        return float(len(asked) - 1 == wanted)

    study.judge = judge
    method, again = TokenCut(), TokenCut()
    fit = method.fit(study)
    assert asked == [len(study.val)] * 12 and len(fit.curve) == 12
    chosen = ((64, 96)[wanted // 6], CENTRINGS[wanted % 6 // 2], TAUS[wanted % 2])
    assert (method.side, method.centring, method.tau) == chosen
    assert f"{method.side} px, centring: {method.centring}, tau {method.tau:g} by" in fit.chosen and fit.steps == 0

    images, _ = study.train.batch(range(len(study.train)), method.side, study.device)
    keys = study.transformer(images, method.side).keys
    torch.testing.assert_close(method.mean, keys.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    again.restore(study, method.state())
    assert (again.side, again.centring, again.tau) == chosen
    some = torch.rand(2, 3, method.side, method.side)
    assert torch.equal(again.maps(some, torch.zeros(2)), method.maps(some, torch.zeros(2)))


@pytest.mark.usefixtures("small")
def test_without_boxes_the_mean_is_the_data_sets(study: Study) -> None:
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    method = TokenCut()
    fit = method.fit(study)
    assert (method.side, method.centring, method.tau) == (64, "data set", TAU) and "no validation photo has a box" in fit.chosen
    assert method.mean is not None and method.mean.shape == (64,)
