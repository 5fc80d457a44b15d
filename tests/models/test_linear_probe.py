"""The linear fit against scikit-learn, and its laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from dips.errors import DataError
from dips.models import linear_probe as module
from dips.models.linear_probe import LinearProbe, balance_classes, fit_linear


def clusters(
    seed: int = 0, per_class: int = 20, classes: int = 3, width: int = 6, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator) * 2
    labels = torch.arange(classes).repeat(per_class)
    return centres[labels] + spread * torch.randn(len(labels), width, generator=generator), labels


def shared(labels: Tensor, others: Tensor, classes: int) -> Tensor:
    """Probabilities of photos of which some have two labels."""
    both = F.one_hot(labels, classes) + F.one_hot(others, classes)
    return both / both.sum(1, keepdim=True)


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


@settings(max_examples=10)
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


@settings(max_examples=30)
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
