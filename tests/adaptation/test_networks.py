"""Student and teacher: what they share, what moves, and that what comes out is the transformer that went in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dips.adaptation.networks import Head, Twins, follow

from .conftest import make_vit, same

IMAGES = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(3))


def twins_of(*, blocks: int = 2, name: str = "vit_tiny_patch16_224", **overrides: Any) -> Twins:
    torch.manual_seed(0)
    return Twins(make_vit(name, **overrides), blocks=blocks, head=Head(48, 16, hidden=32, bottleneck=8))


def test_outputs_are_cosines() -> None:
    head = Head(48, 16, hidden=32, bottleneck=8)
    assert head.unit_prototypes().norm(dim=1).tolist() == pytest.approx([1.0] * 16, rel=1e-5)
    tokens = torch.randn(5, 48)
    outputs = head(tokens)
    assert outputs.shape == (5, 16) and outputs.abs().max() <= 1 + 1e-6
    hidden = head.layers(tokens)
    expected = torch.nn.functional.cosine_similarity(hidden[:, None], head.prototypes[None], dim=-1)
    assert torch.allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2, 3, 99])
def test_the_parts_are_the_whole(blocks: int) -> None:
    whole = make_vit()
    twins = twins_of(blocks=blocks)
    entry = twins.enter(IMAGES)
    expected = whole.tokens(IMAGES)[:, 0]
    for part in (twins.student, twins.teacher):
        assert torch.equal(part.body(entry), expected)
    assert len(twins.student.blocks) == min(blocks, 3)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("vit_small_patch14_reg4_dinov2", {"patch": 14, "img_size": 56}),
        ("vit_small_patch16_dinov3", {"patch": 8}),
    ],
)
def test_other_families_too(name: str, overrides: dict[str, Any]) -> None:
    whole, twins = make_vit(name, **overrides), twins_of(name=name, **overrides)
    images = torch.rand(2, 3, 4 * whole.patch, 3 * whole.patch)
    larger = torch.rand(1, 3, 5 * whole.patch, 5 * whole.patch)
    entries = twins.enter(images), twins.enter(larger)  # one does not disturb the other
    for entry, seen in zip(entries, (images, larger), strict=True):
        assert torch.allclose(twins.teacher.body(entry), whole.tokens(seen)[:, 0], atol=1e-5)
    assert same(twins.adapted(), whole.net.state_dict())


def test_gradients_reach_what_learns_and_nothing_else() -> None:
    twins = twins_of(blocks=2)
    entry = twins.enter(IMAGES)
    twins.student.head(twins.student.body(entry)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in twins.student.parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in twins.teacher.parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in twins.below.parameters())


def test_what_is_kept_is_the_teacher() -> None:
    twins, whole = twins_of(blocks=2), make_vit()
    assert same(twins.adapted(), whole.net.state_dict())
    with torch.no_grad():
        for parameter in twins.teacher.parameters():
            parameter.add_(1)
        for parameter in twins.student.parameters():
            parameter.add_(5)
    before, after = whole.net.state_dict(), twins.adapted()
    for name, value in after.items():
        learned = name.startswith(("blocks.1.", "blocks.2.", "norm."))
        assert torch.equal(value, before[name] + 1 if learned else before[name]), name


def test_the_teacher_follows_exactly() -> None:
    teacher, student = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(teacher.weight)
    torch.nn.init.ones_(student.weight)
    follow(teacher, student, 0.9)
    assert teacher.weight.item() == pytest.approx(0.1)
    follow(teacher, student, 0.9)
    assert teacher.weight.item() == pytest.approx(0.19)
    follow(teacher, student, 1.0)
    assert teacher.weight.item() == pytest.approx(0.19) and student.weight.item() == 1
