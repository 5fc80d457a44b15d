"""Mean, single heads and the middle: which maps they are, and that one pass serves them all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dips.baselines.study import FrozenFeatures
from dips.baselines.untrained import Centre, Head, MeanAttention
from dips.config import Config, HarvestConfig
from dips.evaluate import centre_map
from dips.harvest.attention import head_maps, join_attention
from dips.models.inputs import resize_to

from ..conftest import random_transformer


@pytest.fixture(scope="module")
def study() -> Any:
    network = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3)
    return SimpleNamespace(transformer=FrozenFeatures(network), config=Config(harvest=HarvestConfig(sizes=(32, 64))))


def test_the_maps_are_those_of_the_harvest(study: Any) -> None:
    images, labels = torch.rand(2, 3, 64, 64), torch.zeros(2)
    network = study.transformer.network
    expected = head_maps(join_attention([network(resize_to(images, 32)), network(images)]), -1)
    assert expected.shape == (2, 4, 4, 4) and expected.std((-2, -1)).min() > 1e-3
    methods = [MeanAttention(), Head(1), Head(2), Head(3)]
    assert [method.name for method in methods] == ["mean", "head1", "head2", "head3"]
    assert len({method.title for method in methods}) == 4
    for index, method in enumerate(methods):
        method.build(study)
        assert method.side == 64 and method.state() == {} and method.labels == "none"
        assert method.parameters == sum(p.numel() for p in network.parameters())
        torch.testing.assert_close(method.maps(images, labels), expected[:, index])
        torch.testing.assert_close(method.maps(images, labels).amax((1, 2)), torch.ones(2))


def test_one_pass_per_size_serves_all(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = study.transformer.network
    passes: list[int] = []

    def watched(images: torch.Tensor) -> Any:
        passes.append(images.shape[-1])
        return type(network).forward(network, images)

    monkeypatch.setattr(network, "forward", watched)
    images = torch.rand(1, 3, 64, 64)
    for method in (MeanAttention(), Head(1), Head(3)):
        method.build(study)
        method.maps(images, torch.zeros(1))
    assert passes == [32, 64]


def test_centre_does_not_look() -> None:
    method, nothing = Centre(), None
    method.build(nothing)  # type: ignore[arg-type]
    maps = method.maps(torch.rand(3, 3, method.side, method.side), torch.zeros(3))
    assert maps.shape == (3, 224, 224) and method.parameters == 0
    for row in maps.numpy():
        np.testing.assert_array_equal(row, centre_map())
