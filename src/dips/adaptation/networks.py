"""Student and teacher: two copies of the last blocks of one transformer, each with a head, on top of shared frozen blocks.

In: crops ``(N, 3, H, W)`` in [0, 1]. Out: the head's outputs ``(N, K)``. The frozen blocks see each crop once, for both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.models.transformer import Vit

__all__ = ["Entry", "Head", "Learning", "Twins", "follow"]

HIDDEN, BOTTLENECK = 512, 128
"""Widths of the head: a quarter and a half of DINO's, whose 65,536 prototypes need more."""

_INIT_STD = 0.02  # DINO's

Entry = tuple[Tensor, list[Mapping[str, Any]]]
"""Tokens ``(N, T, C)`` that enter the first trainable block, and the other arguments of each trainable block."""


class Head(nn.Module):
    """Three linear layers, then the cosine with each prototype (Caron et al., 3.1 and appendix; no batch norm with a ViT).

    DINO normalises the prototypes' weights and, for its larger networks, fixes their length at 1, so that outputs are cosines.
    """

    def __init__(self, width: int, prototypes: int, *, hidden: int = HIDDEN, bottleneck: int = BOTTLENECK) -> None:
        super().__init__()
        layers = (nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, bottleneck))
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=_INIT_STD)
            nn.init.zeros_(layer.bias)
        self.layers = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.prototypes = nn.Parameter(nn.init.trunc_normal_(torch.empty(prototypes, bottleneck), std=_INIT_STD))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return cosines ``(N, K)`` in [-1, 1] of class tokens ``(N, C)`` with the prototypes."""
        return F.linear(F.normalize(self.layers(tokens), dim=-1), self.unit_prototypes())

    def unit_prototypes(self) -> Tensor:
        """Return the prototypes ``(K, bottleneck)``, rows of length 1."""
        return F.normalize(self.prototypes, dim=-1)


class Learning(nn.Module):
    """The trainable part: the last blocks with the final norm, and a head."""

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module, head: Head) -> None:
        super().__init__()
        self.blocks, self.norm, self.head = nn.ModuleList(blocks), norm, head

    def body(self, entry: Entry) -> Tensor:
        """Return the class tokens ``(N, C)`` after the final norm."""
        tokens, options = entry
        for block, own in zip(self.blocks, options, strict=True):
            tokens = block(tokens, **own)
        return cast(Tensor, self.norm(tokens)[:, 0])

    def body_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the blocks and the norm."""
        return [*self.blocks.parameters(), *self.norm.parameters()]


class _Passing(nn.Module):
    """Replaces a trainable block in the frozen part: records its other arguments and passes the tokens through."""

    def __init__(self) -> None:
        super().__init__()
        self.options: Mapping[str, Any] = {}

    def forward(self, tokens: Tensor, **options: Any) -> Tensor:
        self.options = options
        return tokens


class Twins(nn.Module):
    """Student and teacher.

    The transformer that they are made from is taken apart; :meth:`adapted` reassembles it.

    Attributes:
        student, teacher: equal at first; only :func:`follow` changes the teacher.
        patch: side of a patch in pixels.
    """

    def __init__(self, vit: Vit, *, blocks: int, head: Head) -> None:
        """Take ``vit`` apart.

        Args:
            blocks: number of blocks that learn, counted from the last; all if there are fewer.
        """
        super().__init__()
        vit.requires_grad_(False)
        net = cast(Any, vit.net)
        self._first = max(0, len(net.blocks) - blocks)
        self.student = Learning(vit.blocks[self._first :], net.norm, head)
        for index in range(self._first, len(net.blocks)):
            net.blocks[index] = _Passing()
        net.norm = nn.Identity()
        self.below, self.patch = vit, vit.patch
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.student.requires_grad_(True)

    @torch.no_grad()
    def enter(self, crops: Tensor) -> Entry:
        """Return the input of the trainable blocks for crops ``(N, 3, H, W)`` in [0, 1]; H and W are multiples of ``patch``."""
        tokens = self.below.tokens(crops)
        return tokens, [cast(_Passing, block).options for block in self.below.blocks[self._first :]]

    def adapted(self) -> dict[str, Tensor]:
        """Return the tensors of the whole transformer with the teacher's blocks, under timm's names and on the CPU.

        The teacher is kept because it outperforms the student throughout training (Caron et al., 5.2).
        """
        net = copy.copy(cast(Any, self.below.net))
        net._modules = dict(net._modules)
        kept = list(cast(Any, self.below.net).blocks)[: self._first]
        net._modules["blocks"] = nn.Sequential(*kept, *self.teacher.blocks)
        net._modules["norm"] = self.teacher.norm
        return {name: value.detach().to("cpu", copy=True) for name, value in net.state_dict().items()}


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Update each weight of the teacher to ``momentum`` times itself plus ``1 - momentum`` times the student's."""
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.mul_(momentum).add_(other, alpha=1 - momentum)
