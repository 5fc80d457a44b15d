"""Each way to collapse has its alarm, and health has none."""

from __future__ import annotations

import math

import pytest
import torch

from dips.adaptation.collapse import health_of

N, K = 16, 8
TOKENS = torch.randn(N, 32, generator=torch.Generator().manual_seed(0))
HEALTHY = torch.eye(K).repeat(2, 1)  # each photo a prototype, each prototype two photos


def test_a_healthy_teacher() -> None:
    health = health_of(HEALTHY, TOKENS)
    assert health.highest == pytest.approx(math.log(K))
    assert health.entropy == pytest.approx(math.log(K)) and health.information == pytest.approx(math.log(K))
    assert 0.8 < health.spread <= 1
    assert health.alarm(health) == ""


def test_spread_by_hand() -> None:
    tokens = torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # cosines of all pairs: 1, 0, 0, 1
    assert health_of(torch.eye(2), tokens).spread == pytest.approx(0.5)
    assert health_of(torch.eye(2), tokens[[0, 0]]).spread == pytest.approx(0.0, abs=1e-6)


def test_the_three_ways_to_collapse() -> None:
    start = health_of(HEALTHY, TOKENS)
    one = torch.zeros(N, K)
    one[:, 3] = 1
    assert "the same prototype" in health_of(one, TOKENS).alarm(start)
    alike = torch.full((N, K), 1 / K)
    found = health_of(alike, TOKENS)
    assert found.information == pytest.approx(0, abs=1e-6) and "the same of all photos" in found.alarm(start)
    constant = TOKENS[:1] + 0.01 * TOKENS
    assert "features are nearly the same" in health_of(HEALTHY, constant).alarm(start)


def test_few_photos_count_as_what_they_are() -> None:
    """Two photos cannot use more than two of a thousand prototypes."""
    probabilities = torch.zeros(2, 1000)
    probabilities[0, 1] = probabilities[1, 2] = 1
    health = health_of(probabilities, TOKENS[:2])
    assert health.highest == pytest.approx(math.log(2)) and health.alarm(health) == ""
