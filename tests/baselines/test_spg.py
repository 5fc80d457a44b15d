"""SPG: which pixels are seeds, what is learnt from them, and who teaches whom."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F

from dips.baselines.spg import WIDTH, Guided, Spg, guidance, seeds
from dips.baselines.study import Study
from dips.models.backbones import stages

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])
BRANCHES = {"b1", "b2", "shared", "c", "body", "probe"}


@pytest.fixture
def net(study: Study) -> Guided:
    torch.manual_seed(0)
    method = Spg()
    method.build(study)
    return cast(Guided, method.net)


def learns(net: Guided) -> set[str]:
    return {name for name in BRANCHES if any(p.grad is not None and p.grad.any() for p in getattr(net, name).parameters())}


def test_seeds_by_loops() -> None:
    maps = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    found = seeds(maps, 0.6, 0.2)
    for value, target in zip(maps.flatten().tolist(), found.flatten().tolist(), strict=True):
        assert target == (1 if value > 0.6 else 0 if value < 0.2 else -1)


def test_where_few_pixels_are_object_those_near_the_maximum_are() -> None:
    maps = torch.full((2, 1, 10, 10), 0.1)
    maps[:, 0, :6, :5] = 0.9
    maps[1, 0, 0, 0] = 0.2  # 29 are left, one less than are needed
    maps[:, 0, 9] = 0.65
    found = seeds(maps, 0.7, 0.05)
    assert (found[0] == 1).sum() == 30 and (found[1] == 1).sum() == 29 + 10
    assert found[1, 0, 0, 0] == -1
    nothing = seeds(torch.full((1, 1, 4, 4), 0.01), 0.7, 0.05)
    assert (nothing == 0).all(), "what is below the low threshold is ground even where it is the maximum"


def test_guidance_by_hand() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.5, 9.0]]]], requires_grad=True)
    targets = torch.tensor([[[[1.0, 0.0], [0.0, -1.0]]]])
    loss = guidance(logits, targets)
    parts = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1)), math.log(1 + math.exp(0.5))]
    assert float(loss.detach()) == pytest.approx(sum(parts) / 3, rel=1e-5)
    loss.backward()
    assert logits.grad is not None and logits.grad[0, 0, 1, 1] == 0
    assert float(guidance(logits.detach(), torch.full_like(targets, -1))) == 0


def test_parts_by_hand(net: Guided) -> None:
    with torch.no_grad():
        last: tuple[Any, ...] = (net.b1[0], net.b2[0], net.shared[-1], net.c[-1])
        for part in last:
            part.weight.normal_(0, 1)  # so that branches are sure, and not of the same
        features, b1, b2, c = net.branches(IMAGES)
        parts = net.losses(IMAGES, LABELS)
        assert ((b1 > 0) != (b2 > 0)).float().mean() > 0.1
        assert b1.shape == b2.shape == c.shape == (3, 1, 64, 64)
        torch.testing.assert_close(parts["class"], F.cross_entropy(net(IMAGES), LABELS))
        torch.testing.assert_close(features, net.feature_map(IMAGES))
        activation = torch.stack(
            [(features[i] * net.head.weight[label][:, None, None]).sum(0) for i, label in enumerate(LABELS)]
        )
        large = F.interpolate(activation[:, None], (64, 64), mode="bilinear", align_corners=False)
        low, high = (edge(large, (1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
        attention = (large - low) / (high - low)
        for logits, source, pair, name in (
            (b2, attention, (0.7, 0.05), "b2"),
            (b1, b2.sigmoid(), (0.5, 0.05), "b1"),
            (c, (b1.sigmoid() + b2.sigmoid()) / 2, (0.7, 0.1), "c"),
        ):
            torch.testing.assert_close(parts[name], guidance(logits, seeds(source, *pair)), msg=name)


def test_each_part_teaches_its_branch(net: Guided) -> None:
    expected = {
        "class": {"body", "probe"},
        "b2": {"body", "b2", "shared"},
        "b1": {"body", "b1", "shared"},
        "c": {"body", "c"},
    }
    for name, reached in expected.items():
        net.zero_grad()
        net.losses(IMAGES, LABELS)[name].backward()
        assert learns(net) == reached, name


def test_loss_is_the_sum(study: Study) -> None:
    method = Spg()
    method.build(study)
    with torch.no_grad():
        parts = cast(Guided, method.net).losses(IMAGES, LABELS)
        assert float(method.loss(IMAGES, LABELS, torch.Generator())) == pytest.approx(sum(map(float, parts.values())))


def test_an_answer_needs_no_branches(study: Study) -> None:
    method = Spg()
    method.build(study)
    net = cast(Guided, method.net)
    branches = sum(p.numel() for part in (net.b1, net.b2, net.shared, net.c) for p in part.parameters())
    assert method.parameters == sum(p.numel() for p in net.parameters()) - branches
    before = method.maps(IMAGES, LABELS)
    with torch.no_grad():
        for part in (net.b1, net.b2, net.shared, net.c):
            for parameter in part.parameters():
                parameter.zero_()
    assert torch.equal(method.maps(IMAGES, LABELS), before)


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "resnet18", "test_efficientnet"])
def test_branches_sit_on_the_two_stages_before_the_last(arch: str) -> None:
    net: Any = Guided(arch, 2, stride=16).eval()
    seen: list[torch.Size] = []
    hooks = [
        module.register_forward_hook(lambda module, given, found: seen.append(found.shape)) for module, _ in stages(net.body)
    ]
    net.feature_map(IMAGES[:1])
    for hook in hooks:
        hook.remove()
    assert [shape[1] for shape in seen] == [channels for _, channels in stages(net.body)]
    assert [shape[-1] for shape in seen] == [32, 16, 8, 4, 4]
    assert net.b1[0].in_channels == seen[-3][1] and net.b2[0].in_channels == seen[-2][1]
    assert net.c[0][0].out_channels == WIDTH
