"""ViTOL (Gupta et al., CVPR workshops 2022): a transformer trained with attention dropout, and two maps from its gradients.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT, and for each photo how much each patch
contributes to the class token over all blocks: by attention and its gradient (GAR, gradient attention rollout), or by relevance
and the gradient of attention (LRP, rules in :mod:`dips.baselines.relevance`). Both maps come from the same training.

The authors publish the layer, maps and settings, but neither their training nor their weights for CUB. Inferred, and marked [I]
below: how long each stage lasts, and where the layer is placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean
from typing import cast

import torch
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.relevance import of_attention, require_plain, watched_inputs
from dips.baselines.study import Study
from dips.baselines.training import train_network
from dips.baselines.vit import SCHEDULE, TRAINED_BLOCKS, ClassToken, VitMethod
from dips.models.backbones import Vit
from dips.system.console import log

__all__ = ["VitolGar", "VitolLrp", "contributions", "differentiated", "dropped_or_weighted", "rollout", "token_drop_mask"]

DROP_RATE = 0.75
"""How often tokens are dropped rather than weighted: the authors' value."""

GAMMA = 0.9
"""Fraction of the largest attention at and above which a token is dropped: the authors' value for all their models."""

PLAIN = 0.5
"""Fraction of the budget in which the classifier first learns without the layer [I]; the authors also do so for CUB."""

LAYERS = TRAINED_BLOCKS
"""Number of last blocks that the layer follows: those that learn [I]. The authors train all blocks, each followed by it."""

PHOTOS = 4
"""Photos that are differentiated together: each takes tens of megabytes."""

LARGEST = 1e24
"""Upper bound on entries of relevance times gradient: small denominators compound, and no map may overflow."""

_ROW_LIMIT = 1e6


def token_drop_mask(tokens: Tensor, gamma: float) -> Tensor:
    """Return the drop mask ``(B, N, 1)`` of tokens ``(B, N, C)``: 1 where the mean over C is below gamma times the largest.

    As in the authors' code, the means are not rectified; if the largest is negative, nothing is dropped.

    >>> token_drop_mask(torch.tensor([[[0.1], [0.5], [0.6]]]), 0.9).flatten().tolist()
    [1.0, 1.0, 0.0]
    """
    attended = tokens.mean(2, keepdim=True)
    return (attended < gamma * attended.amax(1, keepdim=True)).to(tokens.dtype)


def dropped_or_weighted(tokens: Tensor, drop: bool) -> Tensor:
    """Return tokens ``(B, N, C)`` multiplied by :func:`token_drop_mask`, or weighted by the sigmoid of their means."""
    return tokens * (token_drop_mask(tokens, GAMMA) if drop else tokens.mean(2, keepdim=True).sigmoid())


def differentiated(net: ClassToken, images: Tensor, labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return every block's attention, and the total derivative of a class's logit by it, ``(B, heads, N, N)`` each.

    Args:
        net: network in evaluation mode, so that a photo's logit depends only on that photo.
        images: ``(B, 3, H, W)`` in [0, 1].
        labels: ``(B,)`` classes.
    """
    with torch.enable_grad():  # callers disable gradients
        tokens, matrices = net.vit.with_matrices(images)
        total = net.logits(tokens).gather(1, labels[:, None]).sum()
        gradients = torch.autograd.grad(total, matrices)
    return [matrix.detach() for matrix in matrices], list(gradients)


def contributions(gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """Return what each block adds to the identity: the mean over heads of ``relu(gradient * weight)``, ``(B, N, N)``, finite.

    Args:
        gradients, weights: ``(B, heads, N, N)`` per block.
    """
    pairs = zip(gradients, weights, strict=True)
    return [(g * w).nan_to_num(nan=0.0).clamp(0, LARGEST).mean(1) for g, w in pairs]


def rollout(matrices: Sequence[Tensor], normalised: bool) -> Tensor:
    """Return the class token's row ``(B, N)`` of the product of all ``I + E``, later blocks on the left.

    Only this row is needed, so a single row is propagated from the last block to the first. If an entry exceeds a million, the
    row is rescaled so that no map overflows; min-max normalisation cancels this.

    Args:
        matrices: E of every block in order, ``(B, N, N)``, non-negative.
        normalised: whether each row of ``I + E`` is divided by its sum.

    >>> first, second = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    >>> first[0, 0], second[0, 0] = torch.tensor([0.5, 0.6, 0.0]), torch.tensor([0.4, 0.2, 0.8])
    >>> [[round(value, 4) for value in rollout([first, second], how)[0, 1:].tolist()] for how in (True, False)]
    [[0.25, 0.3333], [1.04, 0.8]]
    """
    row = torch.zeros_like(matrices[-1][:, 0])
    row[:, 0] = 1
    for matrix in reversed(matrices):
        if normalised:
            row = row / (1 + matrix.sum(2))
        row = row + torch.einsum("bn,bnm->bm", row, matrix)
        row = row / (row.amax(1, keepdim=True) / _ROW_LIMIT).clamp(min=1)
    return row


class VitolGar(VitMethod):
    """A classifier with patch-based attention dropout, and gradient attention rollout as its map."""

    name = "vitol-gar"
    title = "ViTOL-GAR"
    paper = "Gupta et al., CVPR workshops 2022"
    caveat = "the authors' training is not public: its schedule, stages and the blocks with dropout are our reading"
    net: ClassToken
    class_dropped: list[float]

    def make(self, vit: Vit, study: Study) -> ClassToken:
        """Return the transformer with a randomly initialised linear layer on its class token."""
        self.class_dropped = []
        return ClassToken(vit, len(study.classes))

    def train(self, study: Study) -> Fit:
        """Train a plain classifier to the end, then continue with the layer; the result is a checkpoint of the second stage."""
        dropping = self.training()
        plain = replace(dropping, loss=super().loss, schedule=replace(self.schedule, checks=1))  # a check rolls out each photo
        first = train_network(plain, study.part(PLAIN))
        second = train_network(dropping, study.part(1 - PLAIN), start=True)
        if self.class_dropped:
            log(f"  where tokens were dropped, the class token was among them in {fmean(self.class_dropped):.0%} of the photos")
        return first.then(second)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of crops ``(B, 3, H, W)`` in [0, 1], as in the second stage.

        After each of the last :data:`LAYERS` blocks, one random draw per step decides whether tokens are dropped or weighted.
        """

        def layer(block: nn.Module, inputs: object, tokens: Tensor) -> Tensor:
            drop = bool(torch.rand((), generator=generator) < DROP_RATE)
            if drop:
                self.class_dropped.append(1 - float(token_drop_mask(tokens.detach(), GAMMA)[:, 0].mean()))
            return dropped_or_weighted(tokens, drop)

        with ExitStack() as hooks:  # they exist only during the forward pass: the network is unchanged afterwards
            for block in self.net.vit.blocks[-LAYERS:]:
                hooks.enter_context(block.register_forward_hook(layer))
            return super().loss(images, labels, generator)

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the non-negative rollout ``(B, h, w)`` of images ``(B, 3, H, W)`` in [0, 1], one value per patch."""
        return torch.cat([self._rollout(*part) for part in _parts(images, labels)])

    def _rollout(self, images: Tensor, labels: Tensor) -> Tensor:
        attention, gradients = differentiated(self.net, images, labels)
        return _on_patches(rollout(contributions(gradients, attention), normalised=True), self.net.vit, images)


class VitolLrp(ScoreMapMethod):
    """The same classifier, with relevance instead of attention in the rollout, which is not normalised, as in their code."""

    name = "vitol-lrp"
    title = "ViTOL-LRP"
    paper = VitolGar.paper
    caveat = VitolGar.caveat
    labels = "image"
    needs = ("vitol-gar",)
    side = SCHEDULE.crop
    gar: VitolGar

    def build(self, study: Study) -> None:
        """Use the classifier fitted by :class:`VitolGar`.

        Raises:
            WeightsError: the transformer has layers without a rule.
        """
        gar = study.fitted("vitol-gar")
        assert isinstance(gar, VitolGar)
        require_plain(gar.net.vit)
        self.gar = gar

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the classifier's class probabilities ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.gar.probabilities(images)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return min-max normalised rollouts ``(B, h, w)`` in [0, 1], one value per patch."""
        return normalise.min_max(torch.cat([self._rollout(*part) for part in _parts(images, labels)]))

    def _rollout(self, images: Tensor, labels: Tensor) -> Tensor:
        net = self.gar.net
        with watched_inputs(net) as inputs:
            attention, gradients = differentiated(net, images, labels)
        relevance = of_attention(net, inputs, attention, labels)
        return _on_patches(rollout(contributions(gradients, relevance), normalised=False), net.vit, images)


def _parts(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(PHOTOS), labels.split(PHOTOS), strict=True))


def _on_patches(row: Tensor, vit: Vit, images: Tensor) -> Tensor:
    """Return the patches' entries ``(B, h, w)`` of a row ``(B, N)`` over all tokens."""
    return cast(Tensor, row[:, vit.prefix :].unflatten(1, vit.grid(images)))
