"""Training within a budget, on a network of one number, with a clock that the test turns."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dips.baselines import steps
from dips.baselines.cam import Cam
from dips.baselines.limits import Limits
from dips.baselines.method import Fit
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.baselines.training import Schedule, Training, train_network, train_new_layers
from dips.errors import DataError

from .conftest import SCHEDULE, Counted, Run


@pytest.mark.parametrize(("seconds", "cost", "steps"), [(20, 1, 20), (20, 0.5, 40), (20, 4, 5), (20, 50, 4), (0, 1, 4)])
def test_the_budget_sets_the_steps(run: Run, seconds: float, cost: float, steps: int) -> None:
    run.study.seconds, run.cost = seconds, cost
    fit = run()
    assert fit.steps == len(run.batches) == steps
    assert fit.epochs == steps * 4 / 6
    assert run.batches[0].shape == (4, 3, 32, 32)


def test_as_many_steps_learn_alike_whatever_the_first_one_took(run: Run) -> None:
    found = []
    for seconds, cost in ((20, 50), (20, 6)):  # the first step tells the total of 4, or the fourth
        run.study.seconds, run.cost, run.net = seconds, cost, Counted()
        found.append((run().record(), run.net.value.item()))
    assert found[0][0]["steps"] == 4 and {**found[0][0], "seconds": 0} == {**found[1][0], "seconds": 0}
    assert found[0][1] == found[1][1] > 0


def test_the_first_step_warms_up(run: Run) -> None:
    run.study.seconds = 20
    original = run.loss

    def slow_start(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        run.cost = 1.0 if run.batches else 9.0
        return original(images, labels, generator)

    run.loss = slow_start  # type: ignore[method-assign]
    assert run().steps == 20


def test_the_rate_falls_as_a_cosine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])
            super().step()

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    run.study.seconds = 20
    run()
    timed = 4  # while the number of steps is unknown
    assert rates[:timed] == [SCHEDULE.lr] * timed
    assert rates[timed:] == pytest.approx([SCHEDULE.lr * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(timed, 20)])


@pytest.mark.parametrize(("check", "steps", "checks"), [(1.0, 15, 4), (2.0, 14, 2), (5.0, 10, 1), (30.0, 4, 1)])
def test_checks_are_within_the_budget(run: Run, check: float, steps: int, checks: int) -> None:
    run.study.seconds, run.check, run.study.judge = 20, check, run.scored(50)
    fit = run()
    assert fit.steps == steps and len(fit.curve) == checks, "fewer where they would take more than a fifth"
    assert run.now == steps + (1 + checks) * check and (run.now == 20 or check == 30)


def test_the_start_is_a_checkpoint_where_it_is_asked_for(run: Run) -> None:
    run.study.judge, run.study.seconds = run.scored(90, 10, 20), 20
    fit = run(start=True)
    assert fit.chosen == "step 0 of 20 by the ground-truth boxes of validation" and run.net.value.item() == 0
    assert [row["step"] for row in fit.curve] == [0, 5, 10, 15, 20] and "loss" not in fit.curve[0]


def test_layers_that_do_not_learn_keep_their_statistics() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    net[0].requires_grad_(False)
    steps._learn(net)
    frozen, learning = (module.training for module in (net[0], net[1][0]))  # type: ignore[index]
    assert (frozen, learning, net.training, net[1][1].training) == (False, True, True, True)  # type: ignore[index]


def test_new_layers_learn_on_a_frozen_body(run: Run) -> None:
    net = nn.ModuleDict({"body": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    net["body"].bias.requires_grad_(False)
    body, head = ([p.clone() for p in net[name].parameters()] for name in ("body", "head"))
    seconds, told = list[float](), list[float]()

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        run.now += 1
        seconds.append(run.now)
        return sum((p.sum() for p in net.parameters()), torch.zeros(()))

    run.study.seconds = 100
    new = list(net["head"].parameters())
    training = Training(net, loss, lambda images, labels: images.mean(1), SCHEDULE, new, 32, on_progress=told.append)
    assert train_new_layers(training, [net["body"]], run.study).steps == 10 == len(seconds), "a tenth of the budget"
    assert all(torch.equal(old, now) for old, now in zip(body, net["body"].parameters(), strict=True))
    assert not any(torch.equal(old, now) for old, now in zip(head, net["head"].parameters(), strict=True))
    assert [p.requires_grad for p in net["body"].parameters()] == [True, False], "as before"
    run.study.seconds, run.study.limits = 3600, Limits(passes=40)
    assert train_new_layers(training, [net["body"]], run.study).epochs == 4, "a tenth of the limits"
    assert told == [0.0, 0.0], "not what an earlier training left"


def test_progress_is_told_before_each_step(run: Run) -> None:
    told: list[float] = []
    run.study.seconds = 20
    run(on_progress=told.append)
    assert told == [0.0] * 4 + [step / 20 for step in range(4, 20)], "0 while the number of steps is unknown"


def test_a_loss_knows_how_far_the_training_is(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = [0.0], list[float]()
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Timed(Cam):
        def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            clock[0] += 1000  # what a fit does besides takes nothing of that
            seen.append(self.progress)
            return super().loss(images, labels, generator)

    study.seconds = 8000
    Timed().fit(study)
    assert seen == [0, 0, 0, 0, 0.5, 0.625, 0.75, 0.875] and Timed().progress == 0


def test_new_layers_learn_faster(study: Study) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].requires_grad_(False)
    optimiser = steps._optimiser(net, list(net[2].parameters()), SCHEDULE)
    new, backbone = optimiser.param_groups
    assert new["fraction"] == 1 and {id(p) for p in new["params"]} == {id(p) for p in net[2].parameters()}
    assert backbone["fraction"] == SCHEDULE.backbone_lr
    assert {id(p) for p in backbone["params"]} == {id(p) for p in net[0].parameters()}
    assert len(steps._optimiser(net[2], list(net[2].parameters()), SCHEDULE).param_groups) == 1


def test_the_best_checkpoint_is_kept(run: Run) -> None:
    values: list[float] = []

    def judge(maps: Any, samples: Any) -> float:
        assert len(samples) == 3
        values.append(float(next(iter(maps))[0, 0]))
        return 10.0 if len(values) == 3 else 5.0

    run.study.judge, run.study.seconds = judge, 20
    fit = run()
    assert [row["step"] for row in fit.curve] == [5, 10, 15, 20] and [row["v2"] for row in fit.curve] == [5, 10, 5, 5]
    assert values[0] == 0 < values[1] < values[2] < values[3], "a check is timed first, and the network went on"
    assert float(run.net.value.detach()) == values[2]
    assert fit.chosen == "step 10 of 20 by the ground-truth boxes of validation"
    trained, looked = run.modes.count(True), run.modes.count(False)
    assert (trained, looked) == (20, 5) and not run.net.training


def test_of_equal_checkpoints_the_last(run: Run) -> None:
    run.study.seconds = 20
    assert run().chosen.startswith("step 20 of 20")


def test_without_boxes_the_last(run: Run) -> None:
    study = run.study
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    study.seconds = 20
    fit = run()
    assert fit.chosen == "step 20, the last" and not any("v2" in row for row in fit.curve)
    assert run.modes.count(False) == 0, "no map was asked for"


def test_every_photo_once_per_pass(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    crops = Photos.crops

    def watched(photos: Photos, positions: Any, *more: Any) -> Any:
        seen.extend(positions)
        return crops(photos, positions, *more)

    monkeypatch.setattr(Photos, "crops", watched)
    run.study.seconds = 9
    run()  # 9 steps of 4 are 6 passes over 6 photos: some batches begin in one pass and end in the next
    passes = [seen[start : start + 6] for start in range(0, 36, 6)]
    assert len(seen) == 36 and all(sorted(one) == [0, 1, 2, 3, 4, 5] for one in passes)
    assert len({tuple(one) for one in passes}) > 1, "in another order"


def test_a_batch_is_no_larger_than_the_part(run: Run) -> None:
    fit = run(Schedule(lr=0.1, batch=32, crop=32))
    assert [len(labels) for labels in run.labels] == [6] * 4 and fit.steps == 4


def test_other_photos_than_the_studys(run: Run) -> None:
    train = run.study.train
    training = Training(run.net, run.loss, run.maps, SCHEDULE, [run.net.value], 32)
    photos = replace(train, samples=train.samples[::3], digests=train.digests[::3])
    train_network(replace(training, photos=photos), run.study)
    assert {label for labels in run.labels for label in labels} == {0}
    with pytest.raises(DataError, match="no photo"):
        train_network(replace(training, photos=replace(train, samples=(), digests=())), run.study)


def test_the_seed_decides_order_and_crops(run: Run) -> None:
    def batches(seed: int) -> Tensor:
        run.study.seed = seed
        run.batches.clear()
        run()
        return torch.stack(run.batches)

    first = batches(0)
    assert torch.equal(batches(0), first) and not torch.equal(batches(1), first)


def test_a_seed_gives_the_same_weights_again(study: Study) -> None:
    def fit(seed: int) -> dict[str, Tensor]:
        study.seed = seed
        method = Cam()
        assert method.fit(study).steps == 4
        return method.state()

    first, again, other = fit(3), fit(3), fit(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["probe.head.weight"], other["probe.head.weight"])


def test_a_loss_that_is_not_finite_ends_it(run: Run) -> None:
    run.loss = lambda images, labels, generator: run.net.value * math.nan  # type: ignore[method-assign]
    with pytest.raises(DataError, match="no longer finite at step 1"):
        run()


def test_a_loss_that_is_no_number_can_be_written() -> None:
    assert Fit(curve=({"step": 1, "loss": float("nan")},)).record()["curve"] == [{"step": 1, "loss": None}]
