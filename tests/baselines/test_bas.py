"""BAS: what is left outside of the map, who learns of it, and what the map is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dips.baselines.bas import Bas, suppression
from dips.baselines.study import Study
from dips.models.backbones import stages

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


@pytest.fixture
def method(study: Study) -> Bas:
    torch.manual_seed(0)
    made = Bas()
    made.build(study)
    net: Any = made.net
    with torch.no_grad():
        mean = net.feature_map(IMAGES).mean((0, 2, 3))
        net.head.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]) * mean)  # so that other features score less
        net.foreground.weight.mul_(20)  # and maps are sure
    return made


def test_suppression_by_hand() -> None:
    background, whole = torch.tensor([1.0, 3.0, 0.5, -1.0, 2.0], requires_grad=True), torch.tensor([4.0, 2.0, -1.0, 2.0, 2.0])
    found = suppression(background, whole)
    assert found.tolist() == [0.25, 0, 0, 0, 0]
    found.sum().backward()
    assert background.grad is not None and background.grad.tolist() == [0.25, 0, 0, 0, 0]


def test_the_whole_gets_no_gradient() -> None:
    whole = torch.tensor([2.0], requires_grad=True)
    assert not suppression(torch.tensor([1.0]), whole).requires_grad


def test_copies_score_as_the_layers_do_and_remember_nothing(method: Bas) -> None:
    net: Any = method.net
    with torch.no_grad():
        features, inner, maps = net.both(IMAGES)
        torch.testing.assert_close(features, net.feature_map(IMAGES))
        assert inner.shape == (3, stages(net.body)[-2][1], 4, 4) and maps.shape == (3, 3, 4, 4)
        assert maps.min() >= 0 and maps.max() <= 1 and maps.std() > 0.1
        torch.testing.assert_close(net.scores_of(inner, IMAGES), net(IMAGES))
        torch.testing.assert_close(net.scores_of(inner, IMAGES.flip(0)), net(IMAGES), msg="whatever the photos are")
        assert not torch.allclose(net.scores_of(inner * 0.5, IMAGES), net(IMAGES))
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.scores_of(inner, IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_parts_by_a_pass_of_their_own(method: Bas) -> None:
    net: Any = method.net
    body = net.body

    def tail(x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = body.bn2(body.conv_head(body.blocks[4:](x)))
        return features

    with torch.no_grad():
        found = method.losses(IMAGES, LABELS)
        inner = body.blocks[:4](body.bn1(body.conv_stem(net.normalise(IMAGES))))
        maps = torch.stack([net.foreground(inner)[photo, label] for photo, label in enumerate(LABELS)])[:, None].sigmoid()
        whole, outside = net.head(tail(inner).mean((2, 3))), net.head(tail(inner * (1 - maps)).mean((2, 3)))
        inside = net.head((tail(inner) * maps).mean((2, 3)))
        scores = [(float(outside[i, label]), float(whole[i, label])) for i, label in enumerate(LABELS)]
        left = [max(rest, 0) / full if rest < full else 0 for rest, full in scores]
        assert 0 < sum(left) < 3
        assert float(found["suppression"]) == pytest.approx(sum(left) / 3, rel=1e-4)
        assert float(found["area"]) == pytest.approx(float(maps.mean()), rel=1e-5)
        torch.testing.assert_close(found["class"], F.cross_entropy(whole, LABELS))
        torch.testing.assert_close(found["guidance"], F.cross_entropy(inside, LABELS))
        total = found["class"] + found["suppression"] + 1.2 * found["area"] + 0.5 * found["guidance"]
        torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator()), total)


def test_what_each_part_teaches(method: Bas) -> None:
    """Suppression and area teach the maps, and by them the layers in front, but neither those behind nor the class scores."""
    net: Any = method.net
    last = stages(net.body)[-1][0]
    for name, maps, behind in (
        ("class", False, True),
        ("suppression", True, False),
        ("area", True, False),
        ("guidance", True, True),
    ):
        net.zero_grad()
        method.losses(IMAGES, LABELS)[name].backward()
        taught = [
            any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
            for part in (net.body.conv_stem, net.foreground, last, net.body.conv_head, net.head)
        ]
        assert taught == [True, maps, behind, behind, behind], name


def test_a_class_learns_from_its_own_photos(method: Bas) -> None:
    net: Any = method.net
    method.losses(IMAGES[:1], LABELS[:1])["area"].backward()
    assert [bool(row.any()) for row in net.foreground.weight.grad] == [False, False, True]


def test_the_map_is_the_mean_over_the_classes_with_an_object(method: Bas, study: Study) -> None:
    method.freeze()
    maps = method.net.both(IMAGES)[2]  # type: ignore[operator]
    torch.testing.assert_close(method.activations(IMAGES, LABELS), maps.mean(1))
    study.background = 1
    method.take(study)
    torch.testing.assert_close(method.activations(IMAGES, LABELS), (maps[:, 0] + maps[:, 2]) / 2)
