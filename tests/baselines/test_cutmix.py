"""CutMix: the box, what is pasted, and the weights of both labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.baselines.cutmix import CutMix, draw_box, mix
from dips.baselines.study import Study

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


def test_mix_by_loops() -> None:
    images, order = torch.rand(3, 2, 5, 6), torch.tensor([2, 0, 1])
    before, (x0, y0, x1, y1) = images.clone(), (1, 2, 4, 5)
    found, kept = mix(images, order, (x0, y0, x1, y1))
    assert torch.equal(images, before)
    pasted = 0
    for b in range(3):
        for y in range(5):
            for x in range(6):
                inside = y0 <= y < y1 and x0 <= x < x1
                pasted += inside
                assert torch.equal(found[b, :, y, x], images[order[b] if inside else b, :, y, x])
    assert kept == pytest.approx(1 - pasted / (3 * 30)) == pytest.approx(0.7)
    untouched, whole = mix(images, order, (3, 3, 3, 3))
    assert torch.equal(untouched, images) and whole == 1


@settings(max_examples=60)
@given(height=st.integers(1, 40), width=st.integers(1, 40), kept=st.floats(0, 1), seed=st.integers(0, 99))
def test_box_lies_inside_and_is_no_larger_than_drawn(height: int, width: int, kept: float, seed: int) -> None:
    x0, y0, x1, y1 = draw_box(height, width, kept, torch.Generator().manual_seed(seed))
    assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
    assert (x1 - x0) * (y1 - y0) <= (1 - kept) * height * width + 1e-6


def test_boxes_are_centred_anywhere_and_keep_the_shape_of_the_photo() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([draw_box(100, 200, 0.96, generator) for _ in range(2000)]).double()
    inner = boxes[(boxes[:, 0] > 0) & (boxes[:, 1] > 0) & (boxes[:, 2] < 200) & (boxes[:, 3] < 100)]
    assert {tuple(row) for row in (inner[:, 2:] - inner[:, :2]).tolist()} == {(40.0, 20.0)}, "a fifth of each side"
    assert len(inner) / 2000 == pytest.approx(0.8 * 0.8, abs=0.05)
    assert inner[:, [0, 2]].mean().item() == pytest.approx(100, abs=5)


def test_loss_by_hand(study: Study) -> None:
    method = CutMix()
    method.build(study)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        lam = float(torch.rand((), generator=generator))
        order = torch.randperm(3, generator=generator)
        x0, y0, x1, y1 = draw_box(64, 64, lam, generator)
        pasted = IMAGES.clone()
        for b in range(3):
            pasted[b, :, y0:y1, x0:x1] = IMAGES[order[b], :, y0:y1, x0:x1]
        fraction = (x1 - x0) * (y1 - y0) / 64**2
        with torch.no_grad():
            scores = method.net(pasted).log_softmax(1)
            expected = (
                sum(-(1 - fraction) * scores[b, LABELS[b]] - fraction * scores[b, LABELS[order[b]]] for b in range(3)) / 3
            )
            torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator().manual_seed(seed)), expected)
