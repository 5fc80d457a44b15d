"""The linear fit against scikit-learn and its laws, and the network around it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from dips.errors import DataError, WeightsError
from dips.models import classifier as module
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.classifier import Classifier, EpochResult, LinearProbe, balance_classes, fit_linear
from dips.models.weights.resolve import Weights


def clusters(
    seed: int = 0, per_class: int = 20, classes: int = 3, width: int = 6, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator) * 2
    labels = torch.arange(classes).repeat(per_class)
    return centres[labels] + spread * torch.randn(len(labels), width, generator=generator), labels


def test_equals_scikit_learn() -> None:
    x, y = clusters(spread=3.0)
    keep = torch.ones(len(y), dtype=torch.bool)
    keep[y == 2] = torch.arange(int((y == 2).sum())) % 3 == 0
    x, y = x[keep] * torch.tensor([1, 10, 0.1, 1, 1, 1]) + 5, y[keep]
    weight, bias, fit = fit_linear(x, y, 3, penalty=0.01)
    scaled = StandardScaler().fit_transform(x.double().numpy())
    reference = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8, max_iter=2000)
    expected = reference.fit(scaled, y.numpy()).predict_proba(scaled)
    actual = (x @ weight.T + bias).softmax(1).numpy()
    np.testing.assert_allclose(actual, expected, atol=2e-3)
    assert fit.accuracy == pytest.approx(reference.score(scaled, y.numpy()))
    assert 0.4 < fit.accuracy < 1, "the problem should be neither hopeless nor trivial"


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-50, 50), seed=st.integers(0, 5))
def test_scale_and_origin_of_features_do_not_matter(scale: float, shift: float, seed: int) -> None:
    x, y = clusters(seed, per_class=8, spread=2.0)
    weight, bias, _ = fit_linear(x, y, 3, penalty=0.01)
    changed, changed_bias, _ = fit_linear(x.double() * scale + shift, y, 3, penalty=0.01)
    left = (x @ weight.T + bias).softmax(1)
    right = ((x.double() * scale + shift) @ changed.T.double() + changed_bias.double()).softmax(1)
    torch.testing.assert_close(left.double(), right, atol=5e-3, rtol=0)


def test_renaming_classes_renames_rows() -> None:
    x, y = clusters(spread=2.0)
    order = torch.tensor([2, 0, 1])
    weight, _, _ = fit_linear(x, y, 3, penalty=0.01)
    renamed, _, _ = fit_linear(x, order[y], 3, penalty=0.01)
    torch.testing.assert_close(renamed[order], weight, atol=1e-4, rtol=1e-3)


def test_penalty_is_chosen_on_held_out_photos() -> None:
    easy_x, y = clusters(spread=0.5, per_class=30)
    noise = torch.randn(90, 60, generator=torch.Generator().manual_seed(1))
    _, _, easy = fit_linear(easy_x, y, 3)
    _, _, hard = fit_linear(noise, y, 3)
    assert easy.held_out == 1.0
    assert hard.held_out is not None and hard.held_out < 0.7
    assert hard.penalty > easy.penalty
    _, _, few = fit_linear(easy_x[:6], y[:6], 3)
    assert few.held_out is None


def test_balance_helps_the_rare_class() -> None:
    x, y = clusters(classes=2, per_class=100, spread=4.0, width=2)
    keep = (y == 0) | (torch.arange(len(y)) < 20)
    x, y = x[keep], y[keep]
    recall = []
    for strength in (0.0, 0.5, 1.0):
        probe = LinearProbe(2, 2)
        probe.fit(x, y, penalty=0.01)
        balance_classes(probe.head, y, strength)
        recall.append((probe(x).argmax(1)[y == 1] == 1).float().mean().item())
    assert recall[0] < recall[1] < recall[2]


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any), strength=st.floats(0, 1))
def test_balance_takes_the_logarithm_of_the_fractions_off(counts: list[int], strength: float) -> None:
    probe = LinearProbe(3, len(counts))
    before = probe.head.bias.detach().clone()
    balance_classes(probe.head, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), strength)
    shift = (before - probe.head.bias).detach()
    present = [c for c, count in enumerate(counts) if count]
    for c in present:
        expected = strength * (math.log(counts[c]) - math.log(counts[present[0]]))
        assert (shift[c] - shift[present[0]]).item() == pytest.approx(expected, abs=1e-5)
    assert all(shift[c] == 0 for c in range(len(counts)) if not counts[c])
    if len(set(counts)) == 1:
        assert torch.equal(before, probe.head.bias), "classes of one size are left exactly as they are"


def test_absent_class_and_constant_feature() -> None:
    x, y = clusters(classes=2)
    x[:, 0] = 3.0
    weight, bias, fit = fit_linear(x, y, 4, penalty=0.01)
    assert weight.shape == (4, 6)
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()
    assert set((x @ weight.T + bias).argmax(1).tolist()) == {0, 1}
    assert fit.accuracy > 0.9


def test_fit_is_deterministic() -> None:
    x, y = clusters()
    assert torch.equal(fit_linear(x, y, 3)[0], fit_linear(x, y, 3)[0])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.ones(0, 3), torch.zeros(0, dtype=torch.long), "cannot fit"),
        (torch.ones(2, 3), torch.tensor([0, 5]), "labels run from 0 to 5, but the number of classes is 3"),
        (torch.full((2, 3), float("nan")), torch.tensor([0, 1]), "not finite"),
        (torch.ones(2, 3), torch.tensor([0, 1, 2]), "cannot fit"),
    ],
)
def test_bad_input(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_linear(features, labels, 3)


def test_probe() -> None:
    x, y = clusters()
    probe = LinearProbe(6, 3)
    fit = probe.fit(x, y)
    assert (probe(x).argmax(1) == y).float().mean().item() == pytest.approx(fit.accuracy)


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


def shared(labels: Tensor, others: Tensor, classes: int) -> Tensor:
    """Probabilities of photos of which some have two labels."""
    both = F.one_hot(labels, classes) + F.one_hot(others, classes)
    return both / both.sum(1, keepdim=True)


def test_several_labels_are_copies_of_the_photo_with_each_of_them() -> None:
    """Weighted by 1 / L: with two labels each, the fit is that of every photo twice."""
    x, y = clusters(classes=4, spread=3.0)
    others = (y + 1 + torch.arange(len(y)) % 3) % 4
    weight, bias, fit = fit_linear(x, shared(y, others, 4), 4, penalty=0.01)
    twice, twice_bias, _ = fit_linear(torch.cat([x, x]), torch.cat([y, others]), 4, penalty=0.01)
    torch.testing.assert_close(weight, twice, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(bias, twice_bias, atol=1e-3, rtol=1e-3)
    predicted = (x @ weight.T + bias).argmax(1)
    assert fit.accuracy == pytest.approx(float(((predicted == y) | (predicted == others)).double().mean()))


def test_a_single_label_is_the_same_as_a_certain_one() -> None:
    x, y = clusters(spread=2.0)
    (one, _, plain), (other, _, certain) = (fit_linear(x, item, 3) for item in (y, F.one_hot(y, 3).float()))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert plain.penalty == certain.penalty and plain.accuracy == certain.accuracy and plain.held_out == certain.held_out


def test_each_class_is_held_out_even_if_it_is_never_the_first_label() -> None:
    """Else a penalty would be chosen without the rare class, or by photos of it alone."""
    labels = torch.arange(20) % 2
    targets = shared(labels, torch.where(torch.arange(20) % 4 == 0, 2, labels), 3)
    assert module._rarest(targets).tolist() == [2 if n % 4 == 0 else int(labels[n]) for n in range(20)]
    assert module._rarest(labels) is labels


def test_balance_of_shared_labels() -> None:
    """What is taken off is the logarithm of the mean probability, as a fit without features learns it."""
    targets = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0], [1, 0, 0]])
    head = torch.nn.Linear(2, 3)
    before = head.bias.detach().clone()
    balance_classes(head, targets, 1.0)
    torch.testing.assert_close(before - head.bias.detach(), torch.tensor([0.0, math.log(1 / 3), 0.0]))


@pytest.mark.parametrize("labels", [torch.zeros(4, 2), torch.zeros(3, 3)])
def test_probabilities_of_another_shape(labels: Tensor) -> None:
    with pytest.raises(DataError, match="cannot fit a classifier"):
        fit_linear(torch.rand(4, 5), labels, 3)


def test_all_layers_learn_shared_labels() -> None:
    torch.manual_seed(0)
    network = Classifier("test_efficientnet", 3)
    images, targets = torch.rand(4, 3, 32, 32), torch.tensor([[0.5, 0.5, 0], [0.5, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    history = network.fit_full(lambda epoch: [(images, targets)], epochs=8, lr=0.05, device=torch.device("cpu"))
    assert history[-1].loss < history[0].loss and history[-1].accuracy == 1, "the class that all share is right"
