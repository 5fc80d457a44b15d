"""TRT, the re-attention transformer (Su et al., BMVC 2022): patches that the class token attends to are scored again.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT with a branch that scores patches and one
that computes class activations, and the product of both.

Formulas and constants are those of the authors' code (su-hui-zz/ReAttentionTransformer: ``lib/models/deit.py``,
``lib/models/vision_transformer.py``, ``tools_cam``, ``configs/CUB``), unless marked as inferred.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.classifiers import of_class
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.baselines.training import train_network
from dips.baselines.vit import VitMethod
from dips.models.attention import attend
from dips.models.backbones import Vit

__all__ = ["Attended", "ReAttention", "Trt", "kept_patches", "masked_softmax", "priority", "score_map"]

THETA = 0.6
"""Share of the attention that the kept patches cover: the authors' value for CUB at 224 pixels."""

THETAS = (THETA, 0.5, 0.7, 0.8)
"""Values tried on validation before training, because another transformer's attention may be more or less peaked (inferred).
The authors use 0.65 at 384 pixels and 0.95 on ILSVRC. Without validation boxes, the first is used."""

FIRST_SHARE = 0.6
"""Fraction of the budget for the first stage (inferred; the authors train for 30 and 20 epochs)."""

EPS = 1e-6
"""Epsilon of the masked softmax."""


def kept_patches(attention: Tensor, theta: float | Tensor) -> Tensor:
    """Return which patches are scored again, ``(B, n)`` of 0 and 1.

    From the most attended patch downwards, patches are kept while their cumulative sum is below ``theta``. If the first one
    already reaches it, the authors keep none; here it is kept, or there would be nothing to classify by (inferred).

    Args:
        attention: ``(B, n)``, non-negative, with sum 1.
        theta: in [0, 1].

    >>> kept_patches(torch.tensor([[0.15, 0.5, 0.3, 0.05], [0.7, 0.2, 0.1, 0.0]]), 0.6).tolist()
    [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    """
    values, order = attention.sort(dim=1, descending=True, stable=True)
    below = values.cumsum(1) < theta
    below[:, 0] = True
    return torch.zeros_like(attention).scatter(1, order, below.to(attention.dtype))


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Return attention ``(B, heads, n, n)`` restricted to the patches in a mask; each of the others still sees itself.

    Args:
        logits: ``(B, heads, n, n)``, queries in rows.
        mask: ``(B, n)`` of 0 and 1.

    >>> masked_softmax(torch.zeros(1, 1, 3, 3), torch.tensor([[1.0, 0.0, 1.0]]))[0, 0].double().round(decimals=4).tolist()
    [[0.5, 0.0, 0.5], [0.3333, 0.3333, 0.3333], [0.5, 0.0, 0.5]]
    """
    count = logits.shape[-1]
    seen = torch.maximum(mask[:, None, None], torch.eye(count, device=mask.device))
    logits = logits.float()
    powers = (logits - logits.amax(-1, keepdim=True)).exp() * seen
    return (powers + EPS / count) / (powers.sum(-1, keepdim=True) + EPS)


def priority(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the priorities ``(B, n)`` of patches with scores and mask ``(B, n)``: a softmax over those in the mask.

    >>> priority(torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])).tolist()
    [[0.5, 0.0, 0.5]]
    """
    return scores.masked_fill(mask == 0, -torch.inf).softmax(1)


def score_map(attention: Tensor, mask: Tensor, priorities: Tensor) -> Tensor:
    """Return a score map ``(B, n)`` with sum 1: attention, redistributed among the kept patches by their priorities.

    >>> attention, priorities = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.6, 0.0, 0.4]])
    >>> score_map(attention, torch.tensor([[1.0, 0.0, 1.0]]), priorities).double().round(decimals=4).tolist()
    [[0.42, 0.3, 0.28]]
    """
    return attention * (1 - mask) + priorities * (attention * mask).sum(1, keepdim=True)


class Attended(NamedTuple):
    """The output of the blocks before the last, from which both branches start.

    Attributes:
        early: all tokens ``(B, N, width)`` after all blocks but the last two.
        late: all tokens after all blocks but the last.
        attention: ``(B, n)``, from class token to patches, summed over all blocks but the last, with sum 1; without gradient.
        grid: rows and columns of patches.
    """

    early: Tensor
    late: Tensor
    attention: Tensor
    grid: tuple[int, int]


class ReAttention(nn.Module):
    """A ViT, a branch that scores its patches for the class token, and one that computes class activations.

    Attributes:
        theta: see :func:`kept_patches`; saved with the network.
    """

    theta: Tensor

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Linear(vit.width, classes)
        self.block, self.block_norm = self._copied()
        self.scorer = nn.Linear(vit.width, 1)
        self.cam_block, self.cam_norm = self._copied()
        self.cam = nn.Conv2d(vit.width, classes, 3, padding=1)
        self.register_buffer("theta", torch.tensor(THETA))
        self.learn_activations(False)

    def _copied(self) -> tuple[nn.Module, nn.Module]:
        return copy.deepcopy(self.vit.blocks[-1]), copy.deepcopy(cast(nn.Module, self.vit.net.norm))

    def learn_activations(self, second: bool) -> None:
        """Make only the class activation branch trainable (second stage), or freeze it and leave the rest as it is (first).

        The branch starts from the last block as the first stage leaves it (inferred; the authors say that it is a copy).
        """
        if second:
            self.requires_grad_(False)
            self.cam_block.load_state_dict(self.vit.blocks[-1].state_dict())
            self.cam_norm.load_state_dict(cast(nn.Module, self.vit.net.norm).state_dict())
        for part in (self.cam_block, self.cam_norm, self.cam):
            part.requires_grad_(second)

    def forward(self, images: Tensor) -> Tensor:
        """Return the first stage's logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.scored(self.attended(images), self.theta)[0]

    def attended(self, images: Tensor) -> Attended:
        """Run all blocks but the last on images ``(B, 3, H, W)`` in [0, 1]."""
        last = len(self.vit.blocks) - 1
        early, rows = self.vit.run_with_rows(self.vit.embed(images), 0, last - 1)
        late, row = self.vit.run_with_rows(early, last - 1, last)
        attention = torch.cat([rows, row], dim=1).detach().mean(2).sum(1)
        return Attended(early, late, attention / attention.sum(1, keepdim=True), self.vit.grid(images))

    def scored(self, before: Attended, theta: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, C)``, and :func:`score_map` ``(B, h, w)``.

        The last block sees the class token and one other token: the mean of the patches, weighted by their priorities.
        """
        mask = kept_patches(before.attention, theta)
        patches = before.late[:, self.vit.prefix :]
        after, _ = attend(self.block, patches, lambda logits: masked_softmax(logits, mask))
        priorities = priority(self.scorer(self.block_norm(after)).squeeze(2), mask)
        token = (priorities[:, :, None] * patches).sum(1, keepdim=True)
        both = self.vit.run(torch.cat([before.late[:, :1], token], dim=1), len(self.vit.blocks) - 1)
        logits: Tensor = self.head(self.vit.norm(both)[:, 0])
        return logits, score_map(before.attention, mask, priorities).unflatten(1, before.grid)

    def class_maps(self, before: Attended) -> Tensor:
        """Return the second stage's maps of all classes ``(B, C, h, w)``, of any sign; their means are its logits."""
        patches = self.cam_norm(self.cam_block(before.early))[:, self.vit.prefix :]
        maps: Tensor = self.cam(patches.transpose(1, 2).unflatten(2, before.grid))
        return maps


class Trt(VitMethod):
    """Score map times class activations, both from the same network, which is trained in two stages."""

    name = "trt"
    title = "TRT"
    paper = "Su et al., BMVC 2022"
    caveat = "shares of the stages and the start of the second are inferred; theta is chosen on the boxes of validation"
    net: ReAttention

    def make(self, vit: Vit, study: Study) -> ReAttention:
        """Return the network with its branches, whose copied layers are pretrained."""
        return ReAttention(vit, len(study.classes))

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the first stage's linear layers; copied layers learn at the backbone's rate (inferred)."""
        return [*self.net.head.parameters(), *self.net.scorer.parameters()]

    def train(self, study: Study) -> Fit:
        """Choose theta, train the first stage, then the second with everything else frozen."""
        started = time.perf_counter()
        theta = self._choose_theta(study)
        left = study.less(time.perf_counter() - started)
        stage = self.training()
        first = train_network(replace(stage, maps=self.score_maps), left.part(FIRST_SHARE))
        self.net.learn_activations(True)
        second = replace(stage, loss=self.second_loss, new=list(self.net.cam.parameters()))
        fit = first.then(train_network(second, left.part(1 - FIRST_SHARE)))
        return replace(fit, chosen=f"{theta}; {fit.chosen}")

    def _choose_theta(self, study: Study) -> str:
        """Set theta by MaxBoxAccV2 of the first stage's maps before training; return a description of the choice."""

        def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
            before = self.net.attended(images)
            return [normalise.min_max(self.net.scored(before, theta)[1]) for theta in THETAS]

        self.net.eval()
        scores = score_candidates(study, maps, self.side)
        theta = THETAS[best_of(scores)]
        self.net.theta.fill_(theta)
        return f"theta {theta:g}{chosen_by(scores)}"

    def second_loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of the second stage for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        with torch.no_grad():
            before = self.net.attended(images)
        return F.cross_entropy(self.net.class_maps(before).mean((2, 3)), labels)

    def score_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the first stage's min-max normalised maps ``(B, h, w)``, which do not depend on the class."""
        return normalise.min_max(self.net.scored(self.net.attended(images), self.net.theta)[1])

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score map times class activations ``(B, h, w)``, of any sign, of images ``(B, 3, H, W)`` in [0, 1]."""
        before = self.net.attended(images)
        return self.net.scored(before, self.net.theta)[1] * of_class(self.net.class_maps(before), labels)
