"""Attention of every block, and the transformer that learns, against timm's explicit attention."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError
from dips.models import backbones
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.transformer import Transformer, Vit
from dips.models.weights.resolve import Weights

from ..conftest import random_transformer

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 0, "dynamic_img_size": True}
GRID = (3, 5)


def shaken(name: str, **overrides: Any) -> nn.Module:
    """Random weights large enough that attention is not flat and layer scales count."""
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, **(SMALL | overrides)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net


def explicit(net: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """timm's own unfused attention matrices ``(B, L, heads, N, N)``, and all tokens after the final norm."""
    seen: list[Tensor] = []
    for block in net.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        tokens = net.forward_features(images)
    return torch.stack(seen, dim=1), tokens


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True}),
        ("vit_small_patch14_reg4_dinov2", {}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_small_patch16_dinov3", {}),
        ("vit_small_patch16_rope_mixed_224", {}),
        ("eva02_tiny_patch14_224", {}),
    ],
)
def test_every_block_attends_as_timm_says(name: str, overrides: dict[str, Any]) -> None:
    net = shaken(name, **overrides)
    frozen, learning = Transformer(copy.deepcopy(net), name), Vit(copy.deepcopy(net), name)
    images = torch.rand(2, 3, GRID[0] * frozen.patch, GRID[1] * frozen.patch)
    matrices, tokens = explicit(net, frozen.normalise(images))
    expected = matrices[:, :, :, 0, frozen.prefix :].unflatten(-1, GRID)
    found = frozen.attention_by_block(images)
    assert found.shape == (2, 3, 3, *GRID)
    assert min(expected[:, block].std() for block in range(3)) > 1e-3, "a flat map would pass anything"
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[:, -1], frozen(images).attention, rtol=0, atol=0)

    patches, attention = learning.with_attention(images)
    torch.testing.assert_close(attention, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(patches, tokens[:, frozen.prefix :].transpose(1, 2).unflatten(-1, GRID), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(learning(images), patches)


def test_looking_leaves_nothing_behind() -> None:
    model = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=3, num_heads=3)
    images = torch.rand(1, 3, 32, 32)
    before, state = model(images), copy.deepcopy(model.state_dict())
    model.attention_by_block(images)
    assert not any(block._forward_pre_hooks for block in model.blocks)
    with pytest.raises(ConfigError, match="16 pixels"):
        model.attention_by_block(torch.rand(1, 3, 40, 32))
    assert not any(block._forward_pre_hooks for block in model.blocks)
    torch.testing.assert_close(model(images).keys, before.keys, rtol=0, atol=0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(("blocks", "first"), [(0, 3), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_the_last_blocks_learn(blocks: int, first: int) -> None:
    model = Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224")
    model.learn(blocks)
    model(torch.rand(1, 3, 32, 32)).square().sum().backward()
    net: Any = model.net
    for index, block in enumerate(net.blocks):
        for parameter in block.parameters():
            assert (parameter.grad is not None) == parameter.requires_grad == (index >= first)
    assert net.norm.weight.grad is not None
    assert (net.patch_embed.proj.weight.grad is not None) == (net.pos_embed.grad is not None) == (first == 0)


def test_attention_has_no_gradient_and_tokens_have() -> None:
    model = Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224")
    tokens, attention = model.with_attention(torch.rand(1, 3, 32, 32))
    assert tokens.requires_grad and not attention.requires_grad


def test_loaded_with_all_weights() -> None:
    torch.manual_seed(1)
    net: Any = timm.create_model("test_vit")
    model = backbones.load_vit(Weights("test_vit", "file", "some.pth", "0" * 64, state=net.state_dict()))
    images = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        expected = net.eval().forward_features(model.normalise(images))[:, 1:]
        torch.testing.assert_close(model(images).flatten(2).transpose(1, 2), expected)
    state = timm.create_model("test_resnet").state_dict()
    with pytest.raises(WeightsError, match="not a vision transformer"):
        backbones.load_vit(Weights("test_resnet", "file", "some.pth", "0" * 64, state=state))
