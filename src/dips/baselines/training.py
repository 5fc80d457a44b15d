"""One training for all methods that learn: within a budget of seconds, or until validation stops improving.

In: a network, its loss and the study. Out: the network with the weights of the best checkpoint on validation, and a
:class:`~dips.baselines.method.Fit`. Within a budget, the number of steps follows from the time that the first ones take, so
that methods with costlier steps take fewer of them, and the learning rate falls as a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from dips.baselines.convergence import converge
from dips.baselines.method import Fit
from dips.baselines.steps import Schedule, Steps, Training
from dips.baselines.study import Study
from dips.system.console import log

__all__ = ["Schedule", "Training", "train_network", "train_new_layers"]

_TIMED_STEPS = 3  # after a warm-up step
_MIN_STEPS = 4  # however small the budget
_CHECK_SHARE = 0.2  # of the budget, for all checks together
_HEAD_SHARE = 0.1  # of the budget, for new layers on a frozen body


def train_network(training: Training, study: Study, *, start: bool = False, most: float = math.inf) -> Fit:
    """Train within the study's budget, or until validation stops improving.

    Args:
        training: its network ends in evaluation mode, with the weights of the best checkpoint on validation, or of the last one
            if no validation photo has a box. The progress it receives is 0 while the number of steps is unknown; without a
            budget, it is the fraction of :attr:`Limits.least <dips.baselines.limits.Limits>`.
        study: provides photos, budget or limits, seed and device. Checks on validation count towards the budget.
        start: whether the initial network is one of the checkpoints.
        most: maximum number of passes over the photos within a budget.

    Raises:
        DataError: the loss is no longer finite, or there is no photo.
    """
    run = Steps(training, study)
    rate, limit = "", ""
    if study.limits is None:
        _within(run, study.seconds, start=start, most=most)
    else:
        ended = converge(run, study.limits, study.seconds, start=start)
        limit = ended.limit
        rate = f", rate {training.schedule.lr * ended.rate:.3g}"
    run.finish()
    chosen = f"step {run.made}, the last{rate}"
    if run.best.score > -math.inf:
        chosen = f"step {run.best.step} of {run.made} by the ground-truth boxes of validation{rate}"
    epochs = run.all / run.per_pass
    return Fit(steps=run.all, epochs=epochs, chosen=chosen, curve=tuple(run.curve), limit=limit)


def train_new_layers(training: Training, fixed: Sequence[nn.Module], study: Study) -> Fit:
    """Train all layers but ``fixed`` for a tenth of the budget, or of the limits; the progress they receive is 0.

    Raises:
        DataError: the loss is no longer finite, or there is no photo.
    """
    frozen = [parameter for module in fixed for parameter in module.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    part = study.part(_HEAD_SHARE)
    most = math.inf if part.limits is None else part.limits.passes
    if training.on_progress is not None:  # an earlier training may have left another value
        training.on_progress(0.0)
    try:
        return train_network(replace(training, on_progress=None), replace(part, limits=None), most=most)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _within(run: Steps, seconds: float, *, start: bool, most: float) -> None:
    """Train for ``seconds``, including checks, at a learning rate that falls as a cosine."""
    if start:
        run.check()
    cost = run.check_seconds
    checks = run.schedule.checks
    if run.boxed and cost:  # fewer if they would take too long
        checks = max(1, min(checks, int(_CHECK_SHARE * seconds / cost)))
    seconds -= run.elapsed + checks * cost
    total, spent = 0, 0.0
    while not total or run.made < total:
        # The first steps have the full rate: the total is unknown until they are timed. If a single step takes longer than the
        # budget, the total is known after that one, and the others have the full rate all the same.
        progress = run.made / total if run.made > _TIMED_STEPS else 0.0
        took = run.step((1 + math.cos(math.pi * progress)) / 2, progress)
        spent += took if run.made > 1 else 0.0  # the first one is a warm-up
        if not total and (run.made == 1 + _TIMED_STEPS or took > seconds):
            each = spent / (run.made - 1) if run.made > 1 else took
            total = max(_MIN_STEPS, run.made, round(min(seconds / each, most * run.per_pass)))
            log(f"  {total} steps of {each:.2f} s each, {total / run.per_pass:.1f} passes over {len(run.photos)} photos")
        if run.made > _TIMED_STEPS and run.made in _checkpoints(total, checks):
            run.check()


def _checkpoints(total: int, checks: int) -> set[int]:
    """Return the steps, counted from 1, after which the network is measured; the last of them is ``total``."""
    return {max(1, round(total * (i + 1) / checks)) for i in range(checks)}
