"""SCM: the graph, its inverse and what flows through it by hand, and what the loss reaches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dips.baselines.normalise import min_max
from dips.baselines.scm import ITERATIONS, Diffusion, Scm, attention_map, inverse, laplacian
from dips.baselines.study import Study
from dips.baselines.tscam import TsCam

# two patches side by side, whose class vectors have a cosine of 0.5
SEMANTIC = torch.tensor([[1.0, 0.5], [0.0, math.sqrt(0.75)]]).reshape(1, 2, 1, 2)


def built(study: Study) -> Scm:
    method = Scm()
    method.build(study)
    return method


def test_the_laplacian_of_a_grid() -> None:
    square = laplacian(2, 2)
    assert square.diagonal().tolist() == [2, 2, 2, 2] and square.sum(1).tolist() == [0, 0, 0, 0]
    assert square[0].tolist() == [2, -1, -1, 0], "the patch across has no edge"
    grid = laplacian(3, 4)
    for i in range(12):
        for j in range(12):
            apart = abs(i // 4 - j // 4) + abs(i % 4 - j % 4)
            neighbours = (i // 4 > 0) + (i // 4 < 2) + (i % 4 > 0) + (i % 4 < 3)
            assert grid[i, j] == (neighbours if i == j else -1 if apart == 1 else 0)
    assert laplacian(1, 1).tolist() == [[0]]


@pytest.mark.parametrize(("iterations", "expected"), [(16, 2.0), (4, 0.01594)])
def test_newton_and_schulz(iterations: int, expected: float) -> None:
    matrix = Diffusion(iterations).matrix(SEMANTIC)
    torch.testing.assert_close(matrix, torch.tensor([[[0, 0.5], [0.5, 0]]]), atol=1e-6, rtol=0)
    found = inverse(matrix, iterations)
    torch.testing.assert_close(found, torch.tensor([[[0, expected], [expected, 0]]]), atol=1e-5, rtol=1e-4)


def test_the_answer_to_a_singular_value() -> None:
    values = torch.tensor([0.1, 1.0, 5.0])
    expected = (1 - (1 - 0.002 * values.double() ** 2) ** 16) / values.double()
    found = inverse(values.diag()[None], 4)[0].diagonal()
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)


def test_with_lambda_two_the_matrix_is_the_identity() -> None:
    block = Diffusion(16)
    with torch.no_grad():
        block.weight.fill_(2)
    torch.testing.assert_close(block.matrix(SEMANTIC), torch.eye(2)[None], atol=1e-6, rtol=0)


def test_a_block_by_hand() -> None:
    """F' = (0, 2), over beta 0.5: (0, 4), tanhshrink (0, 3.0007), min-max (0, 1)."""
    with torch.no_grad():
        semantic, attention = Diffusion(16)(SEMANTIC, torch.tensor([[[1.0, 0.0]]]))
    torch.testing.assert_close(attention, torch.ones(1, 1, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(semantic, SEMANTIC * torch.tensor([1.0, 2.0]), atol=1e-4, rtol=1e-4)


def test_beta_says_what_is_little() -> None:
    """Three patches in a row, of orthogonal class vectors, lambda 3: what is inverted is ((2, 1, 0), (1, 4, 1), (0, 1, 2))."""
    semantic, attention = torch.eye(3).reshape(1, 3, 1, 3), torch.tensor([[[0.0, 1.0, 1.0]]])
    spread = torch.tensor([-1 / 12, 1 / 6, 5 / 12])
    middle = {}
    for scale in (0.5, 0.05):
        block = Diffusion(16)
        with torch.no_grad():
            block.weight.fill_(3)
            block.scale.fill_(scale)
            change = (block(semantic, attention)[1] - attention).flatten()
        shrunk = spread / scale - (spread / scale).tanh()
        torch.testing.assert_close(change, (shrunk - shrunk[0]) / (shrunk[2] - shrunk[0]), atol=1e-3, rtol=1e-3)
        middle[scale] = float(change[1])
    assert middle[0.5] < 0.1 and middle[0.05] > 0.3


def test_attention_is_summed_over_blocks_and_normalised_per_photo() -> None:
    torch.manual_seed(0)
    attention = torch.rand(2, 3, 4, 5, 5)
    found = attention_map(attention)
    for photo in range(2):
        total = attention[photo].mean(1).sum(0)
        torch.testing.assert_close(found[photo], (total - total.min()) / (total.max() - total.min()))


def test_constant_attention_gives_zeros_and_a_finite_gradient() -> None:
    semantic, attention = torch.randn(2, 3, 4, 4, requires_grad=True), torch.full((2, 4, 4), 0.3, requires_grad=True)
    block = Diffusion(16)
    spread, moved = block(semantic, min_max(attention))
    (spread.sum() + moved.sum()).backward()
    assert torch.equal(spread, semantic) and moved.abs().max() == 0
    for tensor in (semantic, attention, block.weight, block.scale):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_the_loss_reaches_the_attention(study: Study) -> None:
    method = built(study)
    method.loss(torch.rand(2, 3, 224, 224), torch.tensor([0, 1]), torch.Generator()).backward()
    net: Any = method.net
    assert [block.iterations for block in net.stack] == list(ITERATIONS)
    for parameter in (*net.head.parameters(), *(p for block in net.stack for p in (block.weight, block.scale))):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    first = net.vit.blocks[2]  # of the four that learn
    queries, keys, _ = first.attn.qkv.weight.grad.chunk(3)
    assert queries.abs().sum() > 0 and keys.abs().sum() > 0
    assert all(parameter.grad is None for block in net.vit.blocks[:2] for parameter in block.parameters())


def test_the_loss_reaches_the_class_row_of_every_block(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    vit = built(study).net.vit
    method = built(study)
    tokens, rows = vit.with_attention(torch.rand(2, 3, 224, 224))
    rows.retain_grad()
    monkeypatch.setattr(method.net.vit, "with_attention", lambda images: (tokens, rows))
    method.loss(torch.rand(2, 3, 224, 224), torch.tensor([0, 1]), torch.Generator()).backward()
    assert rows.grad is not None and (rows.grad.flatten(2).abs().sum((0, 2)) > 0).all()


def test_without_the_stack_it_is_ts_cam(study: Study) -> None:
    method, plain = built(study), TsCam()
    plain.build(study)
    plain.net.load_state_dict({name: value for name, value in method.state().items() if not name.startswith("stack.")})
    images, labels = torch.rand(2, 3, 224, 224), torch.tensor([2, 0])
    with torch.no_grad():
        torch.testing.assert_close(method.probabilities(images), plain.probabilities(images), rtol=0, atol=0)
        semantic, attention = plain.net.parts(images, labels)
        summed = attention.mean(2).sum(1)
        for photo in range(2):
            normal = (summed[photo] - summed[photo].min()) / (summed[photo].max() - summed[photo].min())
            coupled = semantic[photo] * normal
            expected = (coupled - coupled.min()) / (coupled.max() - coupled.min())
            torch.testing.assert_close(method.maps(images, labels)[photo], expected, rtol=1e-4, atol=1e-5)


def test_a_photo_has_its_map_whatever_else_is_in_the_batch(study: Study) -> None:
    method, images = built(study), torch.rand(3, 3, 224, 224)
    images[1] = 0.4
    labels = torch.tensor([0, 1, 2])
    with torch.no_grad():
        maps = method.maps(images, labels)
        assert maps.isfinite().all() and maps.min() >= 0 and maps.max() <= 1
        torch.testing.assert_close(maps[1:2], method.maps(images[1:2], labels[1:2]), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(method.net.spread(images)[2:], method.net.spread(images[2:]), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("small_crops")
def test_a_fit_comes_back_and_the_same_seed_gives_the_same(study: Study) -> None:
    first, second, again = Scm(), Scm(), Scm()
    fit = first.fit(study)
    second.fit(study)
    state = first.state()
    assert fit.steps >= 4 and all(torch.equal(value, second.state()[name]) for name, value in state.items())
    again.restore(study, state)
    images, labels = torch.rand(2, 3, 224, 224), torch.tensor([1, 2])
    assert torch.equal(again.maps(images, labels), first.maps(images, labels))
    assert state["stack.0.weight"] != 1 and state["stack.3.scale"] != 0.5, "the numbers of the blocks learn"
