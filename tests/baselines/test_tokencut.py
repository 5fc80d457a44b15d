"""TokenCut on made graphs: edges, the relaxed cut and which side is the foreground."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import eig

from dips.baselines.tokencut import SIZE, TokenCut, edges, foreground, second_eigenvector
from dips.models.backbones import Features


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
    assert asked == [SIZE] and method.state() == {}
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)
    assert maps.dtype == torch.float32 and maps.min() == 0 and maps.max() == 1
