"""One step: who moves, by how much, and who does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from dips.adaptation.crops import Feed
from dips.adaptation.learner import Learner
from dips.config import AdaptConfig

from .conftest import CONFIG, MemoryPhotos, make_vit, same


def learner_of(fabric: Fabric, config: AdaptConfig = CONFIG, steps: int = 10) -> Learner:
    return Learner(make_vit(), config, fabric, steps)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


CROPS = next(Feed(MemoryPhotos(), CONFIG, 8).steps(0, 1))


def test_the_head_learns_alone_then_all_do(fabric: Fabric) -> None:
    learner = learner_of(fabric, replace(CONFIG, head_first=0.4))  # the head alone for four steps, two without its last layer
    student, teacher = learner.twins.student, learner.twins.teacher
    below = copied(learner.twins.below.state_dict())
    start = copied(student.state_dict())
    learner.step(CROPS, 0)
    assert moved(start, student.state_dict()) == {f"head.layers.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}
    learner.step(CROPS, 2)
    assert "head.prototypes" in moved(start, student.state_dict())
    assert not any(name.startswith(("blocks.", "norm.")) for name in moved(start, student.state_dict()))
    before = copied(student.state_dict())
    learner.step(CROPS, 5)
    assert moved(before, student.state_dict()) == set(before)
    assert moved(start, teacher.state_dict()) == set(before), "it follows"
    assert same(below, learner.twins.below.state_dict()), "what is frozen stays, to the last bit"
    assert all(parameter.grad is None for parameter in (*teacher.parameters(), *learner.twins.below.parameters()))


def test_the_teacher_moves_by_the_momentum(fabric: Fabric) -> None:
    learner = learner_of(fabric, replace(CONFIG, head_first=0.0, momentum=0.9))
    before = copied(learner.twins.teacher.state_dict())
    learner.step(CROPS, 0)
    student = learner.twins.student.state_dict()
    for name, value in learner.twins.teacher.state_dict().items():
        assert torch.allclose(value, before[name] * 0.9 + student[name] * 0.1, rtol=1e-6, atol=1e-8), name


def test_rates_and_decay_are_those_of_the_step(fabric: Fabric) -> None:
    learner = learner_of(fabric, replace(CONFIG, head_first=0.0, head_lr=1e-2, weight_decay=0.1, weight_decay_end=0.3))
    learner.step(CROPS, 9)
    groups = {(group["part"], group["decays"]): group for group in learner.optimizer.param_groups}
    assert groups["body", True]["lr"] == pytest.approx(1e-5) and groups["head", True]["lr"] == pytest.approx(1e-4)
    assert groups["body", True]["weight_decay"] == groups["head", True]["weight_decay"] == 0.3
    assert groups["body", False]["weight_decay"] == groups["head", False]["weight_decay"] == 0
    assert all(parameter.ndim == 1 for parameter in groups["body", False]["params"])
    assert sum(len(group["params"]) for group in groups.values()) == len(list(learner.twins.student.parameters()))


@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
def test_it_learns(centring: str, fabric: Fabric) -> None:
    """The same crops again and again: student and teacher come to agree on them, and the photos stay apart."""
    config = replace(CONFIG, centring="mean" if centring == "mean" else "sinkhorn", head_first=0.0, local_crops=1)
    learner = learner_of(fabric, config, steps=20)
    photos = torch.stack([photo[:, :32, :32] for photo in MemoryPhotos().photos])
    learner.begin(photos)
    assert (learner.targets.centre.abs().sum() > 0) == (centring == "mean")
    start = learner.health(photos, 0)
    losses = [learner.step(CROPS, number) for number in range(20)]
    assert losses[-1] < 0.9 * losses[0]
    health = learner.health(photos, 19)
    assert health.information > 0.5 * start.information and health.alarm(start) == ""


def test_the_centre_begins_where_the_answers_are(fabric: Fabric) -> None:
    learner = learner_of(fabric)
    photos = torch.stack([photo[:, :32, :32] for photo in MemoryPhotos().photos])
    learner.begin(photos)
    teacher = learner.twins.teacher
    expected = teacher.head(teacher.body(learner.twins.enter(photos.float() / 255))).mean(0)
    assert torch.allclose(learner.targets.centre, expected, atol=1e-6)


def test_without_local_crops(fabric: Fabric) -> None:
    config = replace(CONFIG, local_crops=0)
    crops = next(Feed(MemoryPhotos(), config, 8).steps(0, 1))
    assert learner_of(fabric, config).step(crops, 5) > 0


def test_the_gradient_is_clipped(fabric: Fabric) -> None:
    learner = learner_of(fabric, replace(CONFIG, head_first=0.0, clip=0.01))
    learner.step(CROPS, 0)
    norms = [parameter.grad.norm() for parameter in learner.twins.student.parameters() if parameter.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_state_makes_a_round(fabric: Fabric) -> None:
    learner, other = learner_of(fabric), learner_of(fabric)
    for number in range(4, 7):
        learner.step(CROPS, number)
    parts = {part: copied(state) for part, state in learner.parts().items()}
    other.restore(parts)
    assert learner.step(CROPS, 7) == other.step(CROPS, 7)
    for part, state in learner.parts().items():
        assert same(state, other.parts()[part]), part


def test_a_photo_of_one_colour_is_no_trouble(fabric: Fabric) -> None:
    black = (torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 4, 3, 16, 16, dtype=torch.uint8))
    learner = learner_of(fabric)
    assert torch.isfinite(torch.tensor([learner.step(black, number) for number in range(10)])).all()
    health = learner.health(black[0][0], 9)
    assert health.information == pytest.approx(0, abs=1e-4) and health.spread == pytest.approx(0, abs=1e-4)
