"""CAM and C2AM on the frozen transformer: by loops, what learns, and that a fit comes back."""

from __future__ import annotations

import pytest
import torch

from dips.baselines import normalise
from dips.baselines.study import Study
from dips.baselines.tokens import C2amTokens, CamTokens, KeySides
from dips.models.linear_probe import fit_linear

LABELS = torch.tensor([2, 0, 1])


def keys_by_hand(study: Study, images: torch.Tensor) -> torch.Tensor:
    """Keys ``(B, h, w, D)`` of length 1."""
    keys: torch.Tensor = study.transformer.network(images).keys
    return keys / keys.square().sum(-1, keepdim=True).sqrt()


def test_activations_by_loops(study: Study) -> None:
    method = CamTokens()
    method.fit(study)
    assert method.side == 64 and method.labels == "image" and method.shares
    images, _ = study.val.batch(range(3), 64, study.device)
    keys = keys_by_hand(study, images)
    weight, bias = method.probe.head.weight, method.probe.head.bias
    expected = torch.zeros(keys.shape[:3])
    for photo, label in enumerate(LABELS):
        for i in range(keys.shape[1]):
            for j in range(keys.shape[2]):
                expected[photo, i, j] = keys[photo, i, j] @ weight[label]
    maps = method.maps(images, LABELS)
    torch.testing.assert_close(maps, normalise.min_max(expected), rtol=1e-4, atol=1e-4)
    assert maps.min() >= 0 and maps.max() <= 1
    logits = keys.mean((1, 2)) @ weight.T + bias
    torch.testing.assert_close(method.probabilities(images), logits.softmax(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.maps(images[:1], LABELS[:1]), maps[:1], rtol=1e-4, atol=1e-4, msg="alone as in a batch")
    assert torch.isfinite(method.maps(torch.full((1, 3, 64, 64), 0.5), LABELS[:1])).all(), "a photo of one colour"


def test_the_classifier_is_that_of_the_closed_form(study: Study) -> None:
    method = CamTokens()
    fit = method.fit(study)
    assert fit.steps == 0
    images, labels = study.train.batch(range(6), 64, study.device)
    weight, bias, _ = fit_linear(keys_by_hand(study, images).mean((1, 2)), labels, 3)
    torch.testing.assert_close(method.probe.head.weight, weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(method.probe.head.bias, bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [CamTokens, C2amTokens])
def test_a_fit_comes_back_without_the_transformer(study: Study, kind: type[CamTokens] | type[C2amTokens]) -> None:
    method, again = kind(), kind()
    method.fit(study)
    state = method.state()
    assert {name.split(".")[0] for name in state} <= {"head", "border"}
    again.restore(study, state)
    images, _ = study.val.batch(range(3), method.side, study.device)
    torch.testing.assert_close(again.maps(images, LABELS), method.maps(images, LABELS), rtol=0, atol=0)
    transformer = sum(p.numel() for p in study.transformer.network.parameters())
    own = sum(p.numel() for p in method.network.parameters())
    assert method.parameters == transformer + own and own < transformer


def test_the_disentangler_learns_alone(study: Study) -> None:
    method = C2amTokens()
    before = {name: value.clone() for name, value in study.transformer.network.state_dict().items()}
    study.background = 2
    fit = method.fit(study)
    assert fit.steps == 4 and method.labels == "none" and "step 0" not in fit.chosen
    assert all(torch.equal(value, before[name]) for name, value in study.transformer.network.state_dict().items())
    images, _ = study.val.batch(range(3), method.side, study.device)
    maps = method.maps(images, LABELS)
    assert torch.equal(maps.amax((1, 2)), torch.ones(3)) and maps.min() >= 0
    assert torch.equal(maps, method.maps(images, LABELS.flip(0))), "whatever class is looked for"
    assert method.probabilities(images) is None


def test_losses_reach_the_convolution(study: Study) -> None:
    net = KeySides(study.transformer, 64).train()
    images, _ = study.train.batch(range(6), 64, study.device)
    method = C2amTokens()
    method.net = net
    features = net.features(images)
    assert features.min() == 0 and not features.requires_grad
    method.loss(images, LABELS, torch.Generator()).backward()
    gradients = [p.grad for p in net.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
