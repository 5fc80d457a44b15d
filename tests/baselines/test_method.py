"""What a method may still use of the budget after what it builds on, and what it counts as its own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
from torch import Tensor

from dips.baselines import method as module
from dips.baselines.limits import Limits
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study


class Timed(ScoreMapMethod):
    """Building takes 2 seconds and training 5; it notes what it was given."""

    name, title, paper = "timed", "Timed", "none"
    clock: ClassVar[list[float]] = [0.0]
    given = -1.0

    def build(self, study: Study) -> None:
        self.clock[0] += 2

    def train(self, study: Study) -> Fit:
        self.given = study.seconds
        self.clock[0] += 5
        return Fit()

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        return images.mean(1)


class Above(Timed):
    name, needs = "above", ("timed",)


class Top(Timed):
    name, needs = "top", ("above", "timed")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Timed.clock[0] = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: Timed.clock[0]))


@pytest.mark.parametrize(("budget", "left"), [(40.0, [38, 31, 24]), (15.0, [13, 6, 0])])
def test_what_it_builds_on_counts_once(study: Study, budget: float, left: list[float]) -> None:
    study.seconds = budget
    methods = [Timed(), Above(), Top()]
    for each in methods:
        assert each.fit(study).seconds == 7 == each.spent and study.seconds == budget
        study.done[each.name] = each
    assert [each.given for each in methods] == left, "the lowest is below the topmost twice, and counts once"


def test_what_an_earlier_fit_took_counts_as_well(study: Study) -> None:
    below, above = Timed(), Above()
    below.spent = 30.0  # restored
    study.done["timed"], study.seconds = below, 40.0
    above.fit(study)
    assert above.given == 8


def test_without_a_budget_every_method_has_the_same_limits(study: Study) -> None:
    below, above = Timed(), Above()
    below.spent, study.limits, study.seconds = 30.0, Limits(), 40.0
    study.done["timed"] = below
    above.fit(study)
    assert above.given == 40


def test_the_budget_is_whole_again_where_a_fit_fails(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.seconds = 40.0
    monkeypatch.setattr(Timed, "train", lambda self, study: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Timed().fit(study)
    assert study.seconds == 40


def test_two_stages_are_one_fit() -> None:
    first = Fit(steps=2, epochs=0.5, chosen="a", curve=({"step": 2},), limit="40 passes")
    second = Fit(steps=3, epochs=1.0, seconds=4, fixed=1, chosen="b", curve=({"step": 3, "v2": 50},), limit="40 passes")
    both = Fit(
        steps=5,
        epochs=1.5,
        seconds=4,
        fixed=1,
        chosen="first stage: a; second: b",
        curve=({"stage": 1, "step": 2}, {"stage": 2, "step": 3, "v2": 50}),
        limit="40 passes",
    )
    assert first.then(second) == both
    assert Fit().then(replace(second, limit="")).limit == "" and Fit().then(second).limit == "40 passes"
