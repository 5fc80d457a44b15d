"""TS-CAM: how maps are coupled, what learns, and that a fit comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dips.baselines.study import Study
from dips.baselines.tscam import TsCam, couple
from dips.baselines.vit import TRAINED_BLOCKS

BLOCKS = 6  # of the study's test_vit


def built(study: Study) -> TsCam:
    method = TsCam()
    method.build(study)
    return method


def test_coupling_is_a_product_with_the_mean_over_heads_and_blocks() -> None:
    torch.manual_seed(1)
    semantic, attention = torch.randn(2, 3, 4), torch.rand(2, 5, 6, 3, 4)
    found = couple(semantic, attention)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                total = sum(float(attention[b, block, head, y, x]) for block in range(5) for head in range(6))
                assert found[b, y, x] == pytest.approx(float(semantic[b, y, x]) * total / 30, rel=1e-5)


def test_maps_and_probabilities_by_hand(study: Study) -> None:
    method = built(study)
    images, labels = torch.rand(2, 3, 224, 224), torch.tensor([2, 0])
    with torch.no_grad():
        tokens, attention = method.net.vit.with_attention(images)
        semantic = method.net.head(tokens)
        assert semantic.shape == (2, 3, 14, 14) and attention.shape == (2, BLOCKS, 2, 14, 14)
        maps = method.maps(images, labels)
        for row, label in enumerate(labels.tolist()):
            coupled = semantic[row, label] * attention[row].mean((0, 1))
            expected = (coupled - coupled.min()) / (coupled.max() - coupled.min())
            torch.testing.assert_close(maps[row], expected, rtol=1e-4, atol=1e-5)
        probabilities = method.probabilities(images)
    torch.testing.assert_close(probabilities, semantic.flatten(2).mean(2).softmax(1))
    assert maps.min() == 0 and maps.max() == 1


def test_the_convolution_and_the_last_blocks_learn(study: Study) -> None:
    method = built(study)
    method.loss(torch.rand(2, 3, 224, 224), torch.tensor([0, 1]), torch.Generator()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in method.net.head.parameters())
    net: Any = method.net.vit.net
    for index, block in enumerate(net.blocks):
        learns = index >= BLOCKS - TRAINED_BLOCKS
        assert (block.mlp.fc1.weight.grad is not None) == (block.attn.qkv.weight.grad is not None) == learns
    assert net.patch_embed.proj.weight.grad is None


def test_a_fit_comes_back(study: Study) -> None:
    method = TsCam()
    fit = method.fit(study)
    assert fit.steps >= 4 and fit.curve[-1]["v2"] == 50 and "ground-truth boxes" in fit.chosen
    images, labels = torch.rand(2, 3, 224, 224), torch.tensor([1, 2])
    fresh, again = built(study), TsCam()
    again.restore(study, method.state())
    assert torch.equal(again.maps(images, labels), method.maps(images, labels))
    assert not torch.allclose(fresh.maps(images, labels), method.maps(images, labels)), "nothing was learned"
    assert not any(parameter.requires_grad for parameter in again.net.parameters())
    assert again.parameters == method.parameters > 0

    before, after = fresh.net.state_dict(), method.net.state_dict()
    assert torch.equal(before["vit.net.blocks.0.mlp.fc1.weight"], after["vit.net.blocks.0.mlp.fc1.weight"])
    assert not torch.equal(before["vit.net.blocks.5.mlp.fc1.weight"], after["vit.net.blocks.5.mlp.fc1.weight"])
