"""What changes from step to step: rates, weight decay, the teacher's momentum and temperature (Caron et al., appendix).

In: settings and the number of steps. Out: the numbers of a step, from nothing but its place, so that a resumed run goes on with
the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dips.config import AdaptConfig

__all__ = ["Moment", "Schedule", "cosine", "linear"]

_WARM_UP_FRACTION = 0.1  # of the steps in which something learns
_LAST_RATE = 0.01  # rates end at this fraction of their maximum, as a last step at 0 would be none
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
    """Return how far ``step`` is on the way to the last of ``steps``, in [0, 1]; a single step is the end."""
    return min(1.0, step / (steps - 1)) if steps > 1 else 1.0


@dataclass(frozen=True)
class Moment:
    """The numbers of one step.

    Attributes:
        lr: rate of the blocks; 0 while the head learns alone.
        head_lr: rate of the head.
        weight_decay: of all weights but biases and other vectors.
        momentum: how much the teacher keeps of itself.
        temperature: the teacher's.
        body_learns: the blocks learn.
        prototypes_learn: the head's last layer does; DINO holds it still in the first epoch.
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
    """The numbers of all steps of a run.

    >>> Schedule(AdaptConfig(), 100).at(99).momentum
    1.0
    """

    config: AdaptConfig
    steps: int

    @property
    def head_steps(self) -> int:
        """Number of steps, the first ones, in which the head learns alone."""
        return int(self.config.head_first * self.steps)

    def at(self, step: int) -> Moment:
        """Return the numbers of ``step``, counted from 0."""
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
    """Return the rate at ``step`` of ``steps``: a short linear rise, then half a cosine."""
    warm = int(_WARM_UP_FRACTION * steps)
    if step < warm:
        return highest * (step + 1) / (warm + 1)
    return cosine(highest, highest * _LAST_RATE, step - warm, max(2, steps - warm))
