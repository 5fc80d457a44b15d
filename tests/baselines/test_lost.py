"""LOST on made keys: the seed, its expansion, the correlation and the component."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dips.baselines.lost import SEED_PATCHES, SIZE, Lost, correlation, expanded_seed, seed_component
from dips.models.backbones import Features


def made_keys() -> torch.Tensor:
    """4x5 patches: ground along one axis, a 2x2 object at rows 1-2 and columns 1-2 against it, a twin of it in the corner."""
    keys = torch.zeros(4, 5, 3)
    keys[...] = torch.tensor([1.0, 0.0, 0.1])
    keys[1:3, 1:3] = torch.tensor([-0.5, 1.0, 0.0])
    keys[1, 1] = torch.tensor([-0.5, 1.0, -3.0])  # less like the others than they are like each other
    keys[0, 4] = torch.tensor([-0.5, 1.0, 0.0])
    return keys


def by_loops(keys: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    flat = keys.reshape(-1, keys.shape[-1])
    degrees = [sum(float(p @ q) > 0 for q in flat) for p in flat]
    lowest = sorted(range(len(flat)), key=lambda i: degrees[i])[:k]
    chosen = [i for i in lowest if i == lowest[0] or float(flat[lowest[0]] @ flat[i]) > 0]
    return chosen, np.array([sum(float(p @ flat[s]) for s in chosen) for p in flat]).reshape(keys.shape[:2])


def test_seed_and_expansion_by_hand() -> None:
    keys = made_keys()
    flat = keys.flatten(0, 1)
    chosen = expanded_seed(flat @ flat.T, 100)
    assert sorted(chosen.tolist()) == [4, 6, 7, 11, 12], "the object's patches and the twin, degree 5 each against 15"
    assert chosen[0] == 4, "of equal degrees the first"
    assert expanded_seed(flat @ flat.T, 3).tolist() == [4, 6, 7]


def test_a_patch_of_low_degree_that_does_not_resemble_the_seed_stays_out() -> None:
    gram = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])
    assert expanded_seed(gram, 4).tolist() == [0, 1], "degrees 2 3 3 2: patch 3 is as lonely, but unlike patch 0"


def test_equals_plain_loops() -> None:
    torch.manual_seed(2)
    for k in (1, 4, 100):
        keys = torch.randn(5, 6, 4)
        found, seed = correlation(keys, k)
        chosen, expected = by_loops(keys.double().numpy(), k)
        assert seed == chosen[0]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
        assert found.flatten()[seed] > 0


def test_component_of_the_seed() -> None:
    values = torch.tensor([[2.0, -1.0, 3.0], [1.0, -1.0, 4.0], [-1.0, 5.0, 0.0]])
    left = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(seed_component(values, 3), left), "corners do not join"
    assert torch.equal(seed_component(values, 2), torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]]))
    assert torch.equal(seed_component(-values.abs(), 0), torch.zeros(3, 3))


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_method(shift: float) -> None:
    """What all patches share, however large, changes nothing."""
    keys = torch.stack([made_keys(), made_keys().flip(1), torch.zeros(4, 5, 3)])
    asked: list[int] = []

    def transformer(images: torch.Tensor, size: int) -> Features:
        asked.append(size)
        return Features(torch.zeros(3, 1, 4, 5), keys + shift, torch.zeros(3, 1))

    method = Lost()
    study: Any = SimpleNamespace(transformer=transformer)
    method.build(study)
    maps = method.maps(torch.rand(3, 3, method.side, method.side), torch.zeros(3))
    assert asked == [SIZE] and method.state() == {}
    for row, photo in enumerate(keys[:2]):
        chosen, expected = by_loops((photo - photo.mean((0, 1))).double().numpy(), SEED_PATCHES)
        assert chosen[0] == 4 * (1 - row), "the twin in the corner is the first of the lowest degree"
        at = np.unravel_index(chosen[0], (4, 5))
        alone = np.zeros((4, 5))
        alone[at] = 1  # the twin touches no other patch of the object
        np.testing.assert_allclose(maps[row].numpy(), alone, atol=1e-5)
        assert (expected > 0).sum() == 5
    assert maps[2].sum() == 0
