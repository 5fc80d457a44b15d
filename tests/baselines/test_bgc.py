"""BGC: its losses by hand, what is erased, what each part teaches, and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dips.baselines import bgc
from dips.baselines.bgc import WARM, Bgc, cosines, erase, length_gap, similarity_gap
from dips.baselines.study import Study

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


@pytest.fixture
def method(study: Study) -> Bgc:
    torch.manual_seed(0)
    made = Bgc()
    made.build(study)
    return made


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gaps_by_hand() -> None:
    lengths, similarity = torch.tensor([[[1.0, 0.5], [0.25, 0.0]]]), torch.tensor([[[0.5, 0.1], [-0.2, -0.4]]])
    assert float(similarity_gap(similarity, lengths)) == pytest.approx(-0.4 - 0.3)
    assert float(length_gap(lengths, similarity)) == pytest.approx(0.125 - 0.75)
    both = similarity_gap(torch.cat([similarity, 2 * similarity]), torch.cat([lengths, lengths]))
    assert float(both) == pytest.approx(1.5 * -0.7), "the mean over the photos"


def test_a_part_without_positions_counts_0() -> None:
    between = torch.full((1, 2, 2), 0.3)
    assert float(similarity_gap(between, between)) == 0
    assert float(length_gap(between, torch.zeros(1, 2, 2))) == 0
    assert float(length_gap(between, between)) == pytest.approx(-0.3), "no position is without a class"


def test_an_activation_is_length_times_length_times_cosine(method: Bgc) -> None:
    net: Any = method.net
    with torch.no_grad():
        features, weights = net.feature_map(IMAGES), net.head.weight
        found = cosines(features, weights)
        assert found.shape == (3, 3, 4, 4) and found.abs().max() <= 1 + 1e-6
        activations = method.activations(IMAGES, LABELS)
    for photo, label in enumerate(LABELS.tolist()):
        expected = features[photo].square().sum(0).sqrt() * weights[label].square().sum().sqrt() * found[photo, label]
        torch.testing.assert_close(activations[photo], expected, rtol=1e-4, atol=1e-5)


def test_erased_are_the_active_positions_that_are_drawn() -> None:
    features = torch.tensor([[[[1.0, 5.0], [4.1, 4.0]]], [[[3.0, 3.0], [0.0, -9.0]]]]).repeat(1, 2, 1, 1)
    assert torch.equal(erase(features, 0.8, 0.0, drawn()), features)
    everything = erase(features, 0.8, 1.0, drawn())
    assert everything[:, 0].tolist() == [[[1, 0], [0, 4]], [[0, 0], [0, -9]]]
    assert torch.equal(everything[:, 0], everything[:, 1])
    some = torch.stack([erase(torch.ones(1, 2, 8, 8), 0.8, 0.25, drawn(seed)) for seed in range(50)])
    assert (some == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(some[:, :, 0], some[:, :, 1]), "a position is erased in all channels"


def test_parts_by_a_pass_of_their_own(method: Bgc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgc, "ERASE_PROBABILITY", 0.7)
    net: Any = method.net
    body = net.body
    with torch.no_grad():
        found = method.losses(IMAGES, LABELS, drawn(3))
        inner = body.blocks[:4](body.bn1(body.conv_stem(net.normalise(IMAGES))))
        erased = erase(inner, 0.8, 0.7, drawn(3))
        assert not torch.equal(inner, erased)
        whole, rest = (body.bn2(body.conv_head(body.blocks[4:](x))) for x in (inner, erased))
        torch.testing.assert_close(found["class"], torch.nn.functional.cross_entropy(net(IMAGES), LABELS))
        torch.testing.assert_close(found["drop"], (whole - rest).abs().mean(), rtol=1e-4, atol=1e-6)
        length = whole.norm(dim=1)
        low, high = length.amin((1, 2), keepdim=True), length.amax((1, 2), keepdim=True)
        length = (length - low) / (high - low)
        angles = cosines(whole, net.head.weight)
        own = torch.stack([angles[photo, label] for photo, label in enumerate(LABELS)])
        torch.testing.assert_close(found["similarity"], similarity_gap(own, length), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["length"], length_gap(length, angles.max(1).values), rtol=1e-4, atol=1e-5)


def test_nothing_is_lost_where_nothing_is_erased(method: Bgc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgc, "ERASE_PROBABILITY", 0.0)
    with torch.no_grad():
        assert float(method.losses(IMAGES, LABELS, drawn())["drop"]) == pytest.approx(0, abs=1e-6)


def test_what_each_part_teaches(method: Bgc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgc, "ERASE_PROBABILITY", 1.0)
    net: Any = method.net
    for name, head in (("class", True), ("drop", False), ("similarity", True), ("length", False)):
        net.zero_grad()
        method.losses(IMAGES, LABELS, drawn())[name].backward()
        for layer in (net.body.conv_stem, net.body.conv_head):
            assert layer.weight.grad is not None and layer.weight.grad.any(), name
        assert (net.head.weight.grad is not None and bool(net.head.weight.grad.any())) == head, name


def test_the_warm_phase_knows_classes_and_erasing_alone(method: Bgc) -> None:
    with torch.no_grad():
        parts = {name: float(value) for name, value in method.losses(IMAGES, LABELS, drawn()).items()}
        assert abs(parts["similarity"]) > 1e-3 and abs(parts["length"]) > 1e-3
        warm = parts["class"] + 2 * parts["drop"]
        for progress in (0.0, WARM - 1e-6, WARM, 0.9):
            method.progress = progress
            expected = warm if progress < WARM else warm + 0.5 * parts["similarity"] + 0.05 * parts["length"]
            assert float(method.loss(IMAGES, LABELS, drawn())) == pytest.approx(expected, rel=1e-4), progress
