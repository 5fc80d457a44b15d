"""Each loss reaches the localizer, counts what it should count, and can be switched off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dips.config import TrainConfig
from dips.errors import ConfigError
from dips.train.losses import Losses, classifier_loss, partial_cross_entropy
from dips.train.sampling import IGNORE

OFF = TrainConfig(lambda_cpa=0.0, lambda_cls=0.0, lambda_crf=0.0, crf_size=8, crf_full=16)


def _localizer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 2, 3, padding=1)


class _Classifier(nn.Module):
    """Three classes from the mean colour; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(3, 3)
        self.seen: list[Tensor] = []
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        scores: Tensor = self.layer(images.mean((2, 3)))
        return scores


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(3, 3, 16, 16, generator=generator)
    target = torch.full((3, 16, 16), IGNORE)
    target[0, :2], target[0, 10:] = 1, 0
    target[1, 5, 5] = 1
    return images, target, torch.tensor([0, 1, 2])


@pytest.mark.parametrize("name", ["cpa", "cls", "crf"])
def test_each_loss_alone_reaches_every_parameter(name: str) -> None:
    localizer, classifier = _localizer(), _Classifier()
    images, target, labels = _batch()
    weight: dict[str, Any] = {f"lambda_{name}": 1.0}
    losses = Losses(classifier, replace(OFF, **weight))
    total, parts = losses(localizer(images), images, target, labels)
    assert set(parts) == {name} and not parts[name].requires_grad
    total.backward()
    for parameter in localizer.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_total_is_the_weighted_sum() -> None:
    images, target, labels = _batch()
    config = replace(OFF, lambda_cpa=2.0, lambda_cls=0.5, lambda_crf=1e-3)
    total, parts = Losses(_Classifier(), config)(_localizer()(images), images, target, labels)
    torch.testing.assert_close(total, 2 * parts["cpa"] + 0.5 * parts["cls"] + 1e-3 * parts["crf"])


def test_weight_zero_switches_the_computation_off() -> None:
    classifier = _Classifier()
    images, target, labels = _batch()
    Losses(classifier, replace(OFF, lambda_cpa=1.0))(_localizer()(images), images, target, labels)
    assert classifier.seen == []


def test_partial_cross_entropy_is_the_mean_over_the_labelled_pixels() -> None:
    images, target, _ = _batch()
    logits = _localizer()(images)
    kept = target != IGNORE
    expected = cross_entropy(logits.permute(0, 2, 3, 1)[kept], target[kept])
    torch.testing.assert_close(partial_cross_entropy(logits, target), expected)


def test_no_labelled_pixel_gives_zero_with_a_graph() -> None:
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    loss = partial_cross_entropy(logits, torch.full((2, 4, 4), IGNORE))
    loss.backward()
    assert loss == 0 and logits.grad is not None and (logits.grad == 0).all()


def test_classifier_sees_the_image_times_the_foreground_without_background_photos() -> None:
    classifier = _Classifier()
    images, _, labels = _batch()
    foreground = torch.rand(3, 16, 16)
    losses = Losses(classifier, replace(OFF, lambda_cls=1.0), background=1)
    logits = torch.stack([torch.zeros_like(foreground), foreground.logit()], 1)
    _, parts = losses(logits, images, torch.full((3, 16, 16), IGNORE), labels)
    seen = images[[0, 2]] * foreground[[0, 2], None]
    torch.testing.assert_close(classifier.seen[0], seen)
    torch.testing.assert_close(parts["cls"], cross_entropy(classifier(seen), labels[[0, 2]]))


def test_only_background_photos_give_zero_with_a_graph() -> None:
    foreground = torch.rand(2, 4, 4, requires_grad=True)
    loss = classifier_loss(_Classifier(), foreground, torch.rand(2, 3, 4, 4), torch.tensor([-1, -1]))
    loss.backward()
    assert loss == 0 and foreground.grad is not None


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="lambda_cls"):
        Losses(None, replace(OFF, lambda_cls=1.0))
    with pytest.raises(ConfigError, match="nothing would be learned"):
        Losses(None, OFF)
