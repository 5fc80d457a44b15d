"""The fast CNN says what the plain one says, whatever its architecture, and never changes it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from dips.models.classifier import Classifier
from dips.models.folding import FastCnn
from dips.models.frozen import FrozenNetworks


def with_statistics(arch: str) -> Classifier:
    """A CNN whose batch norms have seen something: as they are built, they do nothing."""
    torch.manual_seed(0)
    classifier = Classifier(arch, 3)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, std=0.1)
    return classifier.eval()


def norms(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


@pytest.mark.parametrize("arch", ["test_efficientnet", "resnet18", "convnext_atto", "test_resnet"])
@torch.inference_mode()
def test_the_same_answers(arch: str) -> None:
    classifier, images = with_statistics(arch), torch.rand(3, 3, 96, 96)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    fast = FastCnn(classifier, 96)
    (stages, pooled), (own, own_pooled) = classifier.stages(images), fast.stages(images)
    assert norms(fast._classifier) <= norms(classifier) // 3, "nearly all are folded"
    for one, other in zip([*stages, pooled], [*own, own_pooled], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))
    after = classifier.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


class _Crossed(nn.Module):
    """Its norm is registered after the convolution, but runs before it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.body = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.body(self.conv(torch.tanh(self.norm(images)))))


@torch.inference_mode()
def test_nothing_is_folded_where_it_would_say_something_else() -> None:
    classifier = with_statistics("test_efficientnet")
    crossed = _Crossed(classifier.body)
    nn.init.normal_(crossed.norm.weight, 2)
    nn.init.normal_(crossed.norm.bias, 2)
    stages: list[dict[str, Any]] = [dict(stage) for stage in cast(Any, classifier.body).feature_info]
    cast(Any, crossed).feature_info = [{**stage, "module": f"body.{stage['module']}"} for stage in stages]
    classifier.body = crossed.eval()
    assert norms(FastCnn(classifier, 64)._classifier) == norms(classifier) > 0


@torch.inference_mode()
def test_frozen_networks_use_it_on_the_cpu() -> None:
    classifier, images = with_statistics("test_efficientnet"), torch.rand(2, 3, 64, 64)
    frozen = FrozenNetworks(classifier, side=64).eval()
    torch.testing.assert_close(frozen.look(images).pooled, classifier.features(images), rtol=1e-3, atol=1e-4)
    assert frozen._fast is not None and set(frozen.state_dict()) == {f"classifier.{name}" for name in classifier.state_dict()}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 3e38])
@torch.inference_mode()
def test_weights_that_are_not_numbers_are_left_as_they_are(number: float) -> None:
    """Who asks for their features says what is wrong with them."""
    classifier = with_statistics("test_efficientnet")
    first = next(module for module in classifier.modules() if isinstance(module, nn.Conv2d))
    first.weight[0, 0] = number
    _, pooled = FastCnn(classifier, 64).stages(torch.rand(1, 3, 64, 64))
    assert not pooled.isfinite().all()
