"""DINO's loss (Caron et al., 3.1, Eq. 1 to 4), and what keeps the teacher from collapsing: centring or Sinkhorn iterations.

In: outputs of student and teacher for several crops of the same photos. Out: a scalar loss; the teacher's targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Targets", "distillation_loss", "sinkhorn"]

CENTRE_MOMENTUM = 0.9
"""Fraction of the centre that is kept at each step, as in the paper."""

SINKHORN_ITERATIONS = 3
"""Caron et al., SwAV (NeurIPS 2020), section 3."""


def distillation_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy over all pairs of a teacher crop and a different student crop.

    Args:
        student: ``(V, B, K)``, the student's outputs for V crops of B photos; the first T are the teacher's crops, in order.
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
    others = ~torch.eye(len(targets), crops, dtype=torch.bool, device=pairs.device)  # a crop is never its own target
    return pairs[others].mean()


def sinkhorn(outputs: Tensor, temperature: float, iterations: int = SINKHORN_ITERATIONS) -> Tensor:
    """Return distributions ``(N, K)``, close to the outputs, that together use all prototypes equally.

    Args:
        outputs: ``(N, K)``, the teacher's outputs for all crops and photos of a step.
        iterations: number of iterations; after each, rows sum to 1, and column sums approach ``N / K``.

    >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.1).tolist()  # both said the same, and cannot be told apart
    [[0.5, 0.5], [0.5, 0.5]]
    """
    logarithms = outputs.float() / temperature  # in log space, since the products would leave the range of their type
    for _ in range(iterations):
        logarithms = logarithms.log_softmax(0)
        logarithms = logarithms.log_softmax(1)
    return logarithms.exp()


class Targets(nn.Module):
    """Targets of the student: the teacher's outputs, centred and sharpened.

    Attributes:
        centre: ``(K,)``, running mean of the outputs; 0 with Sinkhorn iterations, which need none.
    """

    centre: Tensor

    def __init__(self, prototypes: int, centring: Literal["mean", "sinkhorn"]) -> None:
        super().__init__()
        self.centring = centring
        self.register_buffer("centre", torch.zeros(prototypes))

    def probabilities(self, outputs: Tensor, temperature: float) -> Tensor:
        """Return the distributions ``(..., K)`` of outputs ``(..., K)``, each computed independently."""
        return ((outputs.float() - self.centre) / temperature).softmax(-1)

    @torch.no_grad()
    def forward(self, outputs: Tensor, temperature: float, gather: Callable[[Tensor], Tensor], rank: int = 0) -> Tensor:
        """Return the targets ``(T, B, K)`` of a step, and update the centre.

        Args:
            outputs: ``(T, B, K)``, the teacher's outputs in this process.
            temperature: the teacher's.
            gather: takes rows ``(N, K)`` and returns those of all processes, ``(N * processes, K)``, in order of rank.
            rank: rank of this process.
        """
        rows = outputs.float().flatten(0, 1)
        everywhere = gather(rows)
        if self.centring == "sinkhorn":
            own = sinkhorn(everywhere, temperature)[rank * len(rows) : (rank + 1) * len(rows)]
            return own.view_as(outputs)
        targets = self.probabilities(outputs, temperature)
        self.centre.mul_(CENTRE_MOMENTUM).add_(everywhere.mean(0), alpha=1 - CENTRE_MOMENTUM)
        return targets
