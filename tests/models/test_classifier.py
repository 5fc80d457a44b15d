"""The CNN: its features, stages and training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from dips.errors import DataError, WeightsError
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.classifier import Classifier, EpochResult
from dips.models.weights.resolve import Weights


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier("test_efficientnet", 2).eval()


def coloured(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Reddish and bluish noise: classes 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(count, 3, 32, 32, generator=generator), torch.arange(count) % 2
    images[labels == 0, 2] *= 0.3
    images[labels == 1, 0] *= 0.3
    return images, labels


def test_head_on_features_is_the_forward_pass(classifier: Classifier) -> None:
    images, labels = coloured(24)
    with torch.no_grad():
        features = classifier.features(images)
        fit = classifier.fit_head(features, labels)
        torch.testing.assert_close(classifier(images), classifier.head(features))
        accuracy = (classifier(images).argmax(1) == labels).float().mean().item()
        pooled = classifier.feature_map(images).mean((2, 3))
    assert features.shape == (24, classifier.width)
    assert accuracy == pytest.approx(fit.accuracy) == 1.0
    torch.testing.assert_close(pooled, features, atol=1e-4, rtol=1e-3)


def test_frozen_classifier_still_passes_gradients_to_the_image(classifier: Classifier) -> None:
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    classifier.freeze()(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_from_weights() -> None:
    torch.manual_seed(1)
    net: Any = timm.create_model("test_efficientnet").eval()
    model = Classifier.from_weights(Weights("test_efficientnet", "file", "f", "0", state=net.state_dict()), 5)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        normalised = model.normalise(images)
        expected: Any = net.forward_head(net.forward_features(normalised), pre_logits=True)
        torch.testing.assert_close(model.features(images), expected)
        assert model(images).shape == (1, 5)


def test_fit_full_learns_and_reports(classifier: Classifier) -> None:
    images, labels = coloured(16)
    seen: list[EpochResult] = []
    epochs: list[int] = []
    before = next(classifier.body.parameters()).clone()

    def batches(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        epochs.append(epoch)
        return [(images[:8], labels[:8]), (images[8:], labels[8:])]

    history = classifier.fit_full(batches, epochs=4, lr=0.01, device=torch.device("cpu"), on_epoch=seen.append)
    assert epochs == [0, 1, 2, 3]
    assert history == seen
    assert history[-1].loss < history[0].loss
    assert not classifier.training
    assert not torch.equal(before, next(classifier.body.parameters()))


def test_fit_full_takes_generators_and_refuses_nothing(classifier: Classifier) -> None:
    images, labels = coloured(4)
    cpu = torch.device("cpu")
    assert len(classifier.fit_full(lambda _: iter([(images, labels)]), epochs=1, lr=0.01, device=cpu)) == 1
    with pytest.raises(DataError, match="no photos"):
        classifier.fit_full(lambda _: [], epochs=1, lr=0.01, device=cpu)
    with pytest.raises(DataError, match=r"classifier\.lr"):
        classifier.fit_full(lambda _: [(images * float("nan"), labels)], epochs=1, lr=0.01, device=cpu)


@pytest.mark.parametrize("arch", ["test_efficientnet", "resnet18", "convnext_atto", "test_mambaout"])
def test_stages_of_any_cnn(arch: str) -> None:
    """Grids of stride 8, 16 and 32, and pooled features, in one pass; mambaout keeps its channels last."""
    torch.manual_seed(0)
    model = Classifier(arch, 3).eval()
    passes: list[Any] = []
    model.body.register_forward_hook(lambda *_: passes.append(1))
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        stages, pooled = model.stages(images)
        assert len(passes) == 1
        torch.testing.assert_close(pooled, model.features(images))
    pyramid: Any = timm.create_model(arch, features_only=True)
    expected = pyramid.feature_info
    last = expected.channels()[-3:]
    assert model.stage_channels == tuple(item.shape[1] for item in stages) and len(stages) in (2, 3)
    assert list(model.stage_channels[-len(stages) :]) == last[-len(stages) :]
    grids = [(96 // stride, 64 // stride) for stride in expected.reduction()[-3:] if stride >= 8]
    assert [tuple(item.shape[2:]) for item in stages] == grids
    assert all(module._forward_hooks == {} for module in model.body.children()), "hooks are left behind"


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_mambaout"])
def test_stages_are_timms_own(arch: str) -> None:
    """At 256 pixels and stride 8 mambaout's grids are as wide as they are deep: 32."""
    torch.manual_seed(0)
    model = Classifier(arch, 3).eval()
    pyramid: Any = timm.create_model(arch, features_only=True).eval()
    state = {name.replace("stages.", "stages_"): value for name, value in model.body.state_dict().items()}
    pyramid.load_state_dict({name: state[name] for name in pyramid.state_dict()})
    images = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        expected = pyramid(model.normalise(images))[-3:]
        stages, _ = model.stages(images)
    for got, other in zip(stages, expected, strict=True):
        torch.testing.assert_close(got, other.permute(0, 3, 1, 2) if arch == "test_mambaout" else other)


def test_a_network_of_coarse_stages_alone_or_of_one(classifier: Classifier) -> None:
    """Where all strides are below 8, the last stage stands alone."""
    images = torch.rand(1, 3, 64, 64)
    info: Any = classifier.body.feature_info
    classifier.body.feature_info = info[:2]
    assert classifier.stage_channels == (24,)
    (stage,), _ = classifier.stages(images)
    assert stage.shape == (1, 24, 16, 16)


@pytest.mark.parametrize("harm", ["nothing", "no module", "no such module"])
def test_networks_without_stages(classifier: Classifier, harm: str) -> None:
    info: Any = classifier.body.feature_info
    changed: Any = [{**stage, "module": "" if harm == "nothing" else "stage9"} for stage in info]
    if harm == "nothing":
        del classifier.body.feature_info
    else:
        for stage in changed if harm == "no module" else ():
            del stage["module"]
        classifier.body.feature_info = changed
    for act in (lambda: classifier.stage_channels, lambda: classifier.stages(torch.rand(1, 3, 32, 32))):
        with pytest.raises(WeightsError, match=r"classifier\.arch.*'test_efficientnet'.*choose another CNN"):
            act()


def test_tokens_are_no_stages() -> None:
    with pytest.raises(WeightsError, match=r"classifier\.arch.*'test_vit'.*choose another CNN"):
        Classifier("test_vit", 2).eval().stages(torch.rand(1, 3, 160, 160))


def test_all_layers_learn_shared_labels() -> None:
    torch.manual_seed(0)
    network = Classifier("test_efficientnet", 3)
    images, targets = torch.rand(4, 3, 32, 32), torch.tensor([[0.5, 0.5, 0], [0.5, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    history = network.fit_full(lambda epoch: [(images, targets)], epochs=8, lr=0.05, device=torch.device("cpu"))
    assert history[-1].loss < history[0].loss and history[-1].accuracy == 1, "the class that all share is right"
