"""C2AM: its losses by loops, what they teach, which side is the object, and that a fit comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dips.baselines.c2am import (
    ALPHA,
    MARGIN,
    C2am,
    Disentangler,
    active_border,
    negative_contrast,
    pool_sides,
    positive_contrast,
)
from dips.baselines.study import Study
from dips.errors import DataError
from dips.models.classifier import Classifier


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(p: np.ndarray, q: np.ndarray) -> float:
    return min(max(float(p @ q / np.sqrt(p @ p * (q @ q))), MARGIN), 1 - MARGIN)


def test_sides_by_loops() -> None:
    features, activation = made(2, 3, 4, 5), made(2, 4, 5, seed=1)
    active, other = pool_sides(features, activation)
    for b in range(2):
        for f in range(3):
            inside = outside = 0.0
            for i in range(4):
                for j in range(5):
                    inside += float(activation[b, i, j] * features[b, f, i, j]) / 20
                    outside += float((1 - activation[b, i, j]) * features[b, f, i, j]) / 20
            assert float(active[b, f]) == pytest.approx(inside, rel=1e-5)
            assert float(other[b, f]) == pytest.approx(outside, rel=1e-5)


def test_negative_contrast_by_loops() -> None:
    left, right = made(4, 6), made(4, 6, seed=1)
    pairs = [-math.log(1 - cosine(p, q)) for p in left.double().numpy() for q in right.double().numpy()]
    assert float(negative_contrast(left, right)) == pytest.approx(sum(pairs) / 16, rel=1e-4)
    assert float(negative_contrast(left, left)) == pytest.approx(float(negative_contrast(left, 3 * left)), rel=1e-4)
    assert math.isfinite(float(negative_contrast(left, left))), "a cosine of 1 has a logarithm all the same"


@pytest.mark.parametrize("alpha", [0.0, 0.25, 2.0])
def test_positive_contrast_by_loops(alpha: float) -> None:
    features = made(5, 6)
    rows = features.double().numpy()
    total = 0.0
    for i in range(5):
        close = sorted((cosine(rows[i], rows[j]) for j in range(5) if j != i), reverse=True)
        total += sum(-math.exp(-alpha * rank) * math.log(value) for rank, value in enumerate(close))
    assert float(positive_contrast(features, alpha)) == pytest.approx(total / 20, rel=1e-4)
    assert float(positive_contrast(features[:1], alpha)) == 0, "a single photo has no pair"


def network(study: Study) -> Disentangler:
    torch.manual_seed(0)
    return Disentangler(Classifier.from_weights(study.cnn, 1, stride=study.stride))


@pytest.mark.parametrize("part", ["negative", "positive, active side", "positive, other side"])
def test_each_loss_teaches_disentangler_and_features(part: str, study: Study) -> None:
    net = network(study).train()
    active, other = pool_sides(*net(made(3, 3, 64, 64)))
    if part == "negative":
        negative_contrast(active, other).backward()
    else:
        positive_contrast(active if "active" in part else other, ALPHA).backward()
    convolution: Any = net.head[0]
    assert convolution.weight.grad.abs().sum() > 0
    taught = {name for name, parameter in net.body.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert {"conv_stem.weight", "blocks.3.0.conv_pwl.weight", "conv_head.weight"} <= taught


def test_features_are_those_of_the_last_two_stages_on_one_grid(study: Study) -> None:
    net = network(study)
    body: Any = net.body
    images = made(2, 3, 64, 64)
    before = body.blocks[:4](body.bn1(body.conv_stem(net.normalise(images))))
    last = body.forward_features(net.normalise(images))
    assert before.shape[2:] == last.shape[2:] == (4, 4), "stride 16"
    torch.testing.assert_close(net.features(images), torch.cat([last, before], 1).clamp(min=0))
    assert not any(module._forward_hooks for module in net.modules())


def test_border_by_hand() -> None:
    activation = torch.full((2, 3, 4), 0.4)
    activation[:, 1, 1:3] = 0.9
    assert float(active_border(activation)) == 0, "the middle is no border"
    activation[0, 0] = 0.6
    # in one photo of two: the upper edge, and a third of each side's
    assert float(active_border(activation)) == pytest.approx((1 / 2 + 0 + 1 / 6 + 1 / 6) / 4)
    assert float(active_border(1 - activation)) == pytest.approx(1 - (1 / 2 + 1 / 3) / 4)


class Painted(nn.Module):
    """Answers the same whatever it is given."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, features: Tensor) -> Tensor:
        return self.answer


def test_the_side_at_the_border_is_the_ground(study: Study) -> None:
    images = made(2, 3, 64, 64)
    middle = torch.zeros(2, 1, 4, 4)
    middle[:, :, 1:3, 1:3] = 1
    net: Any = network(study)
    for sign in (1, -1):
        net.train()
        net.head = Painted(sign * (20 * middle - 10))
        for _ in range(40):
            net(images)
        net.eval()
        torch.testing.assert_close(net.foreground(images), middle[:, 0], rtol=0, atol=1e-4)
        known = net.border.clone()
        assert (known > 0.5) == (sign == -1)
        net.head = Painted(-sign * (20 * middle - 10))
        torch.testing.assert_close(net.foreground(images), 1 - middle[:, 0], rtol=0, atol=1e-4)
        assert torch.equal(net.border, known), "photos that are answered have no say"


def test_learns_from_photos_with_an_object_and_comes_back(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.background = 2
    method = C2am()
    seen: list[int] = []
    loss = method.loss

    def watched(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        seen.extend(labels.tolist())
        return loss(images, labels, generator)

    monkeypatch.setattr(method, "loss", watched)
    fit = method.fit(study)
    assert fit.steps == 4 + 4 and set(seen) == {0, 1} and method.labels == "none"
    assert len(study.train) == 6, "the study's photos are as before"
    images, labels = study.val.batch([0, 1, 2], method.side, study.device)
    maps = method.maps(images, labels)
    assert maps.shape == (3, 14, 14) and maps.min() >= 0 and torch.equal(maps.amax((1, 2)), torch.ones(3))
    assert torch.equal(maps, method.maps(images, labels.flip(0))), "whatever class is looked for"
    assert method.probabilities(images) is None
    state = method.state()
    assert 0 < float(state["border"]) < 1 and float(state["border"]) != 0.5

    again = C2am()
    again.restore(study, state)
    torch.testing.assert_close(again.maps(images, labels), maps, rtol=0, atol=0)
    turned = C2am()
    turned.restore(study, state | {"border": 1 - state["border"]})
    assert not torch.allclose(turned.maps(images, labels), maps)


def test_needs_a_photo_with_an_object(study: Study) -> None:
    study.background = 1
    study.train = type(study.train)(study.train.samples[1::3], study.train.digests[1::3], study.train.shelf)
    with pytest.raises(DataError, match="no photo"):
        C2am().fit(study)
