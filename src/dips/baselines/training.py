"""One training loop for all methods that learn: a budget of seconds, a cosine schedule, checkpoints chosen on validation.

In: a network, its loss and the study. Out: the network with the weights of the best checkpoint, and a
:class:`~dips.baselines.method.Fit`. The number of steps follows from the time that the first ones take, so that methods whose
steps cost more make fewer of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dips.baselines.method import Fit
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.errors import DataError
from dips.system.console import log
from dips.system.device import synchronise

__all__ = ["Schedule", "train_network"]

Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]
_TIMED_STEPS = 3  # after one that warms up
_MIN_STEPS = 4  # however small the budget


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes:
        lr: rate of the new layers at the start; cosine to 0.
        backbone_lr: rate of the layers that have weights already, as a fraction of ``lr``.
        weight_decay: AdamW's.
        batch: photos per step.
        crop: side of the random crops in pixels.
        checks: how often the network is measured on validation, evenly over the steps.
    """

    lr: float
    backbone_lr: float = 0.1
    weight_decay: float = 1e-4
    batch: int = 32
    crop: int = 224
    checks: int = 4


def train_network(
    network: nn.Module,
    study: Study,
    *,
    loss: Loss,
    maps: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    new: Sequence[nn.Parameter],
    photos: Photos | None = None,
    side: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Fit:
    """Train all parameters of ``network`` that require gradients, in place.

    Args:
        network: left with the weights of the best checkpoint, in evaluation mode.
        study: its photos, budget, seed and device.
        loss: a scalar of images ``(B, 3, crop, crop)`` in [0, 1], labels ``(B,)`` and a CPU generator for all that it draws.
        maps: as :meth:`~dips.baselines.method.ScoreMapMethod.maps`; for the choice on validation. Where no validation photo
            has a box the last checkpoint is taken.
        schedule: rates, batches and checkpoints.
        new: parameters that start at random, and learn at the full rate.
        photos: photos to learn from, by default ``study.train``.
        side: side in pixels of the squares that ``maps`` is called with, by default ``schedule.crop``.
        on_progress: called before each step with the fraction of the training that is done, in [0, 1); 0 while the number of
            steps is unknown. For losses that change while a network learns.

    Raises:
        DataError: the loss is no longer finite, or there is no photo.
    """
    photos = study.train if photos is None else photos
    if not len(photos):
        raise DataError("there is no photo to train on")
    optimiser = _optimiser(network, new, schedule)
    generator = torch.Generator().manual_seed(study.seed)
    size = min(schedule.batch, len(photos))
    batches = _batches(photos, size, schedule.crop, study.device, generator)
    best: dict[str, Any] = {"score": -math.inf, "state": None, "step": 0}
    curve: list[Mapping[str, float]] = []
    total, spent, step = 0, 0.0, 0
    network.train()
    while not total or step < total:
        started = time.perf_counter()
        # 0 also where the total is known after the first step: the same steps learn alike
        progress = step / total if step > _TIMED_STEPS else 0.0
        if on_progress is not None:
            on_progress(progress)
        for group in optimiser.param_groups:
            group["lr"] = schedule.lr * group["fraction"] * (1 + math.cos(math.pi * progress)) / 2
        images, labels = next(batches)
        value = loss(images, labels, generator)
        if not torch.isfinite(value):
            raise DataError(f"the loss is no longer finite at step {step + 1}; a smaller rate than {schedule.lr:g} may help")
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        step += 1
        synchronise(study.device)
        seconds = time.perf_counter() - started
        spent += seconds if step > 1 or total else 0.0
        if not total and (step == 1 + _TIMED_STEPS or seconds > study.seconds):
            each = spent / max(1, step - 1) if step > 1 else seconds
            total = max(_MIN_STEPS, step, round(study.seconds / each))
            log(f"  {total} steps of {each:.2f} s, {total * size / len(photos):.1f} passes over {len(photos)} photos")
        if step > _TIMED_STEPS and step in _checkpoints(total, schedule.checks):
            network.eval()
            score = study.choose(maps, side or schedule.crop)
            network.train()
            curve.append({"step": step, "loss": float(value.detach())} | ({} if score is None else {"v2": score}))
            if score is None or score >= best["score"]:
                state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
                best = {"score": -math.inf if score is None else score, "state": state, "step": step}
    network.load_state_dict(best["state"])
    network.eval()
    chosen = f"step {total}, the last"
    if best["score"] > -math.inf:
        chosen = f"step {best['step']} of {total} by the ground-truth boxes of validation"
    return Fit(steps=total, epochs=total * size / len(photos), chosen=chosen, curve=tuple(curve))


def _optimiser(network: nn.Module, new: Sequence[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """Return the optimiser: new parameters in one group, those with weights, if there are any, in another with a lower rate."""
    ids = {id(parameter) for parameter in new}
    backbone = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
    groups = [{"params": list(new), "fraction": 1.0}, {"params": backbone, "fraction": schedule.backbone_lr}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=schedule.lr, weight_decay=schedule.weight_decay)


def _batches(
    photos: Photos, size: int, crop: int, device: torch.device, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield crops for ever: every photo once per pass, in a new order each time."""
    rest: list[int] = []
    while True:
        if len(rest) < size:
            rest += torch.randperm(len(photos), generator=generator).tolist()
        part, rest = rest[:size], rest[size:]
        yield photos.crops(part, crop, device, generator)


def _checkpoints(total: int, checks: int) -> set[int]:
    """Return the steps, counted from 1, after which the network is measured; the last of them is ``total``."""
    return {max(1, round(total * (i + 1) / checks)) for i in range(checks)}
