"""What changes from step to step: learning rates, weight decay, teacher momentum and temperature (Caron et al., appendix).

In: settings and the number of steps. Out: the values for a step, which depend only on its index, so that a resumed run
continues with the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dips.config import AdaptConfig

__all__ = ["Moment", "Schedule", "cosine", "linear"]

_WARM_UP_FRACTION = 0.1  # of the steps in which a part of the network learns
_LAST_RATE = 0.01  # rates end at this fraction of their maximum, since a last step at 0 would do nothing
_TEMPERATURE_FRACTION = 0.3  # DINO: 30 of 100 epochs


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at ``step`` on half a cosine from ``start``, at step 0, to ``end``, at the last of ``steps`` steps.

    >>> [cosine(1.0, 0.0, step, 3) for step in range(3)]
    [1.0, 0.5, 0.0]
    """
    part = 0.5 * (1 + math.cos(math.pi * _progress(step, steps)))
    return start * part + end * (1 - part)


def linear(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at ``step`` on a line from ``start``, at step 0, to ``end``, at the last of ``steps`` and after it.

    >>> [linear(0.0, 1.0, step, 3) for step in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """
    part = _progress(step, steps)
    return start * (1 - part) + end * part


def _progress(step: int, steps: int) -> float:
    """Return the fraction of the way to the last of ``steps`` at ``step``, in [0, 1]; 1 if there is a single step."""
    return min(1.0, step / (steps - 1)) if steps > 1 else 1.0


@dataclass(frozen=True)
class Moment:
    """The values for one step.

    Attributes:
        lr: learning rate of the blocks; 0 while only the head learns.
        head_lr: learning rate of the head.
        weight_decay: for all weights except biases and other vectors.
        momentum: fraction of its own weights that the teacher keeps.
        temperature: the teacher's.
        body_learns: whether the blocks learn.
        prototypes_learn: whether the head's last layer learns; DINO freezes it in the first epoch.
    """

    lr: float
    head_lr: float
    weight_decay: float
    momentum: float
    temperature: float
    body_learns: bool
    prototypes_learn: bool


@dataclass(frozen=True)
class Schedule:
    """The values for all steps of a run.

    >>> Schedule(AdaptConfig(), 100).at(99).momentum
    1.0
    """

    config: AdaptConfig
    steps: int

    @property
    def head_steps(self) -> int:
        """Number of initial steps in which only the head learns."""
        return int(self.config.head_first * self.steps)

    def at(self, step: int) -> Moment:
        """Return the values for ``step``, counted from 0."""
        config, steps, alone = self.config, self.steps, self.head_steps
        return Moment(
            lr=_rate(config.lr, step - alone, steps - alone) if step >= alone else 0.0,
            head_lr=_rate(config.head_lr, step, steps),
            weight_decay=cosine(config.weight_decay, config.weight_decay_end, step, steps),
            momentum=cosine(config.momentum, 1.0, step, steps),
            temperature=linear(
                config.teacher_temperature,
                config.teacher_temperature_end,
                step,
                int(_TEMPERATURE_FRACTION * steps) + 1,
            ),
            body_learns=step >= alone,
            prototypes_learn=step >= alone // 2,
        )


def _rate(highest: float, step: int, steps: int) -> float:
    """Return the learning rate at ``step`` of ``steps``: a short linear warm-up, then half a cosine."""
    warm = int(_WARM_UP_FRACTION * steps)
    if step < warm:
        return highest * (step + 1) / (warm + 1)
    return cosine(highest, highest * _LAST_RATE, step - warm, max(2, steps - warm))
