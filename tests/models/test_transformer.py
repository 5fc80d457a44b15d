"""Attention of every block, and the transformer that learns, against timm's explicit attention."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError
from dips.models import backbones
from dips.models.attention import attend, softmax
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


def test_the_gradient_of_attention_reaches_queries_and_keys_of_the_blocks_that_learn() -> None:
    model = Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224")
    model.learn(2)
    images = torch.rand(1, 3, 32, 48)
    _, attention = model.with_attention(images)
    attention[:, 1].square().sum().backward()  # of the second block, the first that learns
    learns: Any = [cast(Any, block).attn.qkv.weight.grad for block in model.blocks]
    assert learns[0] is None and learns[2].abs().max() == 0
    queries, keys, values = learns[1].chunk(3)
    assert queries.abs().max() > 0 and keys.abs().max() > 0 and values.abs().max() == 0
    with torch.no_grad():
        assert not model.with_attention(images)[1].requires_grad


PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"qk_norm": True, "scale_attn_norm": True}),
    ("vit_small_patch14_reg4_dinov2", {}),
    ("deit_tiny_distilled_patch16_224", {}),
]


@pytest.mark.parametrize(("name", "overrides"), PLAIN)
def test_blocks_in_steps_give_what_the_whole_gives(name: str, overrides: dict[str, Any]) -> None:
    net = shaken(name, **overrides)
    model = Vit(copy.deepcopy(net), name)
    images = torch.rand(2, 3, GRID[0] * model.patch, GRID[1] * model.patch)
    matrices, tokens = explicit(net, model.normalise(images))
    with torch.no_grad():
        one, rows = model.run_with_rows(model.embed(images), last=2)
        steps = model.norm(model.run(one, 2))
        torch.testing.assert_close(steps, model.tokens(images), rtol=0, atol=0)
        torch.testing.assert_close(rows, matrices[:, :2, :, 0, model.prefix :], rtol=1e-3, atol=1e-5)
        found, attention = model.with_matrices(images)
        torch.testing.assert_close(found, tokens, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.stack(attention, 1), matrices, rtol=1e-3, atol=1e-5)


def test_a_score_is_differentiated_by_the_matrices_of_a_network_that_does_not_learn() -> None:
    model = Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224").requires_grad_(False)
    images = torch.rand(2, 3, 32, 48)
    tokens, matrices = model.with_matrices(images)
    gradients = torch.autograd.grad(tokens[:, 0, :5].sum(), matrices)
    assert [each.shape for each in gradients] == [(2, 3, 7, 7)] * 3
    assert gradients[-1][:, :, 0].abs().max() > 0 and gradients[-1][:, :, 1:].abs().max() == 0, (
        "only that row reaches the token"
    )
    assert gradients[0][:, :, 1:].abs().max() > 0

    step, (query, key) = 1e-2, (3, 5)  # by a difference: all that lies behind the first block sees the change

    def score(change: float) -> float:
        def changed(logits: Tensor) -> Tensor:
            attention = softmax(logits)
            attention[0, 1, query, key] += change
            return attention

        with torch.no_grad():
            first, _ = attend(model.blocks[0], model.embed(images), changed)
            return float(model.norm(model.run(first, 1))[0, 0, :5].double().sum())

    difference = (score(step) - score(-step)) / (2 * step)
    assert float(gradients[0][0, 1, query, key]) == pytest.approx(difference, rel=0.05, abs=1e-3)


def test_changed_attention_is_what_the_block_uses() -> None:
    model = Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224")
    block: Any = model.blocks[0]
    with torch.no_grad():
        tokens = model.embed(torch.rand(2, 3, 32, 32))
        after, attention = attend(block, tokens)
        torch.testing.assert_close(after, block(tokens), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 5))
        none, _ = attend(block, tokens, torch.zeros_like)  # then only the bias of the projection is left of the first half
        half = tokens + block.attn.proj.bias
        torch.testing.assert_close(none, half + block.mlp(block.norm2(half)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224", "eva02_tiny_patch14_224"])
def test_blocks_with_rotary_positions_are_not_run_alone(name: str) -> None:
    model = Vit(shaken(name), name)
    images = torch.rand(1, 3, 2 * model.patch, 2 * model.patch)
    with pytest.raises(WeightsError, match=rf"'{name}' cannot be run one by one \(\w+\); choose a plain ViT"):
        model.embed(images)
    with pytest.raises(WeightsError, match="one by one"):
        model.with_matrices(images)


def test_steps_refuse_what_is_no_multiple_of_a_patch() -> None:
    with pytest.raises(ConfigError, match="16 pixels"):
        Vit(shaken("vit_tiny_patch16_224"), "vit_tiny_patch16_224").embed(torch.rand(1, 3, 40, 32))


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
