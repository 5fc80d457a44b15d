"""Relevance propagated back from a class to the attention of every block (Chefer et al., CVPR 2021, section 3).

In: the inputs of a plain ViT's layers, and its attention. Out: how much each entry of the attention contributed to a class. The
rules are those of layer-wise relevance propagation with alpha 1 and beta 0: a layer passes its relevance on to its inputs, in
proportion to their contributions. Norms, GELU and softmax pass relevance on unchanged, and so does layer scale, which the
authors' networks do not have [I].

All sums are over one photo; the authors' code, which processes one photo at a time, sums over the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.vit import ClassToken
from dips.errors import WeightsError
from dips.models.attention import project
from dips.models.backbones import Vit

__all__ = ["added", "divided", "linear", "of_attention", "product", "require_plain", "through_block", "watched_inputs"]

EPS = 1e-9
"""Distance by which a denominator is moved away from 0: the authors' value."""


def divided(values: Tensor, divisors: Tensor) -> Tensor:
    """Return ``values / divisors``, with divisors moved :data:`EPS` away from 0; 0 where a divisor is 0.

    >>> divided(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, -2.0, 0.0])).tolist()
    [0.5, -0.5, 0.0]
    """
    moved = torch.where(divisors < 0, divisors - EPS, divisors + EPS)
    return torch.where(divisors == 0, 0, values / moved)


def linear(inputs: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance ``(..., I)`` of a linear layer's inputs, with the same sum as ``relevance``.

    Only products above 0 count: positive weights with positive inputs, negative ones with negative inputs. The bias is ignored.

    Args:
        inputs: ``(..., I)``.
        weight: ``(O, I)``.
        relevance: ``(..., O)``, of its outputs. The relevance of an output to which nothing contributes is lost.

    >>> weight = torch.tensor([[2.0, 1.0], [-1.0, -3.0]])
    >>> [round(value, 4) for value in linear(torch.tensor([1.0, -1.0]), weight, torch.tensor([1.0, 1.0])).tolist()]
    [1.0, 1.0]
    """
    high, low = inputs.clamp(min=0), inputs.clamp(max=0)
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    shares = divided(relevance, F.linear(high, positive) + F.linear(low, negative))
    return high * (shares @ positive) + low * (shares @ negative)


def added(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relevance of both terms of a sum, ``(B, N, C)`` each, with the same total as ``relevance``.

    Each value is split in proportion to the terms. If these differ in sign, a small sum results in large shares; so each side
    is rescaled to a fraction of the photo's relevance: its absolute total, divided by the sum of both absolute totals.

    Args:
        left, right: ``(B, N, C)``.
        relevance: ``(B, N, C)`` of their sum.
    """
    shares = divided(relevance, left + right)
    sides = (left * shares, right * shares)
    totals = [side.sum((1, 2), keepdim=True) for side in sides]
    whole = relevance.sum((1, 2), keepdim=True)
    both = totals[0].abs() + totals[1].abs()
    first, second = (
        side * divided(whole * divided(total.abs(), both), total) for side, total in zip(sides, totals, strict=True)
    )
    return first, second


def product(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relevance of both factors of a matrix product, each with half the total of ``relevance``.

    Args:
        left: ``(..., N, M)``.
        right: ``(..., M, K)``.
        relevance: ``(..., N, K)`` of ``left @ right``.
    """
    shares = divided(relevance, left @ right)
    return left * (shares @ right.transpose(-2, -1)) / 2, right * (left.transpose(-2, -1) @ shares) / 2


def require_plain(vit: Vit) -> None:
    """Check that every block's MLP is two linear layers with an activation in between.

    Raises:
        WeightsError: an MLP has another structure.
    """
    for block in vit.blocks:
        if (kind := type(cast(Any, block).mlp).__name__) != "Mlp":
            raise WeightsError(
                f"harvest.sst: there is no rule of relevance for the MLP of '{vit.name}' ({kind}); "
                "choose another ViT, e.g. vit_small_patch14_dinov2"
            )


@contextmanager
def watched_inputs(net: ClassToken) -> Iterator[dict[nn.Module, Tensor]]:
    """Collect the inputs of the layers that have a rule while the network runs, by layer, without gradient."""
    inputs: dict[nn.Module, Tensor] = {}

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[layer] = given[0].detach()

    with ExitStack() as hooks:  # they exist only during the forward pass
        layers = [cast(Any, net.vit.net).norm]
        for block in (cast(Any, block) for block in net.vit.blocks):
            layers += [block.norm1, block.attn.proj, block.norm2, block.mlp.fc1, block.mlp.fc2]
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(look))
        yield inputs


@torch.no_grad()
def of_attention(
    net: ClassToken, inputs: Mapping[nn.Module, Tensor], matrices: Sequence[Tensor], labels: Tensor
) -> list[Tensor]:
    """Return the relevance of every block's attention for a class, ``(B, heads, N, N)`` each, of any sign.

    Args:
        net: the classifier, in evaluation mode.
        inputs: what :func:`watched_inputs` collected.
        matrices: the attention of every block, ``(B, heads, N, N)``.
        labels: ``(B,)`` classes; a class's logit has a relevance of 1.
    """
    norm = cast(Any, net.vit.net).norm
    after = inputs[norm]
    relevance = torch.zeros_like(after)  # the classifier only looks at the class token
    wanted = F.one_hot(labels, net.head.out_features).to(after.dtype)
    relevance[:, 0] = linear(norm(after[:, :1])[:, 0], net.head.weight, wanted)
    found: list[Tensor] = []
    for block, matrix in zip(reversed(net.vit.blocks), reversed(matrices), strict=True):
        of_matrix, relevance = through_block(block, inputs, after, matrix, relevance)
        after = inputs[cast(Any, block).norm1]
        found.append(of_matrix)
    return found[::-1]


def through_block(
    block: nn.Module, inputs: Mapping[nn.Module, Tensor], after: Tensor, attention: Tensor, relevance: Tensor
) -> tuple[Tensor, Tensor]:
    """Pass the relevance ``(B, N, C)`` of the tokens ``after`` a block back through it.

    Returns:
        The relevance ``(B, heads, N, N)`` of its attention, and that ``(B, N, C)`` of the tokens before the block.
    """
    norm1, attn, norm2, mlp = (getattr(cast(Any, block), name) for name in ("norm1", "attn", "norm2", "mlp"))
    before, between = inputs[norm1], inputs[norm2]
    kept, branch = added(between, after - between, relevance)
    for layer in (mlp.fc2, mlp.fc1):
        branch = linear(inputs[layer], layer.weight, branch)
    kept, branch = added(before, between - before, kept + branch)
    branch = linear(inputs[attn.proj], attn.proj.weight, branch).unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
    normed = norm1(before)
    queries, keys, values = project(attn, normed)
    of_matrix, of_values = product(attention, values, branch)
    of_queries, of_keys = product(queries, keys.transpose(-2, -1), of_matrix)
    parts = (of_queries, of_keys.transpose(-2, -1), of_values)
    branch = linear(normed, attn.qkv.weight, torch.cat([part.transpose(1, 2).flatten(2) for part in parts], dim=2))
    return of_matrix, kept + branch
