"""ViTOL: what is dropped and when, both rollouts by hand and against whole products, and one training for two methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines import vitol
from dips.baselines.method import Fit
from dips.baselines.normalise import min_max
from dips.baselines.relevance import of_attention, watched_inputs
from dips.baselines.study import Study
from dips.baselines.training import Training
from dips.baselines.vitol import (
    LARGEST,
    LAYERS,
    VitolGar,
    VitolLrp,
    contributions,
    differentiated,
    dropped_or_weighted,
    rollout,
    token_drop_mask,
)

BLOCKS = 6  # of the study's test_vit
IMAGES, LABELS = torch.rand(3, 3, 64, 48, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


def built(study: Study) -> VitolGar:
    torch.manual_seed(0)
    method = VitolGar()
    method.build(study)
    return method


def frozen(study: Study) -> VitolGar:
    method = built(study)
    method.freeze()
    study.done["vitol-gar"] = method
    return method


def lrp(study: Study) -> VitolLrp:
    method = VitolLrp()
    method.build(study)
    return method


def draws(seed: int) -> list[bool]:
    """Which layers drop tokens, as the loss draws it; :func:`test_loss_by_a_pass_of_its_own` compares."""
    generator = torch.Generator().manual_seed(seed)
    return [float(torch.rand((), generator=generator)) < 0.75 for _ in range(LAYERS)]


def test_dropped_tokens_by_hand() -> None:
    tokens = torch.tensor([[[0.0, 0.2], [0.5, 0.5], [0.2, 1.0]], [[-0.3, -0.3], [-0.1, -0.1], [-0.2, -0.2]]])
    assert token_drop_mask(tokens, 0.9)[..., 0].tolist() == [[1, 1, 0], [1, 1, 1]], "means .1, .5, .6; and none above 0"
    dropped, weighted = dropped_or_weighted(tokens, True), dropped_or_weighted(tokens, False)
    torch.testing.assert_close(dropped[0], tokens[0] * torch.tensor([[1.0], [1.0], [0.0]]))
    for b in range(2):
        for n in range(3):
            torch.testing.assert_close(weighted[b, n], tokens[b, n] * torch.sigmoid(tokens[b, n].mean()))
    assert not token_drop_mask(tokens.clone().requires_grad_(), 0.9).requires_grad


def test_loss_by_a_pass_of_its_own(study: Study) -> None:
    method = built(study)
    net: Any = method.net
    seen: set[tuple[bool, ...]] = set()
    for seed in range(6):
        dropped = draws(seed)
        seen.add(tuple(dropped))
        method.class_dropped.clear()
        gone = []
        with torch.no_grad():
            x = net.vit.embed(IMAGES)
            for index, block in enumerate(net.vit.blocks):
                x = block(x)
                if index >= BLOCKS - LAYERS:
                    mean = x.mean(2, keepdim=True)
                    kept = mean < 0.9 * mean.max(1, keepdim=True).values
                    drop = dropped[index - BLOCKS + LAYERS]
                    x = x * (kept if drop else mean.sigmoid())
                    gone += [1 - float(kept[:, 0].float().mean())] if drop else []
            loss = method.loss(IMAGES, LABELS, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(loss, F.cross_entropy(net.head(net.vit.norm(x)[:, 0]), LABELS), rtol=1e-4, atol=1e-5)
        assert method.class_dropped == pytest.approx(gone)
    assert len(seen) > 2
    assert not any(block._forward_hooks for block in net.vit.blocks), "an answer is without the layer"


def test_what_the_loss_teaches(study: Study) -> None:
    method = built(study)
    seed = next(seed for seed in range(99) if any(draws(seed)) and not draws(seed)[-1])  # it may take the class token itself
    method.loss(IMAGES, LABELS, torch.Generator().manual_seed(seed)).backward()
    taught = {name for name, parameter in method.net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    blocks = {f"vit.net.blocks.{index}.mlp.fc1.weight" for index in range(BLOCKS)}
    assert {"head.weight", "head.bias", "vit.net.norm.weight"} <= taught
    assert blocks & taught == {f"vit.net.blocks.{index}.mlp.fc1.weight" for index in range(BLOCKS - 4, BLOCKS)}
    assert not any(name.startswith("vit.net.patch_embed") for name in taught)


def test_two_stages(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[float, float, int]] = []
    method, generator = built(study), torch.Generator()
    study.seconds = 3.0
    plain: list[float] = []

    def train_network(training: Training, part: Study, *, start: bool = False) -> Fit:
        generator.manual_seed(0)
        plain.append(float(F.cross_entropy(method.net(IMAGES), LABELS).detach()))
        stages.append((part.seconds, float(training.loss(IMAGES, LABELS, generator).detach()), training.schedule.checks))
        assert start == (len(stages) == 2), "the plain classifier is a checkpoint of the second stage"
        curve = ({"step": 5, "v2": 40.0}, {"step": 10, "v2": 50.0})
        return Fit(steps=10, epochs=1.5, chosen=f"step {len(stages)}", curve=curve)

    monkeypatch.setattr(vitol, "train_network", train_network)
    fit = method.train(study)
    assert [(seconds, checks) for seconds, _, checks in stages] == [(1.5, 1), (1.5, 4)]
    assert stages[0][1] == pytest.approx(plain[0]) and stages[1][1] != pytest.approx(plain[1]), "the second has the layer"
    assert fit.steps == 20 and fit.epochs == 3 and fit.chosen == "first stage: step 1; second: step 2"
    assert [(row["stage"], row["step"]) for row in fit.curve] == [(1, 5), (1, 10), (2, 5), (2, 10)]


def test_rollouts_by_hand() -> None:
    """One head, a class token and two patches; the order of the patches turns round from one rollout to the other."""
    ones = torch.ones(1, 1, 3, 3)
    gradients = [torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)]
    gradients[0][0, 0, 0], gradients[1][0, 0, 0] = torch.tensor([0.5, 0.6, -0.2]), torch.tensor([0.4, 0.2, 0.8])
    added = contributions(gradients, [ones, ones])
    torch.testing.assert_close(rollout(added, normalised=True)[0, 1:], torch.tensor([0.25, 1 / 3]))
    torch.testing.assert_close(rollout(added, normalised=False)[0, 1:], torch.tensor([1.04, 0.8]))


def test_the_mean_over_heads_is_of_what_is_positive() -> None:
    gradients, weights = torch.tensor([[[[2.0]], [[-3.0]]]]), torch.tensor([[[[0.5]], [[0.5]]]])
    assert contributions([gradients], [weights])[0].tolist() == [[[0.5]]]


@pytest.mark.parametrize("normalised", [True, False])
def test_rollout_of_whole_matrices(normalised: bool) -> None:
    matrices = [torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    found = rollout(matrices, normalised)
    for b in range(2):
        whole = torch.eye(5)
        for matrix in matrices:
            step = matrix[b] + torch.eye(5)
            whole = (step / step.sum(1, keepdim=True) if normalised else step) @ whole
        torch.testing.assert_close(found[b], whole[0])


@pytest.mark.parametrize("normalised", [True, False])
def test_a_map_is_never_without_a_number(normalised: bool) -> None:
    negative = rollout(contributions([-torch.ones(1, 2, 3, 3)] * 2, [torch.ones(1, 2, 3, 3)] * 2), normalised)
    assert not min_max(negative[:, None, 1:]).any(), "nothing speaks for the class"
    wild = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0]).repeat(9)[:18].reshape(1, 2, 3, 3)
    found = contributions([wild] * 12, [torch.ones(1, 2, 3, 3)] * 12)
    assert all(each.isfinite().all() and each.max() <= LARGEST for each in found)
    row = rollout(found, normalised)
    assert row.isfinite().all() and min_max(row[:, None, 1:]).isfinite().all()


def test_the_last_block_counts_for_the_class_token_alone(study: Study) -> None:
    _, gradients = differentiated(frozen(study).net, IMAGES, LABELS)
    assert len(gradients) == BLOCKS and gradients[0].shape == (3, 2, 13, 13)
    assert not gradients[-1][:, :, 1:].any() and gradients[-1][:, :, 0].any()
    assert gradients[-2][:, :, 1:].any()


def whole_product(added: list[Tensor], normalised: bool) -> Tensor:
    product = torch.eye(13).expand(3, 13, 13)
    for matrix in added:
        step = matrix + torch.eye(13)
        product = (step / step.sum(2, keepdim=True) if normalised else step) @ product
    return min_max(product[:, 0, 1:].reshape(3, 4, 3))


def test_gar_map_by_whole_products(study: Study) -> None:
    method = frozen(study)
    net: Any = method.net
    with torch.enable_grad():
        tokens, matrices = net.vit.with_matrices(IMAGES)
        logits = net.head(tokens[:, 0])
        gradients = torch.autograd.grad(logits[0, 2] + logits[1, 0] + logits[2, 1], matrices)
    added = [(a * g).relu().mean(1).detach() for a, g in zip(matrices, gradients, strict=True)]
    with torch.no_grad():
        found = method.maps(IMAGES, LABELS)
    torch.testing.assert_close(found, whole_product(added, True), rtol=1e-3, atol=1e-4)
    assert found.amin((1, 2)).tolist() == [0, 0, 0] and found.amax((1, 2)).tolist() == [1, 1, 1]
    torch.testing.assert_close(method.probabilities(IMAGES), logits.softmax(1))


def test_lrp_map_by_whole_products(study: Study) -> None:
    net = frozen(study).net
    method = lrp(study)
    with watched_inputs(net) as inputs:
        attention, gradients = differentiated(net, IMAGES, LABELS)
    relevance = of_attention(net, inputs, attention, LABELS)
    added = [(r * g).relu().mean(1) for r, g in zip(relevance, gradients, strict=True)]
    with torch.no_grad():
        found = method.maps(IMAGES, LABELS)
    torch.testing.assert_close(found, whole_product(added, False), rtol=1e-3, atol=1e-4)
    assert found.amin((1, 2)).tolist() == [0, 0, 0] and found.amax((1, 2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["gar", "lrp"])
def test_a_map_is_of_its_photo_and_finite_without_content(kind: str, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    gar = frozen(study)
    method: Any = gar if kind == "gar" else lrp(study)
    images = torch.cat([IMAGES, torch.full((1, 3, 64, 48), 0.5)])
    labels = torch.tensor([2, 0, 1, 1])
    with torch.no_grad():
        together = method.maps(images, labels)
        alone = torch.cat([method.maps(images[i : i + 1], labels[i : i + 1]) for i in range(4)])
        monkeypatch.setattr(vitol, "PHOTOS", 3)
        in_parts = method.maps(images, labels)
    assert together.shape == (4, 4, 3) and together.isfinite().all() and together.min() >= 0 and together.max() <= 1
    for other in (alone, in_parts):
        torch.testing.assert_close(together[:3], other[:3], rtol=1e-2, atol=1e-3)
    assert all(parameter.grad is None for parameter in gar.net.parameters())


def test_both_methods_share_one_fit_that_comes_back(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VitolGar, "schedule", replace(VitolGar.schedule, crop=64))
    method = VitolGar()
    fit = method.fit(study)
    assert fit.steps >= 8 and "first stage: " in fit.chosen and "ground-truth boxes" in fit.chosen
    assert not any(parameter.requires_grad for parameter in method.net.parameters())
    study.done["vitol-gar"] = method
    other = VitolLrp()
    assert other.fit(study).steps == 0 and other.state() == {} and other.parameters == method.parameters > 0
    with torch.no_grad():
        maps, others = method.maps(IMAGES, LABELS), other.maps(IMAGES, LABELS)
        assert torch.equal(other.probabilities(IMAGES), method.probabilities(IMAGES))
    assert not torch.allclose(maps, others)

    state, again, once_more = method.state(), VitolGar(), VitolGar()
    again.restore(study, state)
    study.done["vitol-gar"] = again
    with torch.no_grad():
        assert torch.equal(again.maps(IMAGES, LABELS), maps) and torch.equal(lrp(study).maps(IMAGES, LABELS), others)
    fresh = built(study).net.state_dict()
    assert torch.equal(fresh["vit.net.blocks.0.mlp.fc1.weight"], state["vit.net.blocks.0.mlp.fc1.weight"])
    assert not torch.equal(fresh["vit.net.blocks.5.mlp.fc1.weight"], state["vit.net.blocks.5.mlp.fc1.weight"])
    once_more.fit(study)
    assert all(torch.equal(tensor, state[name]) for name, tensor in once_more.state().items()), "same seed, same weights"
