"""Training until validation stops improving, for ``--budget converged``: find a rate, hold it, and lower it to 0 at the end.

In: a network in training and :class:`~dips.baselines.limits.Limits`. Out: its best checkpoint, and what ended the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat, takewhile
from typing import NamedTuple

from dips.baselines.limits import Limits
from dips.baselines.steps import Checkpoint, Steps
from dips.errors import DataError
from dips.system.console import log

__all__ = ["Converged", "converge"]

_END = math.nextafter(1, 0)  # progress at the end of the training: the largest number below 1


class Converged(NamedTuple):
    """How a training ended.

    Attributes:
        rate: the chosen rate, as a multiple of the schedule's.
        limit: description of what ended it before validation did, a limit or a divergence; empty if nothing did.
    """

    rate: float
    limit: str


def converge(run: Steps, limits: Limits, seconds: float, *, start: bool) -> Converged:
    """Train until validation stops improving or a limit is reached; without ground-truth boxes, until a limit is reached.

    Args:
        run: a training that has not started; afterwards, its ``best`` is the best checkpoint.
        seconds: maximum seconds.
        start: whether the initial network is one of the checkpoints.

    Raises:
        DataError: the loss is no longer finite.
    """
    rate = _search(run, limits, limits.trial_share * seconds) if run.boxed and len(limits.rates) > 1 else 1.0
    if start:
        run.check()
    every = max(1, round(limits.every * run.per_pass))
    least, most = limits.least * run.per_pass, limits.passes * run.per_pass
    searched, waited, limit = run.elapsed, 0, ""

    def in_time() -> bool:
        """Return whether what is left suffices for a check, for the falling rate and for the check after it."""
        check = run.check_seconds
        return searched + (run.elapsed + check - searched) * (1 + limits.decay) + check < seconds

    def learn(rates: Iterable[float]) -> bool:
        """Take a step at each of the rates; return False if the loss is no longer finite but there is a checkpoint."""
        nonlocal limit
        for rate in rates:
            try:
                run.step(rate, min(run.made / least, _END))
            except DataError as error:
                if not run.best.weights:
                    raise
                log(f"  {error}; back to the best checkpoint")
                limit = limit or "a loss that was no longer finite"
                return False
        return True

    while learn(takewhile(lambda _: in_time(), repeat(rate, every))):
        waited = 0 if run.check() is not False else waited + 1
        if waited >= limits.patience and run.made >= least:
            break
        if not in_time():
            limit = f"{seconds / 60:.3g} minutes"
        elif (run.made + every) * (1 + limits.decay) > most:
            limit = f"{limits.passes} passes"
        if limit:
            break
    run.load(run.best)  # without ground-truth boxes, the last one
    stretch = max(1, round(limits.decay * run.made))
    if learn(rate * (1 - index / stretch) for index in range(stretch)):
        run.check()
    log(f"  {run.made} steps, {run.made / run.per_pass:.1f} passes{f'; ended by {limit}' if limit else ''}")
    return Converged(rate, limit)


def _search(run: Steps, limits: Limits, seconds: float) -> float:
    """Return the rate that is best on validation after a few passes, as a multiple of the schedule's, and reset the network."""
    first = run.checkpoint()
    scores: dict[float, float] = {}

    def tried(rate: float) -> None:
        scores[rate] = _trial(run, first, rate, round(limits.trial * run.per_pass), seconds / (len(limits.rates) + 1))
        run.curve.append({"rate": run.schedule.lr * rate, "v2": scores[rate]})

    for rate in limits.rates:
        tried(rate)
    lowest, highest = limits.rates[0], limits.rates[-1]
    if (best := _best(scores)) in (lowest, highest):
        inner = limits.rates[1] if best == lowest else limits.rates[-2]
        tried(best * best / inner)
    run.load(first)
    run.made = 0
    chosen = _best(scores)
    log(f"  rate {run.schedule.lr * chosen:.3g}, the best of {len(scores)} on validation")
    return chosen


def _trial(run: Steps, first: Checkpoint, rate: float, steps: int, seconds: float) -> float:
    """Return the score of training from ``first`` at a rate, for at most ``steps`` and ``seconds``; -inf if it diverges."""
    run.load(first)
    run.made, until = 0, run.elapsed + seconds
    try:
        while run.made < max(1, steps):
            run.step(rate, _END)
            if run.elapsed >= until:
                break
        score = run.measure()
    except DataError:  # the loss is no longer finite
        return -math.inf
    return -math.inf if score is None or not math.isfinite(score) else score


def _best(scores: dict[float, float]) -> float:
    """Return the rate with the highest score, of ties the one nearest to 1."""
    return max(scores, key=lambda rate: (scores[rate], -abs(math.log(rate))))
