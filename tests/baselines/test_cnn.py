"""The base of the methods on the CNN: its stride, and the layers that are fitted while it is frozen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dips.baselines import cnn
from dips.baselines.acol import ACoL
from dips.baselines.cam import Cam, CamFrozen
from dips.baselines.cnn import build_classifier, fit_last_layer
from dips.baselines.limits import Limits
from dips.baselines.method import Fit
from dips.baselines.spg import Spg
from dips.baselines.study import Study
from dips.baselines.training import Training
from dips.errors import WeightsError
from dips.models.classifier import Classifier
from dips.models.linear_probe import fit_linear

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "side"), [(8, 8), (16, 4), (32, 2)])
def test_the_stride_is_the_studys(study: Study, stride: int, side: int) -> None:
    study.stride = stride
    assert build_classifier(study, 3, Classifier).feature_map(IMAGES).shape[2:] == (side, side)


@pytest.mark.parametrize(("least", "side"), [(16, 4), (32, 2)])
def test_a_stride_that_the_cnn_cannot_have_is_doubled(
    study: Study, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], least: int, side: int
) -> None:
    class Coarse(Classifier):
        @classmethod
        def from_weights(cls, weights: Any, classes: int, *, stride: int = 32) -> Classifier:
            if stride < least:
                raise WeightsError("no such stride")
            return super().from_weights(weights, classes, stride=stride)

    study.stride = 8
    assert build_classifier(study, 3, Coarse).feature_map(IMAGES).shape[2:] == (side, side)
    assert f"has no stride of {least // 2} pixels (no such stride)" in capfd.readouterr().err
    monkeypatch.setattr(Coarse, "from_weights", lambda *given, **more: (_ for _ in ()).throw(WeightsError("no weights")))
    with pytest.raises(WeightsError, match="no weights"):
        build_classifier(study, 3, Coarse)


def test_the_last_layer_is_fitted_to_whole_photos(study: Study) -> None:
    method = Cam()
    method.build(study)
    net: Any = method.net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fit_last_layer(net, study.train, 64, study.device)
    images, labels = study.train.batch(range(6), 64, study.device)
    with torch.no_grad():
        weight, bias, _ = fit_linear(net.features(images), labels, 3)
    torch.testing.assert_close(net.head.weight, weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(net.head.bias, bias, rtol=1e-3, atol=1e-5)
    assert not torch.equal(before["probe.head.weight"], net.head.weight)
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if not name.startswith("probe"))


def preferring(*scores: float) -> Any:
    """Return a judge with these answers, the last one again and again."""
    rest = list(scores)
    return lambda maps, samples: rest.pop(0) if len(rest) > 1 else rest[0]


def test_no_method_on_the_cnn_is_chosen_below_the_frozen_one(study: Study) -> None:
    frozen, trained = CamFrozen(), Cam()
    assert frozen.fit(study).steps == 0
    study.judge = preferring(60, 50)
    fit = trained.fit(study)
    assert fit.chosen.startswith("step 0 of 4 ") and fit.steps == 4
    images, labels = study.val.batch(range(3), 64, study.device)
    torch.testing.assert_close(trained.maps(images, labels), frozen.maps(images, labels), rtol=0, atol=0)
    study.judge = preferring(60, 70)
    trained.fit(study)
    assert not torch.equal(trained.maps(images, labels), frozen.maps(images, labels)), "validation preferred a later one"


def test_the_head_of_another_kind_learns_on_the_frozen_cnn(study: Study) -> None:
    method = ACoL()
    study.judge = preferring(50, 50, 60, 50)  # the heads' first two: the time of a check, and their checkpoint
    method.build(study)
    fresh = {name: value.clone() for name, value in method.state().items()}
    fit = method.fit(study)
    assert fit.chosen.startswith("step 0 of 4 ")
    known = ACoL()
    torch.manual_seed(study.seed)
    known.build(study)
    state = method.state()
    for name, value in state.items():
        if name.startswith(("body", "normalise")):
            assert torch.equal(value, fresh[name]), f"{name}: weights and statistics are as they came"
    heads = [name for name in state if name.startswith(("first", "second")) and name.endswith("weight")]
    assert heads and not any(torch.equal(state[name], known.state()[name]) for name in heads)
    assert all(parameter.requires_grad is False for parameter in method.net.parameters()), "frozen when fitted"


def test_a_fitted_last_layer_stays_while_other_new_layers_learn(study: Study) -> None:
    """So the first checkpoint names classes, and has class activations, like the frozen CNN."""
    frozen, method = CamFrozen(), Spg()
    frozen.fit(study)
    study.judge = preferring(50, 50, 60, 50)
    assert method.fit(study).chosen.startswith("step 0 of 4 ")
    images, labels = study.val.batch(range(3), 64, study.device)
    torch.testing.assert_close(method.maps(images, labels), frozen.maps(images, labels), rtol=1e-4, atol=1e-5)
    torch.manual_seed(study.seed)
    fresh = Spg()
    fresh.build(study)
    assert not torch.equal(method.state()["c.0.0.weight"], fresh.state()["c.0.0.weight"])


def test_the_passes_of_both_parts_are_limited_together(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    left = list[Any]()

    def train_network(training: Training, study: Study, *, start: bool) -> Fit:
        left.append(study.limits)
        return Fit()

    monkeypatch.setattr(cnn, "train_network", train_network)
    monkeypatch.setattr(cnn, "train_new_layers", lambda *given: Fit(epochs=4.0))
    method = ACoL()
    method.build(study)
    study.limits = Limits(passes=40)
    method.train(study)
    assert left == [Limits(passes=36)]


def test_both_parts_are_within_the_budget(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    left, clock = list[float](), [0.0]
    monkeypatch.setattr(cnn, "fit_last_layer", lambda *given: clock.__setitem__(0, clock[0] + 7))
    monkeypatch.setattr(cnn, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def train_network(training: Training, study: Study, *, start: bool) -> Fit:
        left.append(study.seconds)
        return Fit()

    monkeypatch.setattr(cnn, "train_network", train_network)
    method = Cam()
    method.build(study)
    study.seconds = 20
    method.train(study)
    assert left == [13] and study.seconds == 20


def test_the_frozen_one_names_classes(study: Study) -> None:
    method = CamFrozen()
    method.fit(study)
    found: Tensor = method.probabilities(study.train.batch(range(6), method.side, study.device)[0])
    assert found.argmax(1).tolist() == [study.train.label(i) for i in range(6)], "six photos can be told apart"
