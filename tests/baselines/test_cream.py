"""CREAM: clusters and centres by hand, what a class without centres does, and that centres belong to the weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dips.baselines import cream
from dips.baselines.cream import Cream, calibrate, cluster, means
from dips.baselines.normalise import min_max
from dips.baselines.study import Study

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])

POINTS = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.6, 1.0]]).reshape(1, 2, 1, 3)
INSIDE, OUTSIDE = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


@pytest.fixture
def method(study: Study) -> Cream:
    torch.manual_seed(0)
    made = Cream()
    made.build(study)
    return made


def test_clusters_by_hand() -> None:
    first = cluster(POINTS, INSIDE, OUTSIDE, 1)
    assert first.flatten().tolist() == pytest.approx([0.99966, 0.83202, 0.00034], abs=1e-5)
    inside, outside = (F.normalize(mean, dim=1) for mean in means(POINTS, first))
    assert inside[0].tolist() == pytest.approx([0.95783, 0.28733], abs=1e-5)
    assert outside[0].tolist() == pytest.approx([0.12152, 0.99259], abs=1e-5)
    second = cluster(POINTS, INSIDE, OUTSIDE, 2)
    assert second.flatten().tolist() == pytest.approx([0.99876, 0.87731, 0.00353], abs=1e-5)


def test_neither_lengths_of_features_nor_of_centres_matter() -> None:
    scaled = POINTS * torch.tensor([2.0, 0.1, 7.0])
    torch.testing.assert_close(cluster(scaled, 3 * INSIDE, 0.2 * OUTSIDE, 2), cluster(POINTS, INSIDE, OUTSIDE, 2))


def test_swapped_centres_give_the_same_map() -> None:
    region = torch.tensor([[[True, True, False]]])
    found, swapped = cluster(POINTS, INSIDE, OUTSIDE, 2), cluster(POINTS, OUTSIDE, INSIDE, 2)
    torch.testing.assert_close(swapped, 1 - found)
    torch.testing.assert_close(calibrate(found, region), found)
    torch.testing.assert_close(calibrate(swapped, region), found)
    assert torch.equal(calibrate(swapped, torch.zeros_like(region)), swapped), "without a region nothing is known"


def test_means_by_loops() -> None:
    features = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    shares = torch.tensor([[[1.0, 0.0], [0.5, 0.25]], [[1.0, 1.0], [1.0, 1.0]]])
    inside, outside = means(features, shares)
    for photo in range(2):
        for side, weights in ((inside, shares[photo]), (outside, 1 - shares[photo])):
            total = sum(weights[i, j] * features[photo, :, i, j] for i in range(2) for j in range(2))
            torch.testing.assert_close(side[photo], total / max(float(weights.sum()), 1e-8))


def test_centres_follow_photo_by_photo(method: Cream) -> None:
    net: Any = method.net
    width = net.width
    features = torch.zeros(3, width, 1, 2)  # the left half is active, the right one is not
    features[:, 0, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    features[:, 1, 0, 1] = torch.tensor([4.0, 5.0, 6.0])
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.weight[:, 0] = 1
    net.remember(features, torch.tensor([1, 0, 1]))
    assert net.seen.tolist() == [True, True, False]
    torch.testing.assert_close(net.inside[:, :2], torch.tensor([[2, 0], [0.8 * 1 + 0.2 * 3, 0], [0, 0]]))
    torch.testing.assert_close(net.outside[:, :2], torch.tensor([[0, 5], [0, 0.8 * 4 + 0.2 * 6], [0, 0]]))
    known = net.inside.clone()
    net.remember(torch.ones(1, width, 1, 2), torch.tensor([0]))
    assert torch.equal(net.inside, known), "a photo that is everywhere alike says nothing"


def test_the_map_starts_at_the_centres_of_the_class(method: Cream) -> None:
    method.freeze()
    net: Any = method.net
    features = net.feature_map(IMAGES)
    activations = torch.einsum("bfhw,bf->bhw", features, net.head.weight[LABELS])
    region = min_max(activations) >= 0.2
    points = F.normalize(features, dim=1)
    started = [means(points, region.float())]
    torch.testing.assert_close(method.activations(IMAGES, LABELS), calibrate(cluster(features, *started[0], 2), region))
    generator = torch.Generator().manual_seed(4)
    net.inside.copy_(torch.rand(net.inside.shape, generator=generator))
    net.outside.copy_(torch.rand(net.outside.shape, generator=generator))
    net.seen[:2] = True  # classes 0 and 1; the first photo is of class 2
    found = method.activations(IMAGES, LABELS)
    expected = calibrate(cluster(features, net.inside[LABELS], net.outside[LABELS], 2), region)
    torch.testing.assert_close(found[1:], expected[1:])
    assert not torch.allclose(found[0], expected[0])
    torch.testing.assert_close(found[:1], calibrate(cluster(features, *started[0], 2), region)[:1])


def test_the_loss_is_the_cross_entropy_and_moves_the_centres(method: Cream) -> None:
    net: Any = method.net
    assert not net.seen.any()
    expected = F.cross_entropy(net(IMAGES), LABELS)
    loss = method.loss(IMAGES, LABELS, torch.Generator())
    torch.testing.assert_close(loss, expected)
    assert net.seen.all() and net.inside.abs().sum() > 0 and not net.inside.requires_grad
    features = net.feature_map(IMAGES)
    inside, outside = means(features, net.region(features, LABELS).float())
    torch.testing.assert_close(net.inside[LABELS], inside)
    torch.testing.assert_close(net.outside[LABELS], outside)


def test_centres_belong_to_the_weights(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cream, "schedule", replace(Cream.schedule, crop=64))  # faster
    method, again = Cream(), Cream()
    method.fit(study)
    state = method.state()
    assert state["seen"].all() and state["inside"].any() and state["outside"].any()
    again.restore(study, state)
    assert torch.equal(again.maps(IMAGES, LABELS), method.maps(IMAGES, LABELS))
    again.restore(study, state | {"inside": state["inside"].flip(0), "outside": state["outside"].flip(1)})
    assert not torch.allclose(again.maps(IMAGES, LABELS), method.maps(IMAGES, LABELS))


def test_it_says_what_is_inferred() -> None:
    assert "abstract" in Cream.paper and Cream.caveat and cream.__doc__ and "inferred" in cream.__doc__
