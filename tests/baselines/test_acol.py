"""ACoL: what is erased, what each head learns from, and how their maps meet."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F

from dips.baselines.acol import THRESHOLD, ACoL, TwoHeads, erase
from dips.baselines.study import Study
from dips.models.classifier import Classifier


@pytest.fixture
def method(study: Study) -> ACoL:
    torch.manual_seed(0)
    made = ACoL()
    made.build(study)
    return made


IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


def test_erase_by_hand() -> None:
    features = torch.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    maps = torch.tensor([[[0.0, 0.59], [0.6, 0.61]]])
    assert erase(features, maps, 0.6).tolist() == [[[[1, 2], [3, 0]], [[5, 6], [7, 0]]]]


def test_second_head_does_not_see_what_the_first_relies_on(method: ACoL) -> None:
    net = cast(TwoHeads, method.net)
    inputs: list[torch.Tensor] = []
    handle = net.second.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        features = net.feature_map(IMAGES)
        first, _ = net.both(IMAGES, LABELS)
    handle.remove()
    assert not torch.equal(features[0, :, 0, 0], torch.zeros_like(features[0, :, 0, 0]))
    for b, label in enumerate(LABELS.tolist()):
        values = first[b, label]
        for y in range(4):
            for x in range(4):
                height = float((values[y, x] - values.min()) / (values.max() - values.min()))
                seen = features[b, :, y, x] if height <= THRESHOLD else torch.zeros_like(features[b, :, y, x])
                assert torch.equal(inputs[0][b, :, y, x], seen)
    assert 0 < (inputs[0].abs().sum(1) == 0).sum() < 48


def test_loss_is_the_sum_of_both_heads(method: ACoL) -> None:
    net = cast(TwoHeads, method.net)
    first, second = net.both(IMAGES, LABELS)
    logits = first.mean((2, 3)), second.mean((2, 3))
    expected = F.cross_entropy(logits[0], LABELS) + F.cross_entropy(logits[1], LABELS)
    torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator()), expected)
    torch.testing.assert_close(method.probabilities(IMAGES), logits[0].softmax(1))


def test_heads_do_not_teach_each_other(method: ACoL) -> None:
    net = cast(TwoHeads, method.net)
    for part, own, other in ((0, net.first, net.second), (1, net.second, net.first)):
        net.zero_grad()
        F.cross_entropy(net.both(IMAGES, LABELS)[part].mean((2, 3)), LABELS).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own.parameters())
        assert all(p.grad is None or not p.grad.any() for p in other.parameters())
        assert any(p.grad is not None and p.grad.any() for p in net.body.parameters())


def test_map_is_the_larger_of_both(method: ACoL) -> None:
    method.freeze()
    both = cast(TwoHeads, method.net).both(IMAGES, LABELS)
    found = method.activations(IMAGES, LABELS)
    for b, label in enumerate(LABELS.tolist()):
        scaled = [(m[b, label] - m[b, label].min()) / (m[b, label].max() - m[b, label].min()) for m in both]
        torch.testing.assert_close(found[b], torch.stack(scaled).amax(0))


def test_heads_begin_at_the_scale_of_their_features() -> None:
    """He et al. (ICCV 2015): else two rectified layers shrink what they are given to nothing, and die."""
    head: Any = TwoHeads(Classifier("test_efficientnet", 3), 3).first
    width = head[0].in_channels
    features = torch.randn(2, width, 9, 9, generator=torch.Generator().manual_seed(0))
    inner = head[:4](features)[..., 2:-2, 2:-2]  # the border sees zeros
    assert 0.5 < inner.square().mean() / features.square().mean() < 2
