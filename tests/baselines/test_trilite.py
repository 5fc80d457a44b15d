"""TriLite: pooling and losses by hand, what each of them teaches, that the transformer is frozen, and that a fit comes back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines.study import Study
from dips.baselines.trilite import Heads, TriLite, not_of_class, pooled


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(study: Study) -> TriLite:
    torch.manual_seed(0)
    method = TriLite()
    method.take(study)
    method.build(study)
    return method


def heads() -> Heads:
    torch.manual_seed(0)
    return Heads(8, 3).train()


def test_pooling_by_loops() -> None:
    tokens, weights = made(2, 3, 4, 5), made(2, 4, 5, seed=1).sigmoid()
    found = pooled(tokens, weights)
    for b in range(2):
        area = sum(float(weights[b, i, j]) for i in range(4) for j in range(5))
        for c in range(3):
            total = sum(float(weights[b, i, j] * tokens[b, c, i, j]) for i in range(4) for j in range(5))
            assert float(found[b, c]) == pytest.approx(total / area, rel=1e-4, abs=1e-5)
    assert pooled(tokens, torch.zeros(2, 4, 5)).abs().max() == 0, "nothing is in no area"


def test_not_of_class_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0, 0.0], [0.0, 200.0, 0.0]])
    found = not_of_class(logits, torch.tensor([0, 1]))
    assert float(found[0]) == pytest.approx(-math.log(1 - 3 / 5), rel=1e-5)
    assert float(found[1]) == pytest.approx(200 - math.log(2), rel=1e-5), "finite where the probability is 1 in float"


def test_losses_by_hand() -> None:
    net = heads()
    cls, patches, labels = made(3, 8), made(3, 8, 4, 4, seed=1), torch.tensor([0, 2, 1])
    found = net.losses(cls, patches, labels, background=2)
    regions = net.divide(patches).softmax(1)
    torch.testing.assert_close(regions.sum(1), torch.ones(3, 4, 4))
    logits = []
    for side in (0, 1):
        weights = regions[:, side, None]
        logits.append(net.region((patches * weights).sum((2, 3)) / weights.sum((2, 3))))
    torch.testing.assert_close(found["class"], F.cross_entropy(net.image(cls), labels))
    torch.testing.assert_close(found["foreground"], F.cross_entropy(logits[0], labels), rtol=1e-4, atol=1e-5)
    chances = logits[1].softmax(1)
    expected = -(torch.log(1 - chances[0, 0]) + torch.log(1 - chances[2, 1])) / 2  # the second photo has no object
    torch.testing.assert_close(found["background"], expected, rtol=1e-4, atol=1e-5)
    empty = net.losses(cls, patches, torch.tensor([2, 2, 2]), background=2)["background"]
    assert float(empty.detach()) == 0, "no photo has an object"


@pytest.mark.parametrize(
    ("part", "taught"),
    [
        ("class", {"image.weight", "image.bias"}),
        ("foreground", {"region.weight", "region.bias", "divide.0.weight", "divide.1.weight", "divide.1.bias"}),
        ("background", {"region.weight", "region.bias", "divide.0.weight", "divide.1.weight", "divide.1.bias"}),
    ],
)
def test_what_each_loss_teaches(part: str, taught: set[str]) -> None:
    net = heads()
    net.losses(made(3, 8), made(3, 8, 4, 4, seed=1), torch.tensor([0, 2, 1]))[part].backward()
    found = {name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert found == taught


def test_the_object_is_where_the_class_is_told() -> None:
    """Half of the patches tell the class. The background's channel may take a part of them, too."""
    net = heads()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    labels = torch.arange(12) % 3
    patches = 0.1 * torch.randn(12, 8, 4, 4, generator=generator)
    patches[:, 3, :, :2] += 1  # what any object has in common
    patches[:, 4, :, 2:] += 1
    patches[torch.arange(12), labels, :, :2] += 1
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack(list(net.losses(patches.mean((2, 3)), patches, labels).values())).sum().backward()
        optimiser.step()
    foreground = net.eval().regions(patches)[:, 0].mean(0)
    assert foreground[:, 0].mean() > 3 * foreground[:, 3].mean()


def test_as_small_as_published() -> None:
    assert sum(p.numel() for p in Heads(384, 1000).parameters()) < 800_000


def test_map_and_probabilities_by_hand(study: Study) -> None:
    method = built(study)
    method.freeze()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    tokens = method.vit.tokens(images)
    assert tokens.shape == (2, 1 + 14 * 14, method.vit.width)
    patches = tokens[:, 1:].reshape(2, 14, 14, -1).permute(0, 3, 1, 2)
    object_map = method.net.divide(patches).softmax(1)[:, 0]
    low, high = object_map.amin((1, 2), keepdim=True), object_map.amax((1, 2), keepdim=True)
    maps = method.maps(images, torch.tensor([0, 2]))
    torch.testing.assert_close(maps, (object_map - low) / (high - low), rtol=1e-4, atol=1e-5)
    assert maps.min() == 0 and maps.max() == 1
    assert torch.equal(maps, method.maps(images, torch.tensor([1, 1]))), "whatever class is looked for"
    torch.testing.assert_close(method.probabilities(images), method.net.image(tokens[:, 0]).softmax(1))


def test_a_map_is_of_its_photo_and_finite_without_content(study: Study) -> None:
    method = built(study)
    method.freeze()
    labels = torch.tensor([0, 1])
    photo, flat = torch.rand(1, 3, 224, 224), torch.full((1, 3, 224, 224), 0.5)
    together = method.maps(torch.cat([photo, flat]), labels)
    assert together.isfinite().all() and together.min() >= 0 and together.max() <= 1
    torch.testing.assert_close(together[:1], method.maps(photo, labels[:1]), rtol=1e-3, atol=1e-4)


def test_a_fit_comes_back_and_the_transformer_is_frozen(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TriLite, "schedule", replace(TriLite.schedule, crop=64))
    method = TriLite()
    fit = method.fit(study)
    assert fit.steps >= 4 and "ground-truth boxes" in fit.chosen
    for name, tensor in method.vit.net.state_dict().items():
        assert torch.equal(tensor, study.sst.state[name]), f"{name} has moved"
    assert not any(parameter.requires_grad for parameter in method.vit.parameters())

    images, labels = torch.rand(2, 3, 64, 64), torch.tensor([1, 2])
    state, again, once_more = method.state(), TriLite(), TriLite()
    assert not any("blocks" in name for name in state), "what is frozen is not stored again"
    again.restore(study, state)
    assert torch.equal(again.maps(images, labels), method.maps(images, labels))
    assert torch.equal(again.probabilities(images), method.probabilities(images))
    assert (
        again.parameters == method.parameters == sum(p.numel() for part in (method.vit, method.net) for p in part.parameters())
    )
    fresh = built(study).net.state_dict()
    assert not torch.equal(state["divide.0.weight"], fresh["divide.0.weight"])
    once_more.fit(study)
    assert all(torch.equal(tensor, state[name]) for name, tensor in once_more.state().items()), "same seed, same weights"
