"""Vision transformers of timm whose class-token attention can be read (paper 3.1): a frozen one and a trainable one.

In: a network that :mod:`dips.models.backbones` has built, and images ``(B, 3, H, W)`` float in [0, 1], which are normalised
here. Out: attention, keys and tokens on the grid of patches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError
from dips.models.attention import attend, class_row, is_plain, leave, softmax, watched

__all__ = ["Features", "Normalise", "Transformer", "Vit", "no_transformer"]

_BLOCKS = ("Block", "EvaBlock")
_ATTENTION = ("Attention", "AttentionRope", "EvaAttention")


@dataclass(frozen=True, slots=True)
class Features:
    """Outputs of the transformer's last block for a batch; ``h, w`` count patches.

    Attributes:
        attention: ``(B, heads, h, w)``, the class token's softmaxed attention. The softmax runs over all tokens, so a
            map sums to 1 minus what class and register tokens receive.
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
    """A transformer block that is computed for the class token alone and stores its attention.

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
        """Return the class token ``(B, 1, C)`` after the block, from all tokens ``(B, N, C)`` before it."""
        block = cast(Any, self.block)
        tokens = block.norm1(x)
        row, k, v = class_row(block.attn, tokens, self.prefix, rope)
        self.keys = k[:, :, self.prefix :].transpose(1, 2).flatten(2)
        self.attention = row[:, :, 0, self.prefix :]
        return leave(block, x[:, :1], tokens[:, :1], row, v)


class _Vit(nn.Module):
    """Base class of the frozen transformer and the trainable one.

    Attributes:
        name: timm's name.
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
        """The blocks, from the first to the last."""
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
        name, patch, heads, prefix: as in the base class.
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
        """Return the class token's softmaxed attention in every block, ``(B, L, heads, h, w)``; the last as in ``forward``.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1]; H and W are multiples of ``patch``.
        """
        with watched(self.blocks[:-1], self.prefix) as rows:
            last = self(images).attention
        return torch.stack([*(row.unflatten(-1, last.shape[-2:]) for row in rows), last], dim=1)


class Vit(_Vit):
    """The same kind of timm ViT with all blocks unchanged, so that it can be trained."""

    def learn(self, blocks: int) -> None:
        """Make only the last ``blocks`` blocks and the final norm trainable; if these are all blocks, the embedding, too."""
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
        """Return the same and the class token's softmaxed attention in every block, ``(B, L, heads, h, w)``; both with
        gradients where they are enabled."""
        with watched(self.blocks, self.prefix) as rows:
            tokens = self(images)
        return tokens, torch.stack([row.unflatten(-1, tokens.shape[-2:]) for row in rows], dim=1)

    def with_matrices(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return all tokens ``(B, N, C)`` after the final norm, and the whole attention matrices, computed explicitly.

        If gradients are enabled, each matrix requires one, so that a score of the tokens has a derivative with respect to it
        (the total one, through the subsequent blocks), even if no part of the network is trainable.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].

        Returns:
            The tokens; and per block, in order, ``(B, heads, N, N)``, softmaxed over the last axis.

        Raises:
            WeightsError: see :meth:`embed`.
        """
        tokens, matrices = self.embed(images), []
        for block in self.blocks:
            tokens, matrix = attend(block, tokens, _differentiable)
            matrices.append(matrix)
        return self.norm(tokens), matrices

    def embed(self, images: Tensor) -> Tensor:
        """Return all tokens ``(B, N, C)``, as input of the first block, of images ``(B, 3, H, W)`` in [0, 1].

        Together with :meth:`run` and :meth:`norm`, this is :meth:`tokens` step by step:

        >>> from dips.models.backbones import timm
        >>> net = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0, dynamic_img_size=True)
        >>> vit, images = Vit(net.eval(), "vit_tiny_patch16_224"), torch.rand(1, 3, 64, 32)
        >>> between = vit.run(vit.embed(images), last=1)
        >>> torch.allclose(vit.norm(vit.run(between, 1)), vit.tokens(images))
        True

        Raises:
            ConfigError: H or W is not a multiple of ``patch``.
            WeightsError: the blocks need more than tokens (rotary position embedding), so that they cannot run alone.
        """
        if not all(map(is_plain, self.blocks)):
            kind = type(cast(Any, self.blocks[-1]).attn).__name__
            raise WeightsError(
                f"harvest.sst: the blocks of '{self.name}' cannot be run one by one ({kind}); "
                "choose a plain ViT, e.g. vit_small_patch14_dinov2"
            )
        self.grid(images)
        net = cast(Any, self.net)
        embedded = net.patch_drop(net._pos_embed(net.patch_embed(self.normalise(images))))
        return cast(Tensor, net.norm_pre(embedded))

    def run(self, tokens: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Return tokens ``(B, N, C)`` after the blocks from ``first`` to ``last``, counted from 0, excluding ``last``."""
        for block in self.blocks[first:last]:
            tokens = block(tokens)
        return tokens

    def run_with_rows(self, tokens: Tensor, first: int = 0, last: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the same, and the class token's attention to the patches in these blocks, ``(B, blocks, heads, patches)``."""
        with watched(self.blocks[first:last], self.prefix) as rows:
            tokens = self.run(tokens, first, last)
        return tokens, torch.stack(rows, dim=1)

    def norm(self, tokens: Tensor) -> Tensor:
        """Return tokens ``(B, N, C)`` after the final norm."""
        return cast(Tensor, cast(Any, self.net).norm(tokens))


def _differentiable(logits: Tensor) -> Tensor:
    attention = softmax(logits)
    return attention.requires_grad_() if torch.is_grad_enabled() else attention


def no_transformer(name: str) -> str:
    """Return the message for a network that is not a transformer."""
    return f"harvest.sst: '{name}' is not a vision transformer; choose one, e.g. vit_small_patch16_224.dino"
