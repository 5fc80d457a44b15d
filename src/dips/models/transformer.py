"""Vision transformers of timm whose class-token attention can be read (paper 3.1): the frozen one, and one that can learn.

In: a network that :mod:`dips.models.backbones` has built, and images ``(B, 3, H, W)`` float in [0, 1], which are normalised
here. Out: attention, keys and tokens on the grid of patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError

__all__ = ["Features", "Normalise", "Transformer", "Vit", "no_transformer"]

_BLOCKS = ("Block", "EvaBlock")
_ATTENTION = ("Attention", "AttentionRope", "EvaAttention")


@dataclass(frozen=True, slots=True)
class Features:
    """Outputs of the transformer's last block for a batch; ``h, w`` count patches.

    Attributes:
        attention: ``(B, heads, h, w)``, the class token's softmaxed attention. The softmax runs over all tokens, so a
            map sums to less than 1 by what class and register tokens receive.
        keys: ``(B, h, w, D)``, keys of the patches, heads concatenated; before rotary position embedding.
        cls: ``(B, C)``, the class token after the final norm.
    """

    attention: Tensor
    keys: Tensor
    cls: Tensor


class Normalise(nn.Module):
    """``(images - mean) / std`` per channel; the constants are saved with the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class _LastBlock(nn.Module):
    """A transformer block computed for the class token alone, which remembers its attention.

    Nothing after the last block reads the patch tokens, so one row of the attention suffices, and projection and MLP run
    on one token. Fused attention never forms the row; here it is explicit.
    """

    def __init__(self, block: nn.Module, prefix: int) -> None:
        super().__init__()
        self.block = block
        self.prefix = prefix
        self.attention: Tensor | None = None
        self.keys: Tensor | None = None

    def forward(self, x: Tensor, rope: Tensor | None = None, **_: Any) -> Tensor:
        """Return the class token ``(B, 1, C)`` after the block, of all tokens ``(B, N, C)`` before it."""
        block = cast(Any, self.block)
        attn = block.attn
        tokens = block.norm1(x)
        row, k, v = _class_row(attn, tokens, self.prefix, rope)
        self.keys = k[:, :, self.prefix :].transpose(1, 2).flatten(2)
        self.attention = row[:, :, 0, self.prefix :]
        out = (row.type_as(v) @ v).transpose(1, 2).flatten(2)
        if (norm := getattr(attn, "norm", None)) is not None:
            out = norm(out)
        if (gate := getattr(attn, "gate", None)) is not None:
            out = out * gate(tokens[:, :1]).sigmoid()
        cls = x[:, :1] + _scaled(block, 1, attn.proj(out))
        return cls + _scaled(block, 2, block.mlp(block.norm2(cls)))


def _class_row(attn: Any, tokens: Tensor, prefix: int, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the class token's attention to all tokens, from normed tokens ``(B, N, C)``.

    Returns:
        Attention ``(B, heads, 1, N)``, softmaxed in float32; keys ``(B, key heads, N, d)`` before rotary position embedding;
        values ``(B, heads, N, d)``.
    """
    q, k, v = _project(attn, tokens)
    rotated = k
    if rope is not None:  # the class token has no position: its query stays
        layout = {"half": True} if getattr(attn, "rotate_half", False) else {}
        patches = apply_rot_embed_cat(k[:, :, prefix:], rope, **layout)
        rotated = torch.cat([k[:, :, :prefix], patches], dim=2).type_as(v)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        rotated, v = rotated.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    row = ((q[:, :, :1] * attn.scale) @ rotated.transpose(-2, -1)).float().softmax(dim=-1)
    return row, k, v


def _project(attn: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values ``(B, heads, N, d)`` of timm's attention modules, of tokens ``(B, N, C)``."""
    if getattr(attn, "qkv", None) is None:
        q, k, v = attn.q_proj(tokens), attn.k_proj(tokens), attn.v_proj(tokens)
    else:
        bias = attn.qkv.bias
        if getattr(attn, "q_bias", None) is not None:
            bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
        q, k, v = F.linear(tokens, attn.qkv.weight, bias).chunk(3, dim=-1)
    q, k, v = (x.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2) for x in (q, k, v))
    return attn.q_norm(q), attn.k_norm(k), v


def _scaled(block: Any, branch: int, x: Tensor) -> Tensor:
    if hasattr(block, f"ls{branch}"):
        return cast(Tensor, getattr(block, f"ls{branch}")(x))
    gamma = getattr(block, f"gamma_{branch}")
    return x if gamma is None else gamma * x


@contextmanager
def _watched(blocks: Iterable[nn.Module], prefix: int) -> Iterator[list[Tensor]]:
    """Collect the class token's attention to the patches while ``blocks`` run: ``(B, heads, patches)`` per block, in order.

    The blocks run unchanged. Fused attention never forms the row, so it is computed again from each block's input.
    """
    rows: list[Tensor] = []

    @torch.no_grad()
    def look(block: Any, inputs: tuple[Tensor, ...], options: Mapping[str, Any]) -> None:
        row, _, _ = _class_row(block.attn, block.norm1(inputs[0]), prefix, options.get("rope"))
        rows.append(row[:, :, 0, prefix:])

    hooks = [block.register_forward_pre_hook(look, with_kwargs=True) for block in blocks]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


class _Vit(nn.Module):
    """The base of the frozen transformer and of the one that learns.

    Attributes:
        name: timm's.
        patch: side of a patch in pixels.
        heads: attention heads of the last block.
        prefix: tokens before the patches (class token, registers).
        width: length of a token.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        """Wrap ``net``.

        Raises:
            WeightsError: ``net`` is not a ViT with a class token whose attention we can read.
        """
        super().__init__()
        vit = cast(Any, net)
        if getattr(vit, "blocks", None) is None or not hasattr(vit, "num_prefix_tokens"):
            raise WeightsError(no_transformer(name))
        if getattr(vit, "cls_token", None) is None:
            raise WeightsError(f"harvest.sst: '{name}' has no class token, so no attention maps; choose e.g. a DINO model")
        block = vit.blocks[-1]
        if type(block).__name__ not in _BLOCKS or type(block.attn).__name__ not in _ATTENTION:
            raise WeightsError(
                f"harvest.sst: the attention of '{name}' cannot be read ({type(block).__name__}); "
                "choose a plain ViT, e.g. vit_small_patch16_224.dino"
            )
        self.name = name
        self.patch = int(vit.patch_embed.patch_size[0])
        self.prefix = int(vit.num_prefix_tokens)
        self.heads = int(block.attn.num_heads)
        self.width = int(vit.embed_dim)
        self.normalise = Normalise(vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"])
        self.net = net

    @property
    def blocks(self) -> list[nn.Module]:
        """From the first to the last."""
        return list(cast(Any, self.net).blocks)

    def tokens(self, images: Tensor) -> Tensor:
        """Return all tokens ``(B, N, C)`` after the final norm, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, cast(Any, self.net).forward_features(self.normalise(images)))

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return rows and columns of patches in images ``(B, 3, H, W)``.

        Raises:
            ConfigError: H or W is not a multiple of ``patch``.
        """
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"harvest.sizes: {self.name} sees patches of {self.patch} pixels, and {height} x {width} is not a "
                "multiple of that"
            )
        return height // self.patch, width // self.patch


class Transformer(_Vit):
    """A frozen timm ViT with class token (DINO, DINOv2, DINOv3, supervised ones).

    Attributes:
        name, patch, heads, prefix: as the base class has them.
        dim: length of a patch's key.
        width: length of ``cls``.

    Example:
        >>> from dips.models.backbones import timm
        >>> net = timm.create_model("vit_tiny_patch16_224", depth=2, dynamic_img_size=True)
        >>> transformer = Transformer(net, "vit_tiny_patch16_224")
        >>> transformer(torch.rand(1, 3, 64, 32)).attention.shape
        torch.Size([1, 3, 4, 2])
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        """Wrap ``net`` and replace its last block.

        Raises:
            WeightsError: ``net`` is not a ViT with a class token whose attention we can read.
        """
        super().__init__(net, name)
        block = cast(Any, self.blocks[-1])
        self.dim = int(getattr(block.attn, "num_kv_heads", self.heads) * block.attn.head_dim)
        self.last = cast(Any, net).blocks[-1] = _LastBlock(block, self.prefix)
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Transformer:
        """Stay in evaluation mode: the transformer is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Return attention, keys and class token of images ``(B, 3, H, W)`` in [0, 1]; H and W are multiples of ``patch``."""
        grid = self.grid(images)
        cls = self.tokens(images)[:, 0]
        attention, keys = self.last.attention, self.last.keys
        self.last.attention = self.last.keys = None
        assert attention is not None and keys is not None
        return Features(attention.unflatten(-1, grid), keys.unflatten(1, grid), cls)

    def attention_by_block(self, images: Tensor) -> Tensor:
        """Return the class token's softmaxed attention in every block, ``(B, L, heads, h, w)``; the last is ``forward``'s.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1]; H and W are multiples of ``patch``.
        """
        with _watched(self.blocks[:-1], self.prefix) as rows:
            last = self(images).attention
        return torch.stack([*(row.unflatten(-1, last.shape[-2:]) for row in rows), last], dim=1)


class Vit(_Vit):
    """The same kind of timm ViT with all blocks unchanged, so that it can learn."""

    def learn(self, blocks: int) -> None:
        """Let only the last ``blocks`` blocks and the final norm learn; with all of them, the embedding learns, too."""
        first = max(0, len(self.blocks) - blocks)
        self.requires_grad_(first == 0)
        for part in (*self.blocks[first:], cast(Any, self.net).norm):
            part.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens ``(B, C, h, w)`` after the final norm, of images ``(B, 3, H, W)`` in [0, 1]."""
        grid = self.grid(images)
        patches: Tensor = self.tokens(images)[:, self.prefix :].transpose(1, 2).unflatten(-1, grid)
        return patches

    def with_attention(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same and, without gradient, the class token's attention in every block, ``(B, L, heads, h, w)``."""
        with _watched(self.blocks, self.prefix) as rows:
            tokens = self(images)
        return tokens, torch.stack([row.unflatten(-1, tokens.shape[-2:]) for row in rows], dim=1)


def no_transformer(name: str) -> str:
    """Return the message for a network that is not a transformer."""
    return f"harvest.sst: '{name}' is not a vision transformer; choose one, e.g. vit_small_patch16_224.dino"
