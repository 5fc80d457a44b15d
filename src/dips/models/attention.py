"""Attention of timm's transformer blocks, computed explicitly: the class token's row, or whole matrices that may be changed.

In: blocks and tokens ``(B, N, C)``. Out: softmaxed attention, with gradients where they are enabled, and tokens after a block.
timm's fused attention never forms the matrix, so it is computed here from the same layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

__all__ = ["attend", "class_row", "is_plain", "leave", "project", "softmax", "watched"]


def softmax(logits: Tensor) -> Tensor:
    """Return softmaxed attention, in float32, of logits ``(..., N, N)``: queries in rows, keys in columns."""
    return logits.float().softmax(dim=-1)


def is_plain(block: nn.Module) -> bool:
    """Return whether :func:`attend` can run ``block``: timm's block of a plain ViT, without rotary position embedding."""
    return type(block).__name__ == "Block" and type(cast(Any, block).attn).__name__ == "Attention"


def attend(block: nn.Module, tokens: Tensor, weights: Callable[[Tensor], Tensor] = softmax) -> tuple[Tensor, Tensor]:
    """Run a plain block with explicit attention, which may differ from timm's.

    Args:
        block: accepted by :func:`is_plain`; may also be a standalone copy of one.
        tokens: ``(B, N, C)`` before the block, any subset of a photo's.
        weights: maps logits ``(B, heads, N, N)``, inner products of queries and keys divided by the root of their length, to
            attention of the same shape, which need not sum to 1.

    Returns:
        Tokens ``(B, N, C)`` after the block, equal to ``block(tokens)`` if ``weights`` is :func:`softmax`; and the output of
        ``weights``, with respect to which the tokens can be differentiated if it requires a gradient.
    """
    attn = cast(Any, block).attn
    normed = cast(Any, block).norm1(tokens)
    q, k, v = project(attn, normed)
    attention = weights((q * attn.scale) @ k.transpose(-2, -1))
    return leave(block, tokens, normed, attn.attn_drop(attention), v), attention


def class_row(attn: Any, tokens: Tensor, prefix: int, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the class token's attention to all tokens, from normed tokens ``(B, N, C)``.

    Args:
        attn: any attention module of timm that the wrapped networks may contain.
        prefix: tokens before the patches, which have no rotary position.
        rope: rotary position embedding of the patches, if the network has one.

    Returns:
        Attention ``(B, heads, 1, N)``, softmaxed in float32; keys ``(B, key heads, N, d)`` before rotary position embedding;
        values ``(B, heads, N, d)``.
    """
    q, k, v = project(attn, tokens)
    rotated = k
    if rope is not None:  # the class token has no position: its query is not rotated
        layout = {"half": True} if getattr(attn, "rotate_half", False) else {}
        patches = apply_rot_embed_cat(k[:, :, prefix:], rope, **layout)
        rotated = torch.cat([k[:, :, :prefix], patches], dim=2).type_as(v)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        rotated, v = rotated.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return softmax((q[:, :, :1] * attn.scale) @ rotated.transpose(-2, -1)), k, v


def project(attn: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values ``(B, heads, N, d)`` of timm's attention modules, for normed tokens ``(B, N, C)``."""
    if getattr(attn, "qkv", None) is None:
        q, k, v = attn.q_proj(tokens), attn.k_proj(tokens), attn.v_proj(tokens)
    else:
        bias = attn.qkv.bias
        if getattr(attn, "q_bias", None) is not None:
            bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
        q, k, v = F.linear(tokens, attn.qkv.weight, bias).chunk(3, dim=-1)
    q, k, v = (x.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2) for x in (q, k, v))
    return attn.q_norm(q), attn.k_norm(k), v


def leave(block: nn.Module, tokens: Tensor, normed: Tensor, attention: Tensor, values: Tensor) -> Tensor:
    """Run the rest of a block, once its attention is known.

    Args:
        block: any that the wrapped networks may contain.
        tokens: ``(B, Q, C)``, the tokens to compute, before the block.
        normed: these tokens after the block's first norm.
        attention: ``(B, heads, Q, N)``, from these tokens to all.
        values: ``(B, heads, N, d)``.

    Returns:
        The same tokens after the block, ``(B, Q, C)``.
    """
    parts = cast(Any, block)
    attn = parts.attn
    out = (attention.type_as(values) @ values).transpose(1, 2).flatten(2)
    if (norm := getattr(attn, "norm", None)) is not None:
        out = norm(out)
    if (gate := getattr(attn, "gate", None)) is not None:
        out = out * gate(normed).sigmoid()
    tokens = tokens + parts.drop_path1(_scaled(parts, 1, attn.proj_drop(attn.proj(out))))
    return cast(Tensor, tokens + parts.drop_path2(_scaled(parts, 2, parts.mlp(parts.norm2(tokens)))))


@contextmanager
def watched(blocks: Iterable[nn.Module], prefix: int) -> Iterator[list[Tensor]]:
    """Collect the class token's attention to the patches while ``blocks`` run: ``(B, heads, patches)`` per block, in order.

    The blocks run unchanged. The rows are recomputed from each block's input, with gradients where they are enabled.
    """
    rows: list[Tensor] = []

    def look(block: Any, inputs: tuple[Tensor, ...], options: Mapping[str, Any]) -> None:
        row, _, _ = class_row(block.attn, block.norm1(inputs[0]), prefix, options.get("rope"))
        rows.append(row[:, :, 0, prefix:])

    hooks = [block.register_forward_pre_hook(look, with_kwargs=True) for block in blocks]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


def _scaled(block: Any, branch: int, x: Tensor) -> Tensor:
    if hasattr(block, f"ls{branch}"):
        return cast(Tensor, getattr(block, f"ls{branch}")(x))
    gamma = getattr(block, f"gamma_{branch}")
    return x if gamma is None else gamma * x
