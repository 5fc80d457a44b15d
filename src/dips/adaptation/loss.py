"""DINO's loss (Caron et al., 3.1, Eq. 1 to 4), and what keeps the teacher from collapse: its centre, or Sinkhorn's iterations.

In: outputs of student and teacher for several crops of the same photos. Out: one number; targets of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Targets", "distillation_loss", "sinkhorn"]

CENTRE_MOMENTUM = 0.9
"""How much of the centre remains after a step: the paper's."""

SINKHORN_ITERATIONS = 3
"""Caron et al., SwAV (NeurIPS 2020), section 3."""


def distillation_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy over all pairs of a teacher's crop and another one of the student's.

    Args:
        student: ``(V, B, K)``, its outputs for V crops of B photos; the first T are those that the teacher sees, in its order.
        targets: ``(T, B, K)``, the teacher's distributions, without gradient.
        temperature: the student's.

    Returns:
        A scalar: the mean over ``T * V - T`` pairs and the photos, in nats.

    >>> outputs = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> round(distillation_loss(outputs, (outputs / 0.04).softmax(-1), 0.1).item(), 4)
    10.0
    """
    crops, photos, _ = student.shape
    logarithms = (student.float() / temperature).log_softmax(-1)
    pairs = -torch.einsum("tbk,sbk->ts", targets, logarithms) / photos
    others = ~torch.eye(len(targets), crops, dtype=torch.bool, device=pairs.device)  # a crop is not told what it is itself
    return pairs[others].mean()


def sinkhorn(outputs: Tensor, temperature: float, iterations: int = SINKHORN_ITERATIONS) -> Tensor:
    """Return distributions ``(N, K)``, near the outputs, that together use all prototypes alike.

    Args:
        outputs: ``(N, K)`` of the teacher, for all crops and photos of a step.
        iterations: after each the rows sum to 1; the columns' sums approach ``N / K``.

    >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.1).tolist()  # both said the same, and cannot be told apart
    [[0.5, 0.5], [0.5, 0.5]]
    """
    logarithms = outputs.float() / temperature  # the products themselves would leave the range of their type
    for _ in range(iterations):
        logarithms = logarithms.log_softmax(0)
        logarithms = logarithms.log_softmax(1)
    return logarithms.exp()


class Targets(nn.Module):
    """What the student is to say: the teacher's outputs, centred and sharpened.

    Attributes:
        centre: ``(K,)``, running mean of the outputs; 0 with Sinkhorn's iterations, which need none.
    """

    centre: Tensor

    def __init__(self, prototypes: int, centring: Literal["mean", "sinkhorn"]) -> None:
        super().__init__()
        self.centring = centring
        self.register_buffer("centre", torch.zeros(prototypes))

    def probabilities(self, outputs: Tensor, temperature: float) -> Tensor:
        """Return the distributions ``(..., K)`` of outputs ``(..., K)``, each by itself."""
        return ((outputs.float() - self.centre) / temperature).softmax(-1)

    @torch.no_grad()
    def forward(self, outputs: Tensor, temperature: float, gather: Callable[[Tensor], Tensor], rank: int = 0) -> Tensor:
        """Return the targets ``(T, B, K)`` of a step, and move the centre.

        Args:
            outputs: ``(T, B, K)`` of the teacher, in this process.
            temperature: the teacher's.
            gather: takes ``(N, K)`` and returns those of all processes, ``(N * processes, K)``, in their order.
            rank: number of this process.
        """
        rows = outputs.float().flatten(0, 1)
        everywhere = gather(rows)
        if self.centring == "sinkhorn":
            own = sinkhorn(everywhere, temperature)[rank * len(rows) : (rank + 1) * len(rows)]
            return own.view_as(outputs)
        targets = self.probabilities(outputs, temperature)
        self.centre.mul_(CENTRE_MOMENTUM).add_(everywhere.mean(0), alpha=1 - CENTRE_MOMENTUM)
        return targets
