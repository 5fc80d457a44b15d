"""Optimiser and learning rate (paper 4: SGD with Nesterov momentum, a tenth of the rate every 15 epochs)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import nn

from dips.config import TrainConfig

__all__ = ["build_optimizer", "rate", "set_rate"]

_WARM_UP_FRACTION = 0.05  # of all steps ...
_MAX_WARM_UP_STEPS = 100  # ... and never more than these


class _Grouped(Protocol):
    def parameter_groups(self, lr: float, encoder_fraction: float) -> list[dict[str, Any]]: ...


def build_optimizer(localizer: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimiser of ``train.optimizer`` over the localizer's ``parameter_groups(lr, encoder_fraction)``.

    A network without that method has one group. Each group stores its full rate as ``base_lr``.
    """
    if callable(getattr(localizer, "parameter_groups", None)):
        groups = cast(_Grouped, localizer).parameter_groups(config.lr, config.encoder_lr)
    else:
        groups = [{"params": [p for p in localizer.parameters() if p.requires_grad], "lr": config.lr}]
    groups = [{**group, "base_lr": group.get("lr", config.lr)} for group in groups]
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    extra: dict[str, Any] = {}
    if config.optimizer == "sgd":
        make, extra = torch.optim.SGD, {"momentum": 0.9, "nesterov": True}
    return make(groups, lr=config.lr, weight_decay=config.weight_decay, **extra)


def rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the factor on the learning rate at ``step`` of a run whose epochs have ``steps`` steps each.

    ``cosine``: a short linear rise, then half a cosine down to 0 at the run's end. ``step``: 0.1 to the power of the number of
    completed ``lr_step`` epochs.
    """
    if config.schedule == "step":
        return float(0.1 ** (step // steps // config.lr_step))
    total = steps * config.epochs
    warm = min(_MAX_WARM_UP_STEPS, int(total * _WARM_UP_FRACTION))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate of every group to ``factor`` times its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
