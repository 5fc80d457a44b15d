"""Training until validation stops improving, on a network of one number: when it ends, at which rates, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dips.baselines.limits import Limits
from dips.baselines.training import Schedule
from dips.errors import DataError

from .conftest import SCHEDULE, Run

# 6 photos in batches of 4: a pass is 1.5 steps, and a check comes after every third
LIMITS = Limits(passes=40, minutes=60, every=2, patience=2, least=4, decay=0.25, rates=(1.0,), trial=2)


@pytest.fixture
def rates(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The rate of each step, of a plain gradient descent."""
    found: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            found.append(self.param_groups[0]["lr"] / SCHEDULE.lr)
            super().step()

    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, weight_decay: Watched(groups, lr=lr))
    run.study.seconds, run.study.limits = 3600, LIMITS
    yield found


def scored(run: Run, *scores: float) -> Callable[[Any, Any], float]:
    """As ``run.scored``, after the measurement that times a check."""
    return run.scored(0, *scores)


def test_the_rate_falls_to_0_when_validation_no_longer_improves(run: Run, rates: list[float]) -> None:
    run.study.judge = scored(run, 10, 20, 30, 30, 25, 40)
    fit = run()
    assert rates == [1.0] * 15 + [1.0, 0.75, 0.5, 0.25], "a quarter of the steps before it"
    assert [(row["step"], row["v2"]) for row in fit.curve] == [(3, 10), (6, 20), (9, 30), (12, 30), (15, 25), (19, 40)]
    assert fit.steps == 19 and fit.limit == "" and fit.epochs == pytest.approx(19 / 1.5)
    assert fit.chosen == "step 19 of 19 by the ground-truth boxes of validation, rate 0.5"
    # it goes on from the best checkpoint, of equal ones the last
    assert run.net.value.item() == pytest.approx(SCHEDULE.lr * (12 + 2.5))


def test_the_best_checkpoint_is_kept(run: Run, rates: list[float]) -> None:
    run.study.judge = scored(run, 10, 30, 20, 25, 15)
    assert run().chosen.startswith("step 6 of ") and run.net.value.item() == pytest.approx(SCHEDULE.lr * 6)


def test_a_stretch_has_the_least_passes(run: Run, rates: list[float]) -> None:
    run.study.judge = scored(run, 30, 20, 20, 20)
    run.study.limits = replace(LIMITS, least=9)
    run()
    assert rates.count(1.0) == 15 + 1, "of 9 passes, 13.5 steps, five checks"


def test_the_start_may_be_the_best(run: Run, rates: list[float]) -> None:
    run.study.judge = run.scored(90, 20)
    fit = run(start=True)
    assert fit.chosen.startswith("step 0 of 8 ") and run.net.value.item() == 0 and fit.curve[0] == {"step": 0, "v2": 90}


def test_a_check_has_no_loss_of_other_weights(run: Run, rates: list[float]) -> None:
    """After trials of three rates, the network is as it was, and no step has given it a loss."""
    run.study.limits = replace(LIMITS, rates=(0.5, 1.0, 2.0))
    (start,) = (row for row in run(start=True).curve if row.get("step") == 0)
    assert set(start) == {"step", "v2"}


def test_passes_are_limited_with_the_last_stretch(run: Run, rates: list[float]) -> None:
    run.study.judge = scored(run, *range(90))
    run.study.limits = replace(LIMITS, passes=8)
    fit = run()
    assert rates == [1.0] * 9 + [1.0, 0.5] and fit.steps <= 12 and fit.limit == "8 passes"


def test_minutes_are_limited_with_the_last_stretch(run: Run, rates: list[float]) -> None:
    run.study.judge = scored(run, *range(90))
    run.study.seconds = 11
    fit = run()
    assert fit.steps == 9 + 2 == run.now and fit.limit == "0.183 minutes"


def test_minutes_end_the_constant_rate_between_two_checks(run: Run, rates: list[float]) -> None:
    """On a slow machine, the passes between two checks may take longer than what is left; checks take 2 s each."""
    run.study.judge = scored(run, *range(90))
    run.check, run.study.seconds, run.study.limits = 2, 25, replace(LIMITS, every=40)
    fit = run()
    assert rates == [1.0] * 15 + [1.0, 0.75, 0.5, 0.25] and run.now == 2 + 15 + 2 + 4 + 2 == 25
    assert fit.limit == "0.417 minutes" and fit.chosen.startswith("step 19 of 19 ")


def test_without_boxes_a_limit_ends_it(run: Run, rates: list[float]) -> None:
    study = run.study
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    study.limits = replace(LIMITS, passes=8, rates=(0.5, 1.0, 2.0))
    fit = run()
    assert rates[:9] == [1.0] * 9 and fit.limit == "8 passes" and fit.chosen == "step 11, the last, rate 0.5"
    assert run.net.value.item() == pytest.approx(SCHEDULE.lr * (9 + 1.5)), "the last checkpoint"


@pytest.mark.parametrize(
    ("best", "tried", "chosen"),
    [
        (100.0, [0.5, 1.0, 2.0, 4.0], 4.0),
        (0.0, [0.5, 1.0, 2.0, 0.25], 0.25),
        (1.5, [0.5, 1.0, 2.0], 1.0),
        (2.4, [0.5, 1.0, 2.0, 4.0], 2.0),
    ],
)
def test_a_rate_at_the_edge_is_followed_by_the_next(
    run: Run, rates: list[float], best: float, tried: list[float], chosen: float
) -> None:
    """A trial is 3 steps, after which the number is 1.5 times the rate."""

    def judge(maps: Any, samples: Any) -> float:
        return 90 - abs(float(next(iter(maps))[0, 0]) - best)

    run.study.judge, run.study.limits = judge, replace(LIMITS, rates=(0.5, 1.0, 2.0))
    fit = run()
    trials = 3 * len(tried)
    assert rates[:trials:3] == tried and rates[trials] == chosen
    assert [row["rate"] for row in fit.curve[: len(tried)]] == [SCHEDULE.lr * rate for rate in tried]
    assert fit.curve[len(tried)]["step"] == 3, "learned anew from the beginning"
    assert fit.steps == len(rates) and f"rate {SCHEDULE.lr * chosen:.3g}" in fit.chosen


def test_of_equal_rates_the_methods_own(run: Run, rates: list[float]) -> None:
    run.study.limits = replace(LIMITS, rates=(0.5, 1.0, 2.0))
    run()
    assert rates[9] == 1.0


def test_trials_take_a_quarter_of_the_time_at_most(run: Run, rates: list[float]) -> None:
    run.study.limits = replace(LIMITS, rates=(0.5, 1.0, 2.0), trial=40)
    run.study.seconds = 80
    run()
    assert rates[:15] == [0.5] * 5 + [1.0] * 5 + [2.0] * 5


def test_a_rate_that_diverges_is_not_chosen(run: Run, rates: list[float]) -> None:
    plain = run.loss

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return plain(images, labels, generator) * (float("nan") if run.net.value.item() > 1 and rates[-1] > 1 else 1)

    run.loss = loss  # type: ignore[method-assign]
    run.study.limits = replace(LIMITS, rates=(0.5, 1.0, 2.0))
    fit = run()
    assert "rate 0.5" in fit.chosen and fit.record()["curve"][2] == {"rate": 1.0, "v2": None}
    run.loss = lambda images, labels, generator: run.net.value * float("nan")  # type: ignore[method-assign]
    with pytest.raises(DataError, match="no longer finite"):
        run()


def test_progress_is_the_fraction_of_the_least_passes(run: Run, rates: list[float]) -> None:
    told: list[float] = []
    run.study.judge = scored(run, *range(90))
    run.study.limits = replace(LIMITS, passes=8)
    run(Schedule(lr=0.5, batch=4, crop=32), on_progress=told.append)
    assert told == [step / 6 for step in range(6)] + [math.nextafter(1, 0)] * 5


def test_a_trial_has_the_loss_of_the_end(run: Run, rates: list[float]) -> None:
    told: list[float] = []
    run.study.limits = replace(LIMITS, rates=(0.5, 1.0, 2.0))
    run(on_progress=told.append)
    assert told[:10] == [math.nextafter(1, 0)] * 9 + [0.0]


@pytest.mark.parametrize("at", [11, 18])
def test_a_loss_that_diverges_late_leaves_the_best_checkpoint(run: Run, rates: list[float], at: int) -> None:
    plain = run.loss

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return plain(images, labels, generator) * (float("nan") if len(rates) >= at else 1)

    run.loss = loss  # type: ignore[method-assign]
    run.study.judge = scored(run, 10, 20, 30, 30, 25)
    fit = run()
    assert fit.chosen.startswith("step 9 of " if at == 11 else "step 12 of ")
    assert run.net.value.item() == SCHEDULE.lr * (9 if at == 11 else 12)
    assert fit.limit == "a loss that was no longer finite", "the table names it"


def test_without_boxes_a_loss_that_diverges_leaves_the_last_checkpoint(
    run: Run, rates: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    plain, study, failed = run.loss, run.study, [False]
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        fails = len(rates) == 10 and not failed[0]
        failed[0] |= fails
        return plain(images, labels, generator) * (float("nan") if fails else 1)

    run.loss = loss  # type: ignore[method-assign]
    fit = run()
    assert rates == [1.0] * 10 + [1.0, 0.5] and capfd.readouterr().err.count("back to the best checkpoint") == 1
    assert run.net.value.item() == pytest.approx(SCHEDULE.lr * (9 + 1.5)), "from the last check the rate falls to 0"
    assert fit.limit == "a loss that was no longer finite"
