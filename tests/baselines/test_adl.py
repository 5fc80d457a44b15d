"""ADL: the mask, the importance, when each is drawn, and where they act."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dips.baselines.adl import STAGES, Adl, attention, drop_mask, importance
from dips.baselines.study import Study
from dips.models.backbones import stages

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


def draws(seed: int) -> list[bool]:
    generator = torch.Generator().manual_seed(seed)
    return [float(torch.rand((), generator=generator)) < 0.75 for _ in range(STAGES)]


def test_attention_by_loops() -> None:
    features = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    found = attention(features)
    assert found.shape == (2, 1, 3, 4)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                expected = sum(max(0.0, float(features[b, f, y, x])) for f in range(5)) / 5
                assert float(found[b, 0, y, x]) == pytest.approx(expected, rel=1e-5)


def test_mask_and_importance_by_hand() -> None:
    attended = torch.tensor([[[[0.0, 4.0], [5.0, 4.1]]], [[[1.0, 1.0], [0.5, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert drop_mask(attended, 0.8)[:, 0].tolist() == [[[1, 1], [0, 0]], [[0, 0], [1, 1]], [[1, 1], [1, 1]]]
    for value, found in zip(attended.flatten().tolist(), importance(attended).flatten().tolist(), strict=True):
        assert found == pytest.approx(1 / (1 + math.exp(-value)))


def test_loss_by_a_pass_of_its_own(study: Study) -> None:
    """The last three stages of the test network follow each other, so that the pass can be made by hand."""
    method = Adl()
    method.build(study)
    net: Any = method.net
    body = net.body
    indices = {id(module): i for i, (module, _) in enumerate(stages(body)[-STAGES:])}
    assert len(indices) == 3 and list(body.blocks)[-1] is stages(body)[-1][0]
    seen: set[tuple[bool, ...]] = set()
    for seed in range(8):
        dropped = draws(seed)
        seen.add(tuple(dropped))
        with torch.no_grad():
            x = body.bn1(body.conv_stem(net.normalise(IMAGES)))
            for block in body.blocks:
                x = block(x)
                if id(block) in indices:
                    mean = x.relu().mean(1, keepdim=True)
                    kept = mean <= 0.8 * mean.flatten(1).max(1).values[:, None, None, None]
                    x = x * (kept if dropped[indices[id(block)]] else mean.sigmoid())
            logits = net.head(body.bn2(body.conv_head(x)).mean((2, 3)))
            loss = method.loss(IMAGES, LABELS, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(loss, F.cross_entropy(logits, LABELS), rtol=1e-4, atol=1e-5)
    assert len(seen) > 2


def test_the_mask_passes_no_gradient_and_the_importance_does() -> None:
    features = torch.rand(1, 2, 3, 3, requires_grad=True)
    assert not drop_mask(attention(features), 0.8).requires_grad
    assert importance(attention(features)).requires_grad
