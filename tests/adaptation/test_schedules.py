"""Rates, weight decay, momentum and temperature from the first step to the last."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dips.adaptation.schedules import Schedule, cosine, linear
from dips.config import AdaptConfig

CONFIG = AdaptConfig(
    head_first=0.2, lr=1e-3, head_lr=1e-2, weight_decay=0.04, weight_decay_end=0.4, momentum=0.996,
    teacher_temperature=0.04, teacher_temperature_end=0.07,
)  # fmt: skip


@pytest.mark.parametrize("curve", [cosine, linear])
@pytest.mark.parametrize(("start", "end"), [(0.04, 0.4), (0.996, 1.0), (0.1 + 0.2, 0.7)])
def test_ends_are_exact(curve: object, start: float, end: float) -> None:
    assert callable(curve)
    assert curve(start, end, 0, 7) == start and curve(start, end, 6, 7) == end
    assert curve(start, end, 0, 1) == end, "a single step is the last one"
    assert curve(start, end, 3, 7) == pytest.approx((start + end) / 2)


def test_ends_of_a_run() -> None:
    schedule = Schedule(CONFIG, 100)
    first, last = schedule.at(0), schedule.at(99)
    assert (first.weight_decay, last.weight_decay) == (0.04, 0.4)
    assert (first.momentum, last.momentum) == (0.996, 1.0)
    assert (first.temperature, last.temperature) == (0.04, 0.07)
    assert [schedule.at(step).temperature for step in (15, 30)] == pytest.approx([0.055, 0.07])


def test_the_head_learns_first() -> None:
    schedule = Schedule(CONFIG, 100)
    assert schedule.head_steps == 20
    assert [schedule.at(step).body_learns for step in (0, 19, 20, 99)] == [False, False, True, True]
    assert [schedule.at(step).prototypes_learn for step in (0, 9, 10)] == [False, False, True]
    assert schedule.at(19).lr == 0 < schedule.at(20).lr
    at_once = Schedule(replace(CONFIG, head_first=0.0), 100).at(0)
    assert at_once.body_learns and at_once.prototypes_learn


def test_rates_rise_once_and_fall() -> None:
    schedule = Schedule(CONFIG, 100)
    body = [schedule.at(step).lr for step in range(20, 100)]
    head = [schedule.at(step).head_lr for step in range(100)]
    for rates, highest in ((body, 1e-3), (head, 1e-2)):
        peak = rates.index(max(rates))
        assert rates[peak] == highest and peak == len(rates) // 10
        assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
        assert rates[0] > 0 and rates[-1] == pytest.approx(highest / 100)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_runs_learn(steps: int) -> None:
    last = Schedule(CONFIG, steps).at(steps - 1)
    assert last.body_learns and last.lr > 0 and last.momentum == 1
