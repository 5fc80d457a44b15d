"""SCM (Bai et al., ECCV 2022): TS-CAM, trained through blocks that spread activation over neighbouring patches.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT and coupled maps, without those blocks.

Formulas and constants are those of the authors' code (164140757/SCM: ``lib/models/deit.py``, ``lib/models/graphFusion.py``),
unless marked as inferred. With few classes, the patches' class vectors are close together, and the graph is uninformative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.baselines.tscam import TokenSemantics, TsCam
from dips.models.backbones import Vit

__all__ = ["Diffusion", "Scm", "SpreadSemantics", "attention_map", "inverse", "laplacian"]

ITERATIONS = (16, 4, 4, 4)
"""Newton-Schulz steps of the four blocks. In the code, the default of the first differs from the rest; whether that is intended
is unclear. With 4 steps, the result is far from the inverse: small singular values stay small, which regularises."""

FIRST_GUESS = 0.002
"""Factor of the first guess of the inverse: this times the transposed matrix, treated as a constant."""

LAMBDA, BETA = 1.0, 0.5
"""Initial values of the two numbers that each block learns, at the rate of new layers (inferred: the authors use one rate for
all)."""


def laplacian(height: int, width: int) -> Tensor:
    """Return the Laplacian ``(n, n)`` of the grid's graph, degrees minus adjacency: 4 neighbours, fewer at borders.

    >>> laplacian(1, 3).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]]
    """
    return torch.kron(_path(height), torch.eye(width)) + torch.kron(torch.eye(height), _path(width))


def _path(length: int) -> Tensor:
    """Return the Laplacian ``(length, length)`` of a path graph; that of a grid is the Kronecker sum of two."""
    one_way = torch.ones(length - 1).diag(1)
    adjacency = one_way + one_way.T
    return adjacency.sum(1).diag() - adjacency


def inverse(matrices: Tensor, iterations: int) -> Tensor:
    """Return the result of the Newton-Schulz iteration on matrices ``(B, n, n)``: their inverses, if it runs long enough.

    A singular value ``s`` is mapped to ``(1 - (1 - 0.002 s^2)^(2^iterations)) / s``.
    """
    guess = FIRST_GUESS * matrices.transpose(1, 2).detach()
    twice = 2 * torch.eye(matrices.shape[-1], device=matrices.device)
    for _ in range(iterations):
        guess = guess @ (twice - matrices @ guess)
    return guess


def attention_map(attention: Tensor) -> Tensor:
    """Return the class token's attention ``(B, L, heads, h, w)`` as one map ``(B, h, w)`` in [0, 1]: the mean over heads,
    summed over blocks, min-max normalised."""
    return min_max(attention.mean(2).sum(1))


class Diffusion(nn.Module):
    """An activation diffusion block: attention flows between neighbouring patches, depending on how alike their classes are.

    Attributes:
        weight: weight of the similarity, the authors' lambda. At 1 the matrix has a zero diagonal, and the neighbours that
            differ most are coupled most.
        scale: scale of the threshold, the authors' beta.
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(torch.tensor(LAMBDA))
        self.scale = nn.Parameter(torch.tensor(BETA))

    def matrix(self, semantic: Tensor) -> Tensor:
        """Return the matrix to invert, ``(B, n, n)``: the Laplacian times ``lambda cos - 1``, elementwise.

        Args:
            semantic: maps of all classes ``(B, C, h, w)``; the cosine is between the C values of two patches.
        """
        vectors = F.normalize(semantic.flatten(2), dim=1)
        similarity = vectors.transpose(1, 2) @ vectors
        return laplacian(*semantic.shape[2:]).to(semantic.device) * (self.weight * similarity - 1)

    def forward(self, semantic: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps after the block.

        Args:
            semantic: maps of all classes ``(B, C, h, w)``.
            attention: ``(B, h, w)``, non-negative.
        """
        spread = inverse(self.matrix(semantic), self.iterations).transpose(1, 2) @ attention.flatten(1)[:, :, None]
        largest = attention.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).eps)  # per photo (inferred)
        change = min_max(F.tanhshrink(spread.view_as(attention) / (self.scale * largest)))
        return semantic + semantic * change[:, None], attention + change


class SpreadSemantics(TokenSemantics):
    """TS-CAM's network with a stack of diffusion blocks that only :meth:`spread` uses."""

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__(vit, classes)
        self.stack = nn.ModuleList(Diffusion(iterations) for iterations in ITERATIONS)

    def spread(self, images: Tensor) -> Tensor:
        """Return the maps of all classes after the stack, ``(B, C, h, w)``, of images ``(B, 3, H, W)`` in [0, 1]."""
        tokens, rows = self.vit.with_attention(images)
        semantic: Tensor = self.head(tokens)
        attention = attention_map(rows)
        for block in self.stack:
            semantic, attention = block(semantic, attention)
        return semantic


class Scm(TsCam):
    """Spatial calibration: the classification loss reaches the attention, and the stack is discarded after training."""

    name = "scm"
    title = "SCM"
    paper = "Bai et al., ECCV 2022"
    caveat = "that attention is divided by each photo's own maximum, and how fast lambda and beta learn, are inferred"
    net: SpreadSemantics

    def make(self, vit: Vit, study: Study) -> SpreadSemantics:
        """Return TS-CAM's network with the stack."""
        return SpreadSemantics(vit, len(study.classes))

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters of the convolution and of the stack."""
        return [*super().new_parameters(), *self.net.stack.parameters()]

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of the stack's output for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        return F.cross_entropy(self.net.spread(images).mean((2, 3)), labels)

    def couple(self, semantic: Tensor, attention: Tensor) -> Tensor:
        """Return semantic maps ``(B, h, w)`` times the normalised map of attention ``(B, L, heads, h, w)``, of any sign."""
        return semantic * attention_map(attention)
