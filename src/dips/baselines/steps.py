"""Training of a network step by step, with checks on validation; its length is decided elsewhere.

In: a network, its loss and the study. Out: its best checkpoint, and the measurements made along the way.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.errors import DataError
from dips.system.device import synchronise

__all__ = ["Checkpoint", "Loss", "Schedule", "Steps", "Training"]

Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]

_TIMED_PHOTOS = 16  # used to time a check


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes:
        lr: initial learning rate of the new layers; it falls to 0.
        backbone_lr: learning rate of the pretrained layers, as a fraction of ``lr``.
        weight_decay: AdamW's.
        batch: photos per step.
        crop: side of the random crops in pixels.
        checks: number of checks on validation within a budget, evenly spaced over the steps.
    """

    lr: float
    backbone_lr: float = 0.1
    weight_decay: float = 1e-4
    batch: int = 32
    crop: int = 224
    checks: int = 4


@dataclass(frozen=True)
class Checkpoint:
    """A network and its optimiser as they were after a step.

    Attributes:
        step: counted from 1; 0 before the first one.
        score: MaxBoxAccV2 on validation; minus infinity if nothing was measured.
        weights: the network's tensors.
        optimiser: the optimiser's state.
    """

    step: int = 0
    score: float = -math.inf
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    optimiser: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What is trained, and on what, but not for how long.

    Attributes:
        network: its parameters that require gradients are trained in place. Layers without such parameters always stay in
            evaluation mode.
        loss: returns a scalar from images ``(B, 3, crop, crop)`` in [0, 1], labels ``(B,)`` and a CPU generator for its draws.
        maps: as :meth:`~dips.baselines.method.ScoreMapMethod.maps`; used for the choice on validation.
        schedule: rates, batches and checkpoints.
        new: randomly initialised parameters that learn at the full rate; all others learn at ``schedule.backbone_lr`` of it.
        side: side in pixels of the squares that ``maps`` is passed, and of the photos that a last layer is fitted to.
        photos: photos to learn from; None: those of the study.
        on_progress: called before each step with the completed fraction of the training, in [0, 1); for losses that change
            during training.
    """

    network: nn.Module
    loss: Loss
    maps: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    new: Sequence[nn.Parameter]
    side: int
    photos: Photos | None = None
    on_progress: Callable[[float], None] | None = None


class Steps:
    """A training in progress.

    Attributes:
        per_pass: number of steps in which each photo is seen once, on average.
        made: steps so far, excluding those of trials.
        all: steps so far.
        best: the best checkpoint, the last one of ties; without ground-truth boxes, the last one.
        curve: one mapping per check.
        boxed: number of validation photos that have boxes.

    Raises:
        DataError: there is no photo.
    """

    def __init__(self, training: Training, study: Study) -> None:
        network, schedule = training.network, training.schedule
        photos = study.train if training.photos is None else training.photos
        if not len(photos):
            raise DataError("there is no photo to train on")
        self._begun = time.perf_counter()
        self.network, self.schedule, self.photos = network, schedule, photos
        self._study, self._training = study, training
        self._optimiser = _optimiser(network, training.new, schedule)
        self._generator = torch.Generator().manual_seed(study.seed)
        self.size = min(schedule.batch, len(photos))
        self.per_pass = len(photos) / self.size
        self._batches = _batches(photos, self.size, schedule.crop, study.device, self._generator)
        self.made = self.all = 0
        self.best = Checkpoint()
        self.curve: list[Mapping[str, float]] = []
        self.boxed = len(study.boxed)
        self._check_seconds: float | None = None
        self._value: Tensor | None = None
        _learn(network)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._begun

    def step(self, rate: float, progress: float) -> float:
        """Take a step, and return how many seconds it took.

        Args:
            rate: learning rate, as a multiple of the schedule's.
            progress: completed fraction of the training, in [0, 1).

        Raises:
            DataError: the loss is no longer finite.
        """
        started = time.perf_counter()
        if self._training.on_progress is not None:
            self._training.on_progress(progress)
        for group in self._optimiser.param_groups:
            group["lr"] = self.schedule.lr * group["fraction"] * rate
        images, labels = next(self._batches)
        value = self._training.loss(images, labels, self._generator)
        if not torch.isfinite(value):
            raise DataError(
                f"the loss is no longer finite at step {self.made + 1}, at a rate of {self.schedule.lr * rate:.3g}; the "
                "method's Schedule sets it, and --budget converged tries smaller ones"
            )
        self._optimiser.zero_grad()
        value.backward()
        self._optimiser.step()
        self._value = value.detach()
        self.made += 1
        self.all += 1
        synchronise(self._study.device)
        return time.perf_counter() - started

    def measure(self, most: int | None = None) -> float | None:
        """Return MaxBoxAccV2 (percent) on validation, or on its first ``most`` photos; None if none has boxes."""
        begun = self.elapsed
        self.network.eval()
        score = self._study.choose(self._training.maps, self._training.side, most)
        _learn(self.network)
        if most is None:
            self._check_seconds = self.elapsed - begun
        return score

    @property
    def check_seconds(self) -> float:
        """Seconds that a check takes: those of the last one, or, before the first, an estimate from a few photos."""
        if self._check_seconds is None:
            begun = self.elapsed
            self.measure(_TIMED_PHOTOS)
            self._check_seconds = (self.elapsed - begun) * max(1.0, self.boxed / _TIMED_PHOTOS)
        return self._check_seconds

    def check(self) -> bool | None:
        """Measure on validation, and keep the best checkpoint.

        Returns:
            Whether this one is better than all earlier ones; None if nothing can be measured.
        """
        score = self.measure()
        row: dict[str, float] = {"step": self.made}
        row |= {} if self._value is None else {"loss": float(self._value)}
        self.curve.append(row | ({} if score is None else {"v2": score}))
        if score is None:
            self.best = self.checkpoint()
            return None
        better = score > self.best.score
        if score >= self.best.score:
            self.best = self.checkpoint(score)
        return better

    def checkpoint(self, score: float = -math.inf) -> Checkpoint:
        """Return a checkpoint of the current state."""
        weights = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        return Checkpoint(self.made, score, weights, copy.deepcopy(self._optimiser.state_dict()))

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint; steps taken since then still count."""
        self._value = None
        self.network.load_state_dict(dict(checkpoint.weights))
        self._optimiser.load_state_dict(copy.deepcopy(dict(checkpoint.optimiser)))

    def finish(self) -> None:
        """Load the best checkpoint's weights into the network, and switch it to evaluation mode."""
        self.network.load_state_dict(dict(self.best.weights))
        self.network.eval()


def _learn(network: nn.Module) -> None:
    """Switch to training mode, except for frozen layers: a frozen batch norm keeps its statistics."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.training = False


def _optimiser(network: nn.Module, new: Sequence[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """Return the optimiser: new parameters in one group, pretrained ones, if any, in another with a lower rate."""
    ids = {id(parameter) for parameter in new}
    backbone = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
    groups = [{"params": list(new), "fraction": 1.0}, {"params": backbone, "fraction": schedule.backbone_lr}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=schedule.lr, weight_decay=schedule.weight_decay)


def _batches(
    photos: Photos, size: int, crop: int, device: torch.device, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield crops forever: every photo once per pass, in a new order each time."""
    rest: list[int] = []
    while True:
        if len(rest) < size:
            rest += torch.randperm(len(photos), generator=generator).tolist()
        part, rest = rest[:size], rest[size:]
        yield photos.crops(part, crop, device, generator)
