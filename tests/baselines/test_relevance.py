"""Rules of relevance by hand, that they lose nothing, and a whole transformer against a slow reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.relevance import (
    added,
    divided,
    linear,
    of_attention,
    product,
    require_plain,
    through_block,
    watched_inputs,
)
from dips.baselines.vit import ClassToken
from dips.errors import WeightsError
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.transformer import Vit


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classifier(**overrides: Any) -> ClassToken:
    """Random weights large enough that attention is not flat; biases, layer scale and all."""
    small = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0, "dynamic_img_size": True, "init_values": 1.0}
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    net = ClassToken(Vit(timm.create_model(name, **(small | overrides)), name), 3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net.eval().requires_grad_(False)


def test_divisions_are_safe() -> None:
    found = divided(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([1e-12, -1e-12, 0.0, 0.0]))
    assert found.isfinite().all() and found[0] > 0.9e9 and found[1] < -0.9e9 and found[2] == found[3] == 0


def test_linear_by_loops() -> None:
    inputs, weight, relevance = made(4, 9), made(3, 9, seed=1), made(4, 3, seed=2)
    found = linear(inputs, weight, relevance)
    for row in range(4):
        for i in range(9):
            total = 0.0
            for o in range(3):
                brought = [max(0.0, float(inputs[row, j] * weight[o, j])) for j in range(9)]
                total += float(relevance[row, o]) * brought[i] / sum(brought)
            assert float(found[row, i]) == pytest.approx(total, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(found.sum(1), relevance.sum(1))


def test_an_output_without_contribution_hands_nothing_on() -> None:
    found = linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[-1.0, -1.0], [1.0, 0.0]]), torch.tensor([[5.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 0.0]]))


def test_a_sum_by_hand() -> None:
    left, right = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[1.0, -3.0]]])
    first, second = added(left, right, torch.tensor([[[2.0, -1.0]]]))
    # halves of what either has: (1.5, .5) and (.5, -1.5), totals 2 and -1; they get 2/3 and 1/3 of a whole of 1
    torch.testing.assert_close(first, torch.tensor([[[0.5, 1 / 6]]]))
    torch.testing.assert_close(second, torch.tensor([[[-1 / 6, 0.5]]]))
    alone, nothing = added(left, torch.zeros(1, 1, 2), torch.tensor([[[2.0, -1.0]]]))
    torch.testing.assert_close(alone, torch.tensor([[[2.0, -1.0]]]))
    assert not nothing.any()


def test_a_sum_is_of_one_photo() -> None:
    left, right, relevance = made(3, 4, 5), made(3, 4, 5, seed=1), made(3, 4, 5, seed=2)
    together = added(left, right, relevance)
    for i in range(3):
        alone = added(left[i : i + 1], right[i : i + 1], relevance[i : i + 1])
        for all_of_it, part in zip(together, alone, strict=True):
            torch.testing.assert_close(all_of_it[i : i + 1], part)
    torch.testing.assert_close((together[0] + together[1]).sum((1, 2)), relevance.sum((1, 2)), rtol=1e-3, atol=1e-3)


def test_a_product_by_hand() -> None:
    left, right = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])
    first, second = product(left, right, torch.tensor([[11.0]]))
    torch.testing.assert_close(first, torch.tensor([[1.5, 4.0]]))
    torch.testing.assert_close(second, torch.tensor([[1.5], [4.0]]))
    many = product(made(2, 3, 4).double(), made(2, 4, 5, seed=1).double(), made(2, 3, 5, seed=2).double())
    for half in many:
        assert float(half.sum()) == pytest.approx(float(made(2, 3, 5, seed=2).double().sum()) / 2, rel=1e-6)


def test_a_block_loses_nothing() -> None:
    """Whatever comes out of a block arrives at its inputs: attention and values, queries and keys get halves that add up."""
    net = classifier().double()
    images = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0)).double()
    with watched_inputs(net) as inputs, torch.no_grad():
        _, matrices = net.vit.with_matrices(images)
    block: Any = net.vit.blocks[0]
    behind: Any = net.vit.blocks[1]
    relevance = made(2, 7, 16).abs().double()
    with torch.no_grad():
        of_matrix, before = through_block(block, inputs, inputs[behind.norm1], matrices[0].double(), relevance)
    assert of_matrix.shape == (2, 2, 7, 7) and before.shape == (2, 7, 16)
    torch.testing.assert_close(before.sum((1, 2)), relevance.sum((1, 2)), rtol=1e-5, atol=0)


def by_gradient(function: Callable[..., Tensor], inputs: Sequence[Tensor], relevance: Tensor) -> list[Tensor]:
    """A rule as input times gradient of the output's share."""
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    out = function(*leaves)
    gradients = torch.autograd.grad(out, leaves, torch.where(out == 0, 0, relevance / out).detach())
    return [leaf.detach() * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]


def slow_linear(inputs: Tensor, layer: nn.Linear, relevance: Tensor) -> Tensor:
    weight = layer.weight.detach()
    both = by_gradient(
        lambda high, low: F.linear(high, weight.clamp(min=0)) + F.linear(low, weight.clamp(max=0)),
        (inputs.clamp(min=0), inputs.clamp(max=0)),
        relevance,
    )
    return both[0] + both[1]


def slow_sum(left: Tensor, right: Tensor, relevance: Tensor) -> list[Tensor]:
    """Of a single photo."""
    a, b = by_gradient(torch.add, (left, right), relevance)
    whole = relevance.sum() / (abs(a.sum()) + abs(b.sum()))
    return [a * whole * a.sum().sign(), b * whole * b.sum().sign()]


def slow(net: Any, image: Tensor, label: int) -> list[Tensor]:
    """The relevance of every block's attention ``(heads, N, N)`` for one photo ``(1, 3, H, W)``, layer by layer."""
    vit = net.vit
    steps = []
    with torch.no_grad():
        x = vit.embed(image)
        for block in vit.blocks:
            attn, kept = block.attn, {"x": x}
            kept["normed"] = block.norm1(x)
            qkv = attn.qkv(kept["normed"]).reshape(len(x), x.shape[1], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
            kept["q"], kept["k"], kept["v"] = qkv
            kept["a"] = (kept["q"] @ kept["k"].transpose(2, 3) * attn.scale).softmax(-1)
            kept["mixed"] = (kept["a"] @ kept["v"]).transpose(1, 2).flatten(2)
            kept["first"] = block.ls1(attn.proj(kept["mixed"]))
            kept["between"] = x + kept["first"]
            kept["normed2"] = block.norm2(kept["between"])
            kept["hidden"] = block.mlp.act(block.mlp.fc1(kept["normed2"]))
            kept["second"] = block.ls2(block.mlp.fc2(kept["hidden"]))
            x = kept["between"] + kept["second"]
            steps.append(kept)
        cls = vit.norm(x)[:, 0]
    r = torch.zeros_like(x)
    r[:, 0] = slow_linear(cls, net.head, torch.eye(3, dtype=x.dtype)[label][None])
    found = []
    for block, kept in zip(reversed(vit.blocks), reversed(steps), strict=True):
        straight, r = slow_sum(kept["between"], kept["second"], r)
        r = slow_linear(kept["normed2"], block.mlp.fc1, slow_linear(kept["hidden"], block.mlp.fc2, r))
        straight, r = slow_sum(kept["x"], kept["first"], straight + r)
        r = slow_linear(kept["mixed"], block.attn.proj, r)
        r = r.unflatten(2, (block.attn.num_heads, -1)).transpose(1, 2)
        a, v = (half / 2 for half in by_gradient(torch.matmul, (kept["a"], kept["v"]), r))
        found.append(a[0])
        q, k = (half / 2 for half in by_gradient(lambda q, k: q @ k.transpose(2, 3), (kept["q"], kept["k"]), a))
        r = torch.stack([q, k, v]).permute(1, 3, 0, 2, 4).flatten(2)
        r = straight + slow_linear(kept["normed"], block.attn.qkv, r)
    return found[::-1]


def test_a_transformer_against_a_slow_reference() -> None:
    net = classifier(depth=3).double()
    images = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([2, 0])
    with watched_inputs(net) as inputs, torch.no_grad():
        _, matrices = net.vit.with_matrices(images)
    found = of_attention(net, inputs, [matrix.double() for matrix in matrices], labels)
    assert len(found) == 3 and not any(layer._forward_pre_hooks for layer in net.modules())
    for row, label in enumerate(labels.tolist()):
        for block, expected in enumerate(slow(net, images[row : row + 1], label)):
            assert expected.abs().max() > 1e-4, "nothing would pass anything"
            # attention is in float32, and denominators are small now and then
            assert (found[block][row] - expected).norm() < 1e-3 * expected.norm()


def test_a_layer_without_a_rule_is_refused() -> None:
    net: Any = classifier()
    require_plain(net.vit)
    net.vit.net.blocks[1].mlp = nn.Identity()
    with pytest.raises(WeightsError, match="no rule of relevance"):
        require_plain(net.vit)
