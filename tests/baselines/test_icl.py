"""ICL: regions, contrast and consistency by hand, the attention by loops, and what each part teaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dips.baselines.adl import DROP_RATE, attention, importance
from dips.baselines.cam import Cam
from dips.baselines.icl import Icl, NonLocal, consistency, contrast, regions
from dips.baselines.study import Study

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


@pytest.fixture
def method(study: Study) -> Icl:
    torch.manual_seed(0)
    made = Icl()
    made.build(study)
    return made


def learnt(method: Icl) -> Any:
    """Return the network, with attention that has an effect."""
    net: Any = method.net
    with torch.no_grad():
        for block in net.blocks:
            block.gamma.fill_(0.5)
    return net


def test_regions_by_hand() -> None:
    found = regions(torch.tensor([[[[1.0, 0.6], [0.05, 0.3]]]]))
    # scaled from 0.05..1 to 0..1: 1, 0.58, 0, 0.26
    assert found.whole.flatten().tolist() == [True, True, False, False]
    assert found.rest.flatten().tolist() == [False, True, False, False]
    assert found.ground.flatten().tolist() == [False, False, True, False]
    assert found.dropped.flatten().tolist() == [True, False, True, False]


def test_contrast_by_hand() -> None:
    left, whole, ground = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert float(contrast(left, whole, ground)) == pytest.approx(1.2620, abs=1e-4)
    assert float(contrast(whole, whole, -whole)) == 0, "2 further from the background than from the object"


def test_consistency_by_hand_teaches_the_early_stage_alone() -> None:
    early = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    late = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    consistency(early, late).backward()
    assert early.grad is not None and early.grad.any() and late.grad is None
    same = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])
    assert float(consistency(same, 3 * same + 1)) == 0
    other = torch.tensor([[[[4.0, 1.0], [2.0, 0.0]]]])
    assert float(consistency(same, other)) == pytest.approx((1 + 0 + 0 + 1) / 4)


def test_non_local_attention_by_loops() -> None:
    torch.manual_seed(0)
    block = NonLocal(16)
    features = torch.randn(2, 16, 2, 3)
    assert torch.equal(block(features), features), "nothing before it learns"
    with torch.no_grad():
        block.gamma.fill_(2.0)
        found = block(features)
        query, key, value = (layer(features).flatten(2) for layer in (block.query, block.key, block.value))
    assert query.shape == key.shape == (2, 2, 6) and value.shape == (2, 16, 6)
    for photo in range(2):
        for place in range(6):
            weights = torch.stack([(query[photo, :, place] * key[photo, :, other]).sum() for other in range(6)]).softmax(0)
            heard = sum(weights[other] * value[photo, :, other] for other in range(6))
            expected = features[photo].flatten(1)[:, place] + 2 * heard
            torch.testing.assert_close(found[photo].flatten(1)[:, place], expected, rtol=1e-4, atol=1e-5)


def test_before_it_learns_it_is_a_plain_classifier(method: Icl, study: Study) -> None:
    plain = Cam()
    plain.build(study)
    plain.net.load_state_dict({name: value for name, value in method.state().items() if name in plain.net.state_dict()})
    assert torch.equal(method.maps(IMAGES, LABELS), plain.maps(IMAGES, LABELS))
    net = learnt(method)
    assert not torch.allclose(method.maps(IMAGES, LABELS), plain.maps(IMAGES, LABELS))
    torch.testing.assert_close(net(IMAGES), net.head(net.feature_map(IMAGES).mean((2, 3))))
    assert not any(module._forward_hooks for module in net.modules())


def test_parts_by_a_pass_of_their_own(method: Icl) -> None:
    net = learnt(method)
    body = net.body
    kept: set[tuple[bool, ...]] = set()
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        drops = [float(torch.rand((), generator=generator)) < DROP_RATE for _ in range(3)]
        kept.add(tuple(drops))
        with torch.no_grad():
            found = net.losses(IMAGES, LABELS, torch.Generator().manual_seed(seed))
            x, seen = body.blocks[:2](body.bn1(body.conv_stem(net.normalise(IMAGES)))), []
            for stage, block, drop in zip(body.blocks[2:], net.blocks, drops, strict=True):
                x = block(stage(x))
                seen.append(x)
                attended = attention(x)
                x = x * (1 - regions(attended).dropped.float() if drop else importance(attended))
            logits = net.head(body.bn2(body.conv_head(x)).mean((2, 3)))
            torch.testing.assert_close(found["class"], F.cross_entropy(logits, LABELS), rtol=1e-4, atol=1e-5)
            last, total = regions(attention(seen[-1])), 0.0
            for photo in range(3):
                vectors = []
                for mask in (last.rest[photo, 0], last.whole[photo, 0], last.ground[photo, 0]):
                    if mask.any():
                        vectors.append(F.normalize(net.project(seen[-1][photo][:, mask].mean(1)), dim=0)[None])
                total += float(contrast(*vectors)) if len(vectors) == 3 else 0.0
            assert float(found["contrast"]) == pytest.approx(total / 3, rel=1e-3)
            pairs = [float(consistency(attention(early), attention(seen[-1]))) for early in seen[:-1]]
            assert float(found["consistency"]) == pytest.approx(sum(pairs) / 2, rel=1e-4)
    assert len(kept) > 1


def test_a_photo_without_anything_left_counts_0(method: Icl) -> None:
    net: Any = method.net
    width = net.project.in_features
    features = torch.zeros(2, width, 2, 2)
    features[0, :, 0, 0] = 1  # a peak and ground
    features[1, 0] = torch.tensor([[1.0, 0.6], [0.0, 0.3]])
    features[1, 1] = torch.tensor([[0.0, 0.2], [0.5, 0.0]])  # so that the regions differ
    features.requires_grad_()
    both = net._contrast(features, regions(attention(features)))
    alone = net._contrast(features[1:], regions(attention(features[1:])))
    assert float(both.detach()) == pytest.approx(float(alone.detach()) / 2) and float(both.detach()) > 0
    both.backward()
    assert features.grad is not None and torch.isfinite(features.grad).all()
    assert not features.grad[0].any() and features.grad[1].any()


def test_what_each_part_teaches(method: Icl) -> None:
    net = learnt(method)
    for name, head, project, last in (
        ("class", True, False, True),
        ("contrast", False, True, True),
        ("consistency", False, False, False),
    ):
        net.zero_grad()
        net.losses(IMAGES, LABELS, torch.Generator().manual_seed(1))[name].backward()
        taught = [
            any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
            for part in (net.body.conv_stem, net.blocks[0], net.blocks[-1], net.project, net.head)
        ]
        assert taught == [True, True, last, project, head], name


def test_the_loss_is_the_weighted_sum(method: Icl) -> None:
    net = learnt(method)
    with torch.no_grad():
        parts = net.losses(IMAGES, LABELS, torch.Generator().manual_seed(1))
        total = parts["class"] + 0.1 * parts["contrast"] + 0.1 * parts["consistency"]
        torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator().manual_seed(1)), total)


def test_an_answer_needs_no_projection(method: Icl) -> None:
    net: Any = method.net
    assert method.parameters == sum(p.numel() for p in net.parameters()) - net.project.weight.numel()
    before = method.maps(IMAGES, LABELS)
    with torch.no_grad():
        net.project.weight.zero_()
    assert torch.equal(method.maps(IMAGES, LABELS), before)


def test_it_says_that_it_is_a_reading_of_the_abstract() -> None:
    assert all("abstract" in words for words in (Icl.title, Icl.paper, Icl.caveat))
