"""The moving average of weights and batch-norm statistics."""

from __future__ import annotations

import torch
from torch import nn

from dips.train.average import Average


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_average_follows_the_formula_for_weights_and_statistics() -> None:
    network = _network()
    average = Average(network, 0.5)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for t in range(1, 12):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(8, 3))  # moves the statistics
        average.update()
        decay = min(0.5, (1 + t) / (10 + t))
        for name, value in network.state_dict().items():
            moved = expected[name] * decay + value * (1 - decay) if value.is_floating_point() else value.clone()
            expected[name] = moved
    assert average.updates == 11 and not average.model.training
    torch.testing.assert_close(dict(average.model.state_dict()), expected)
    assert average.model.state_dict()["1.num_batches_tracked"] == 11


def test_average_is_apart_from_the_network_and_its_graph() -> None:
    network = _network()
    average = Average(network, 0.9)
    assert all(not parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_decay_zero_is_the_network_itself() -> None:
    network = _network()
    average = Average(network, 0.0)
    average.update()
    assert average.model is network and average.updates == 1
