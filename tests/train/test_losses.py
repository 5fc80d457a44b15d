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
from dips.models.inputs import resize_to
from dips.train.crf import crf_loss
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


class _Sized(_Classifier):
    """Sees structure, so that its answer depends on the scale."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        edges = (images[..., 1:, 1:] - images[..., :-1, :-1]).abs()
        scores: Tensor = self.layer(10 * edges.mean((2, 3)))
        return scores


@pytest.mark.parametrize("size", [24, 16, 64])
def test_a_full_mask_scores_as_the_classifier_was_fitted(size: int) -> None:
    """The classifier was fitted on whole photos of side 32, resized to ``size``: it sees them so in the loss, too."""
    classifier, images = _Sized(), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([0, 1, 2])
    losses = Losses(classifier, replace(OFF, lambda_cls=1.0, resize=32, crop=32), classifier_size=size)
    full = torch.stack([torch.full((3, 32, 32), -50.0), torch.full((3, 32, 32), 50.0)], 1)
    _, parts = losses(full, images, torch.full((3, 32, 32), IGNORE), labels)
    fitted = resize_to(images, size)
    torch.testing.assert_close(classifier.seen[0], fitted)
    torch.testing.assert_close(parts["cls"], cross_entropy(classifier(fitted), labels))
    assert not torch.isclose(parts["cls"], cross_entropy(classifier(images), labels), rtol=0.01)  # as they come: another answer


def test_a_crop_shows_objects_as_large_as_in_the_whole_photo() -> None:
    """A crop of the middle of a photo, enlarged, is the middle of the enlarged photo, but for its outermost pixels."""
    classifier, photo = _Classifier(), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    losses = Losses(classifier, replace(OFF, lambda_cls=1.0, resize=32, crop=16), classifier_size=64)
    full = torch.stack([torch.full((1, 16, 16), -50.0), torch.full((1, 16, 16), 50.0)], 1)
    losses(full, photo[..., 8:24, 8:24], torch.full((1, 16, 16), IGNORE), torch.tensor([0]))
    (seen,) = classifier.seen
    assert seen.shape[-2:] == (32, 32)
    torch.testing.assert_close(seen[..., 1:-1, 1:-1], resize_to(photo, 64)[..., 17:47, 17:47])


def test_the_gradient_passes_through_the_resizing() -> None:
    localizer, classifier = _localizer(), _Sized()
    images, target, labels = _batch()
    losses = Losses(classifier, replace(OFF, lambda_cls=1.0, resize=20, crop=16), classifier_size=55)
    losses(localizer(images), images, target, labels)[0].backward()
    assert classifier.seen[0].shape[-2:] == (44, 44)
    for parameter in localizer.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_the_crf_loss_takes_its_size_from_the_settings() -> None:
    images, target, labels = _batch()
    logits = _localizer()(images)
    _, parts = Losses(None, replace(OFF, lambda_crf=1.0, crf_full=48))(logits, images, target, labels)
    torch.testing.assert_close(parts["crf"], crf_loss(logits.softmax(1)[:, 1], images, size=8, full=48).detach())


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
