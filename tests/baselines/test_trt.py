"""TRT: which patches are kept, how they are scored, and that the second stage leaves the first as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dips.baselines.limits import Limits
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.baselines.training import Training, train_network
from dips.baselines.trt import THETA, THETAS, Trt, kept_patches, masked_softmax, priority, score_map
from dips.types import FloatArray, Sample

IMAGES, LABELS = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])


def built(study: Study) -> Trt:
    method = Trt()
    method.build(study)
    return method


@pytest.mark.parametrize(
    ("attention", "theta", "kept"),
    [
        ((0.5, 0.3, 0.15, 0.05), 0.6, (1, 0, 0, 0)),
        ((0.05, 0.3, 0.5, 0.15), 0.9, (0, 1, 1, 0)),
        ((0.7, 0.2, 0.1), 0.6, (1, 0, 0)),  # by the rule none
    ],
)
def test_patches_are_kept_while_their_sum_is_below_theta(
    attention: tuple[float, ...], theta: float, kept: tuple[int, ...]
) -> None:
    assert kept_patches(torch.tensor([attention]), theta).tolist() == [list(kept)]


def test_each_photo_keeps_its_own() -> None:
    attention = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]])
    assert kept_patches(attention, 0.75).tolist() == [[1, 0, 0], [0, 0, 1], [1, 1, 0]]


def test_masked_softmax_lets_a_dropped_token_see_itself() -> None:
    found = masked_softmax(torch.zeros(1, 2, 3, 3), torch.tensor([[1.0, 0.0, 1.0]]))
    expected = torch.tensor([[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5]])
    torch.testing.assert_close(found, expected.expand(1, 2, 3, 3), atol=1e-5, rtol=0)
    torch.manual_seed(0)
    logits = 50 * torch.randn(2, 2, 4, 4)  # their exponentials would be infinite
    open_to_all = masked_softmax(logits, torch.ones(2, 4))
    torch.testing.assert_close(open_to_all, logits.softmax(-1), atol=1e-5, rtol=0)


def test_priorities_are_a_softmax_over_the_kept() -> None:
    found = priority(torch.tensor([[1.0, 500.0, 2.0], [0.0, 0.0, 9.0]]), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    one = torch.tensor([1.0, 2.0]).softmax(0).tolist()
    torch.testing.assert_close(found, torch.tensor([[one[0], 0, one[1]], [1.0, 0, 0]]))


def test_the_kept_share_out_their_attention_anew() -> None:
    found = score_map(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.6, 0.0, 0.4]]))
    torch.testing.assert_close(found, torch.tensor([[0.42, 0.3, 0.28]]))


def test_the_first_stage_by_hand(study: Study) -> None:
    net: Any = built(study).net
    with torch.no_grad():
        _, rows = net.vit.with_attention(IMAGES)
        attention = rows[:, :-1].flatten(3).mean(2).sum(1)  # of all blocks but the last
        attention = attention / attention.sum(1, keepdim=True)
        before = net.attended(IMAGES)
        torch.testing.assert_close(before.attention, attention)
        tokens = net.vit.embed(IMAGES)
        torch.testing.assert_close(before.early, net.vit.run(tokens, last=4))
        torch.testing.assert_close(before.late, net.vit.run(tokens, last=5))
        logits, score = net.scored(before, 0.7)
        torch.testing.assert_close(score.sum((1, 2)), torch.ones(2))
        mask = kept_patches(attention, 0.7)
        torch.testing.assert_close(score.flatten(1)[mask == 0], attention[mask == 0])
        net.scorer.weight.zero_()  # all kept patches alike: the token is their mean
        logits, score = net.scored(before, 0.7)
        token = (before.late[:, 1:] * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        last = net.vit.blocks[-1](torch.stack([before.late[:, 0], token], 1))
        torch.testing.assert_close(logits, net.head(net.vit.norm(last)[:, 0]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            (score.flatten(1) * mask).amax(1), (attention * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=1e-6
        )


def test_what_the_first_stage_teaches(study: Study) -> None:
    method = built(study)
    net: Any = method.net
    method.loss(IMAGES, LABELS, torch.Generator()).backward()
    reached = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"vit", "head", "block", "block_norm", "scorer"}
    assert net.block.attn.qkv.weight.grad.any() and net.vit.blocks[2].attn.qkv.weight.grad.any()
    assert all(p.grad is None for block in net.vit.blocks[:2] for p in block.parameters())
    new = {id(parameter) for parameter in method.new_parameters()}
    assert new == {id(p) for part in (net.head, net.scorer) for p in part.parameters()}, "copies are not new"


def test_what_the_second_stage_teaches(study: Study) -> None:
    method = built(study)
    net: Any = method.net
    net.learn_activations(True)
    method.second_loss(IMAGES, LABELS, torch.Generator()).backward()
    reached = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert reached == {"cam_block", "cam_norm", "cam"}
    assert all(p.grad.any() for p in (*net.cam.parameters(), *net.cam_norm.parameters(), net.cam_block.attn.qkv.weight))


@pytest.mark.usefixtures("small_crops")
def test_the_second_stage_leaves_the_first_as_it_is(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    method = Trt()

    def second_loss(*inputs: Any) -> torch.Tensor:
        if not kept:
            kept.append({name: value.clone() for name, value in method.net.state_dict().items()})
        return Trt.second_loss(method, *inputs)

    monkeypatch.setattr(method, "second_loss", second_loss)
    fit = method.fit(study)
    before, after = kept[0], method.state()
    changed = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"cam_block", "cam_norm", "cam"}
    for name, value in before.items():
        if name.startswith("cam_block."):
            fitted = before[name.replace("cam_block.", "vit.net.blocks.5.")]
            assert torch.equal(value, fitted), "it starts from the last block as the first stage left it"
    assert [row["stage"] for row in fit.curve].count(1) == [row["stage"] for row in fit.curve].count(2) > 0
    assert fit.steps >= 8 and "first stage: step" in fit.chosen and "second: step" in fit.chosen


@pytest.mark.usefixtures("small_crops")
def test_the_budget_is_shared(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, passes, clock = list[float](), list[int](), [0.0]

    def train(training: Training, part: Study) -> Fit:
        seconds.append(part.seconds)
        passes.append(part.limits.passes if part.limits else 0)
        return train_network(training, replace(part, seconds=0, limits=None))

    monkeypatch.setattr("dips.baselines.trt.train_network", train)
    monkeypatch.setattr("dips.baselines.trt.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(Trt, "_choose_theta", lambda self, study: clock.__setitem__(0, clock[0] + 5))
    study.seconds = 15
    built(study).train(study)
    assert seconds == pytest.approx([6, 4]) and passes == [0, 0], "of what the choice of theta has left"
    study.limits = Limits(passes=20)
    built(study).train(study)
    assert passes[2:] == [12, 8]


@pytest.mark.parametrize("wanted", THETAS)
def test_theta_is_the_one_that_the_judge_prefers(wanted: float, study: Study) -> None:
    method, asked = built(study), []

    def judge(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        asked.append(list(maps))
        return 1.0 if THETAS[len(asked) - 1] == wanted else 0.0

    study.judge = judge
    words = method._choose_theta(study)
    assert float(method.net.theta) == pytest.approx(wanted) and f"theta {wanted:g} by" in words
    assert len(asked) == len(THETAS) and all(len(maps) == len(study.val) for maps in asked)


def test_theta_without_boxes_is_the_papers(study: Study) -> None:
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    method = built(study)
    assert "no validation photo has a box" in method._choose_theta(study)
    assert float(method.net.theta) == pytest.approx(THETA)


def test_maps_are_the_product_and_each_photo_has_its_own(study: Study) -> None:
    method = built(study)
    images = torch.cat([IMAGES, torch.full((1, 3, 224, 224), 0.5)])
    labels = torch.tensor([2, 0, 1])
    with torch.no_grad():
        maps = method.maps(images, labels)
        before = method.net.attended(images)
        score, classes = method.net.scored(before, THETA)[1], method.net.class_maps(before)
        for photo, label in enumerate(labels.tolist()):
            product = score[photo] * classes[photo, label]
            expected = (product - product.min()) / (product.max() - product.min())
            torch.testing.assert_close(maps[photo], expected, rtol=1e-4, atol=1e-5)
        assert maps.isfinite().all() and maps.min() == 0 and maps.max() == 1
        torch.testing.assert_close(maps[2:], method.maps(images[2:], labels[2:]), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(method.probabilities(images), method.net.scored(before, THETA)[0].softmax(1))


@pytest.mark.usefixtures("small_crops")
def test_a_fit_comes_back_with_its_theta(study: Study) -> None:
    study.judge = lambda maps, samples: float(sum(each.mean() for each in maps))
    first, second, again = Trt(), Trt(), Trt()
    first.fit(study)
    second.fit(study)
    state = first.state()
    assert all(torch.equal(value, second.state()[name]) for name, value in state.items())
    again.restore(study, state)
    assert torch.equal(again.maps(IMAGES, LABELS), first.maps(IMAGES, LABELS)) and again.net.theta == first.net.theta
    assert not any(parameter.requires_grad for parameter in again.net.parameters())
