"""What all that change CAM's classifier have in common: they train, many are plain when fitted, and a fit comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from dips.baselines.acol import ACoL
from dips.baselines.adl import Adl
from dips.baselines.bas import Bas
from dips.baselines.bgc import Bgc
from dips.baselines.cam import Cam
from dips.baselines.cnn import CnnMethod
from dips.baselines.cream import Cream
from dips.baselines.cutmix import CutMix
from dips.baselines.has import Has
from dips.baselines.icl import Attending, Icl
from dips.baselines.pdm import Pdm
from dips.baselines.spg import Spg
from dips.baselines.study import Study
from dips.models.weights.resolve import Weights

KINDS = (Has, ACoL, Spg, Adl, CutMix, Icl, Pdm, Bgc, Bas, Cream)
DRAW_NOTHING = (ACoL, Spg, Pdm, Bas, Cream)
CLASS_AGNOSTIC = (Pdm, Bas)
every = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
with_cam_network = pytest.mark.parametrize("kind", (Has, Spg, Adl, CutMix, Bgc), ids=lambda kind: kind.name)


def built(kind: type[CnnMethod], study: Study, seed: int = 0) -> CnnMethod:
    torch.manual_seed(seed)
    method = kind()
    method.build(study)
    if isinstance(method, Has):
        method.fill = torch.full((3,), 0.5)
    if isinstance(method.net, Attending):
        for block in method.net.blocks:
            torch.nn.init.constant_(block.get_parameter("gamma"), 0.5)  # at 0 nothing else of a block learns
    return method


def some(seed: int = 0, count: int = 4, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator), torch.arange(count) % 3


@every
def test_loss_reaches_every_parameter(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    method.net.train()
    method.loss(*some(), torch.Generator().manual_seed(1)).backward()
    still = [name for name, p in method.net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


@every
def test_everything_drawn_comes_from_the_generator(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    values = []
    for global_seed, seed in ((0, 5), (1, 5), (2, 6)):
        torch.manual_seed(global_seed)
        values.append(float(method.loss(*some(), torch.Generator().manual_seed(seed)).detach()))
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (kind not in DRAW_NOTHING)


@every
def test_maps_and_probabilities(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    method.freeze()
    images, labels = some(side=96)
    maps, probabilities = method.maps(images, labels), method.probabilities(images)
    assert maps.shape == (4, 6, 6), "a stride of 16"
    assert maps.min() == 0 and maps.max() == 1
    assert torch.equal(maps, method.maps(images, (labels + 1) % 3)) == (kind in CLASS_AGNOSTIC)
    assert probabilities.shape == (4, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))


@every
def test_a_map_depends_on_its_photo_alone_and_a_constant_one_has_a_map(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    method.freeze()
    images, labels = some()
    images[1] = 0.5
    maps = method.maps(images, labels)
    assert torch.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    for number in range(4):
        alone = method.maps(images[number : number + 1], labels[number : number + 1])
        torch.testing.assert_close(alone[0], maps[number], rtol=1e-3, atol=1e-4)


@with_cam_network
def test_fitted_network_is_a_plain_classifier(kind: type[CnnMethod], study: Study) -> None:
    method, plain = built(kind, study), built(Cam, study)
    method.loss(*some(), torch.Generator())
    plain.net.load_state_dict({name: value for name, value in method.state().items() if name in plain.net.state_dict()})
    for one in (method, plain):
        one.freeze()
    images, labels = some(3)
    assert torch.equal(method.maps(images, labels), plain.maps(images, labels))
    assert torch.equal(method.probabilities(images), plain.probabilities(images))


@every
def test_fit_comes_back(kind: type[CnnMethod], study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "schedule", replace(kind.schedule, crop=64))  # faster
    method = kind()
    fit = method.fit(study)
    assert fit.steps >= 1 and "ground-truth boxes" in fit.chosen
    images, labels = some(4)
    torch.manual_seed(9)
    again = kind()
    again.restore(study, {name: value.clone() for name, value in method.state().items()})
    assert torch.equal(again.maps(images, labels), method.maps(images, labels))
    assert torch.equal(again.probabilities(images), method.probabilities(images))
    assert not again.net.training and not any(p.requires_grad for p in again.net.parameters())
    same = kind()
    same.fit(study)
    assert all(torch.equal(value, same.state()[name]) for name, value in method.state().items()), "the same seed"


@every
@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "resnet18"])
def test_trains_on_real_architectures(
    kind: type[CnnMethod], study: Study, arch: str, random_weights: Callable[[str], Weights]
) -> None:
    study.__dict__["cnn"] = random_weights(arch)
    method = built(kind, study)
    images, labels = some(count=2)
    loss = method.loss(images, labels, torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss)
    method.freeze()
    assert method.maps(images, labels).shape == (2, 4, 4)


@every
def test_hooks_do_not_stay(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    with pytest.raises((RuntimeError, IndexError)):
        method.loss(some()[0][:, :2], some()[1], torch.Generator().manual_seed(0))
    method.loss(*some(), torch.Generator().manual_seed(0))
    assert not any(module._forward_hooks for module in method.net.modules())


@every
def test_training_lowers_the_loss(kind: type[CnnMethod], study: Study) -> None:
    method = built(kind, study)
    net: nn.Module = method.net.train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    images, labels = some(count=6, side=32)
    images[range(6), labels] *= 0.2
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(30):
        loss = method.loss(images, labels, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert sum(values[-5:]) < 0.9 * sum(values[:5])
