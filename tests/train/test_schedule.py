"""Learning rates over a run, and the optimiser's groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dips.config import TrainConfig
from dips.train.schedule import build_optimizer, rate, set_rate


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)

    def parameter_groups(self, lr: float, encoder_share: float) -> list[dict[str, Any]]:
        return [
            {"params": list(self.encoder.parameters()), "lr": lr * encoder_share},
            {"params": list(self.decoder.parameters()), "lr": lr},
        ]


def test_cosine_rises_once_and_falls_to_nothing() -> None:
    config = TrainConfig(epochs=4, schedule="cosine")
    rates = [rate(config, step, 50) for step in range(200)]
    peak = rates.index(max(rates))
    assert peak == 10 and rates[peak] == 1
    assert 0 < rates[0] < 0.2 and rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_cosine_of_a_very_short_run() -> None:
    assert rate(TrainConfig(epochs=1), 0, 1) == 1


def test_step_divides_by_ten() -> None:
    config = TrainConfig(epochs=40, schedule="step", lr_step=15)
    assert [rate(config, epoch * 7, 7) for epoch in (0, 14, 15, 29, 30)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_groups_keep_their_fraction(name: Any) -> None:
    optimizer = build_optimizer(_Net(), TrainConfig(optimizer=name, lr=0.1, encoder_lr=0.3, weight_decay=0.02))
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.003, 0.01])
    assert all(group["weight_decay"] == 0.02 for group in optimizer.param_groups)
    if name == "sgd":
        assert isinstance(optimizer, torch.optim.SGD)
        assert all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_network_without_groups() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), TrainConfig(lr=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]
