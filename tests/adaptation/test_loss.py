"""The loss against numbers worked out by hand; the centre; Sinkhorn's rows and columns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dips.adaptation.loss import Targets, distillation_loss, sinkhorn

ONE_EACH = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # two crops of one photo, two prototypes


def loss_of(outputs: Tensor) -> float:
    """Of equal outputs of student and teacher, with the paper's temperatures and no centre."""
    return distillation_loss(outputs, (outputs / 0.04).softmax(-1), 0.1).item()


def test_crops_that_disagree_or_agree() -> None:
    # the teacher is certain (1 - e^-25) of one, and the student's -log softmax of the other is ln(1 + e^10)
    assert loss_of(ONE_EACH) == pytest.approx(10.00005, abs=1e-5)
    assert loss_of(ONE_EACH[[0, 0]]) == pytest.approx(math.log(1 + math.exp(-10)), rel=1e-2)
    assert loss_of(ONE_EACH[[1, 0]]) == loss_of(ONE_EACH), "the order of the crops says nothing"


def test_the_mean_over_pairs_by_hand() -> None:
    """Two crops of the teacher, three of the student, two photos: 2 x 3 - 2 pairs."""
    generator = torch.Generator().manual_seed(0)
    student, targets = torch.randn(3, 2, 5, generator=generator), torch.randn(2, 2, 5, generator=generator).softmax(-1)
    parts = [
        -(targets[t, photo] * (student[s, photo] / 0.1).log_softmax(0)).sum()
        for t in range(2)
        for s in range(3)
        for photo in range(2)
        if s != t
    ]
    assert len(parts) == 8
    assert distillation_loss(student, targets, 0.1).item() == pytest.approx(float(torch.stack(parts).mean()), rel=1e-5)


def test_a_crop_is_not_told_what_it_is_itself() -> None:
    student = torch.randn(3, 2, 4, requires_grad=True)
    targets = torch.stack([torch.full((2, 4), 0.25), torch.zeros(2, 4)])
    distillation_loss(student, targets, 0.1).backward()
    assert student.grad is not None
    assert not student.grad[0].any() and student.grad[1].any() and student.grad[2].any()


def alone(rows: Tensor) -> Tensor:
    return rows


def test_the_centre_moves_by_a_tenth() -> None:
    targets = Targets(3, "mean")
    outputs = torch.tensor([[[0.5, 1.0, 1.5]], [[1.5, 1.0, 0.5]]], requires_grad=True)
    first = targets(outputs, 0.1, alone)
    assert not first.requires_grad
    assert torch.equal(first, (outputs.detach() / 0.1).softmax(-1)), "the centre of before, which was 0"
    assert targets.centre.tolist() == pytest.approx([0.1, 0.1, 0.1])
    targets(outputs, 0.1, alone)
    assert targets.centre.tolist() == pytest.approx([0.19, 0.19, 0.19])
    assert "centre" in targets.state_dict()
    targets.centre.copy_(torch.tensor([1.0, 0.0, 0.0]))
    expected = ((torch.tensor([0.5, 1.0, 1.5]) - torch.tensor([1.0, 0.0, 0.0])) / 0.1).softmax(-1)
    assert targets.probabilities(outputs, 0.1)[0, 0].tolist() == pytest.approx(expected.tolist())


def test_the_centre_is_that_of_all_processes() -> None:
    targets = Targets(2, "mean")
    targets(torch.zeros(2, 1, 2), 0.1, lambda rows: torch.cat([rows, rows + 2]))
    assert targets.centre.tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("temperature", [0.01, 0.04, 0.5])
def test_sinkhorn_spreads_the_batch_over_the_prototypes(temperature: float) -> None:
    outputs = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    few, many = sinkhorn(outputs, temperature), sinkhorn(outputs, temperature, iterations=2000)
    assert few.isfinite().all() and few.sum(1).tolist() == pytest.approx([1.0] * 8, rel=1e-5)
    assert many.sum(1).tolist() == pytest.approx([1.0] * 8, rel=1e-4)
    assert many.sum(0).tolist() == pytest.approx([2.0] * 4, rel=2e-2)
    plain = (outputs / temperature).softmax(1).sum(0)
    assert (few.sum(0) - 2).abs().max() < (plain - 2).abs().max()


def test_sinkhorn_by_hand() -> None:
    # columns: e / (e + 1) and 1/2 each; then rows of [e / (e + 1), 1 / 2] over their sum
    share = math.e / (math.e + 1)
    found = sinkhorn(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 1.0, iterations=1)
    assert found[0].tolist() == pytest.approx([share / (share + 0.5), 0.5 / (share + 0.5)], rel=1e-5)


def test_processes_share_sinkhorns_batch() -> None:
    outputs = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(0))
    halves = [outputs[:, :3], outputs[:, 3:]]
    everywhere = torch.cat([half.flatten(0, 1) for half in halves])
    whole = sinkhorn(everywhere, 0.1)
    found = [Targets(4, "sinkhorn")(half, 0.1, lambda rows: everywhere, rank) for rank, half in enumerate(halves)]
    assert torch.equal(torch.cat([half.flatten(0, 1) for half in found]), whole)
    assert found[0].shape == (2, 3, 4)
