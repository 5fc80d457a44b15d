"""PDM: its losses by hand, what each part teaches, photos without object, and which map validation chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dips.baselines import pdm
from dips.baselines.method import Fit
from dips.baselines.normalise import min_max
from dips.baselines.pdm import RAMP, Pdm, compactness, diversity
from dips.baselines.study import Study
from dips.types import FloatArray, Sample

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


@pytest.fixture
def method(study: Study) -> Pdm:
    torch.manual_seed(0)
    made = Pdm()
    made.build(study)
    net: Any = made.net
    with torch.no_grad():
        net.detector.weight.mul_(20)  # so that parts differ
    return made


def test_diversity_by_hand() -> None:
    left, right, all_of_it = (torch.tensor(rows) for rows in ([[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]))
    maps = torch.stack([torch.stack([left, right]), torch.stack([left, left]), torch.stack([left, all_of_it])])
    assert diversity(maps).tolist() == pytest.approx([0, 1, 0.5**0.5])
    three = torch.stack([left, right, all_of_it])[None]
    assert diversity(three).tolist() == pytest.approx([2 * (0 + 0.5**0.5 + 0.5**0.5) / 6])
    assert diversity(left[None, None]).tolist() == pytest.approx([0], abs=1e-6), "a single part"


def test_compactness_by_hand() -> None:
    one = torch.zeros(1, 1, 3, 3)
    one[0, 0, 1, 2] = 0.7
    assert compactness(one).tolist() == pytest.approx([0])
    corners = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert compactness(corners).tolist() == pytest.approx([0.5])
    assert compactness(torch.cat([corners, torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])], 1)).tolist() == pytest.approx([0.25])
    row = torch.tensor([[[[1.0, 0.0, 1.0]]]])
    assert compactness(row).tolist() == pytest.approx([0.25]), "a side of one position has no extent"


def test_parts_by_loops(method: Pdm) -> None:
    net: Any = method.net
    with torch.no_grad():
        features = net.feature_map(IMAGES)
        found = net.discover(features)
        assert found.maps.shape == (3, 4, 4, 4) and found.parts.shape == (3, 4, net.width)
        torch.testing.assert_close(found.importance.sum(1), torch.ones(3))
        for photo in range(3):
            whole = torch.zeros(4, 4)
            for part in range(4):
                area = found.maps[photo, part]
                mean = sum(area[i, j] * features[photo, :, i, j] for i in range(4) for j in range(4)) / area.sum()
                torch.testing.assert_close(found.parts[photo, part], mean, rtol=1e-4, atol=1e-5)
                whole += found.importance[photo, part] * area
            torch.testing.assert_close(found.whole[photo], whole)
        together = (found.parts * found.importance[..., None]).sum(1)
        torch.testing.assert_close(net(IMAGES), net.head(together))


def test_a_single_part_is_the_object(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdm, "PARTS", 1)
    method = Pdm()
    method.build(study)
    net: Any = method.net
    found = net.discover(net.feature_map(IMAGES))
    torch.testing.assert_close(found.whole, found.maps[:, 0])


def test_the_losses_and_their_ramp(method: Pdm) -> None:
    net: Any = method.net
    with torch.no_grad():
        parts = net.losses(IMAGES, LABELS, None)
        found = net.discover(net.feature_map(IMAGES))
        each = torch.stack([F.cross_entropy(net.head(found.parts[:, p]), LABELS, reduction="none") for p in range(4)], 1)
        torch.testing.assert_close(parts["class"], F.cross_entropy(net(IMAGES), LABELS))
        torch.testing.assert_close(parts["parts"], (each * found.importance).sum(1).mean())
        torch.testing.assert_close(parts["diversity"], diversity(found.maps).mean())
        torch.testing.assert_close(parts["compactness"], compactness(found.maps).mean())
        torch.testing.assert_close(parts["entropy"], torch.distributions.Categorical(found.importance).entropy().mean())
        shape = parts["diversity"] + 0.1 * parts["compactness"] - 0.01 * parts["entropy"]
        for progress, share in ((0.0, 0.0), (RAMP / 2, 0.5), (RAMP, 1.0), (0.9, 1.0)):
            method.progress = progress
            expected = parts["class"] + parts["parts"] + share * shape
            torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator()), expected, msg=str(progress))


def test_what_each_part_teaches(method: Pdm) -> None:
    net: Any = method.net
    for name, judge, head in (
        ("class", True, True),
        ("parts", False, True),
        ("diversity", False, False),
        ("compactness", False, False),
        ("entropy", True, False),
    ):
        net.zero_grad()
        net.losses(IMAGES, LABELS, None)[name].backward()
        taught = [
            any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
            for part in (net.body.conv_stem, net.detector, net.judge, net.head)
        ]
        assert taught == [True, True, judge, head], name


def test_photos_without_object_do_not_teach_the_parts(method: Pdm, study: Study) -> None:
    net: Any = method.net
    ground = torch.full((3,), 1)
    for name, value in net.losses(IMAGES, ground, 1).items():
        assert float(value.detach()) == 0 or name in ("class", "parts")
        net.zero_grad()
        value.backward(retain_graph=True)
        assert net.detector.weight.grad is None or not net.detector.weight.grad.any(), name
    with torch.no_grad():
        some, alone = net.losses(IMAGES, LABELS, 1), net.losses(IMAGES[:2], LABELS[:2], 1)
        for name in ("diversity", "compactness", "entropy"):
            torch.testing.assert_close(some[name], alone[name], msg=name)
        study.background = 1
        method.take(study)
        method.progress = 0.9
        shape = some["diversity"] + 0.1 * some["compactness"] - 0.01 * some["entropy"]
        torch.testing.assert_close(method.loss(IMAGES, LABELS, torch.Generator()), some["class"] + some["parts"] + shape)


def test_both_maps(method: Pdm) -> None:
    method.freeze()
    net: Any = method.net
    features = net.feature_map(IMAGES)
    whole = net.discover(features).whole
    torch.testing.assert_close(method.activations(IMAGES, LABELS), whole)
    net.by_class.fill_(True)
    activations = torch.einsum("bfhw,bf->bhw", features, net.head.weight[LABELS])
    torch.testing.assert_close(method.activations(IMAGES, LABELS), whole * min_max(activations))


class Quick(Pdm):
    schedule = replace(Pdm.schedule, crop=64)
    side = 64


@pytest.mark.parametrize("by_class", [True, False])
def test_validation_chooses_the_map(by_class: bool, study: Study) -> None:
    method, judged = Quick(), list[list[FloatArray]]()

    def judge(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        judged.append(list(maps))
        return 50.0

    def choose(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        judged.append(list(maps))
        return 60.0 if (len(judged) == 2) == by_class else 50.0

    study.judge = judge
    method.fit(study)
    judged.clear()
    study.judge = choose
    fit = method.choose_map(study, Fit())
    assert bool(method.state()["by_class"]) == by_class
    assert ("the object's map times class activations" in fit.chosen) == by_class
    assert [(row["by_class"], row["v2"]) for row in fit.curve] == [(0, 50 if by_class else 60), (1, 60 if by_class else 50)]
    images, labels = study.val.batch([0, 1, 2], method.side, study.device)
    for shown, expected in zip(judged[by_class], method.maps(images, labels), strict=True):
        torch.testing.assert_close(torch.from_numpy(shown), expected, rtol=1e-3, atol=1e-3)
    again = Pdm()
    again.restore(study, method.state())
    assert torch.equal(again.maps(IMAGES, LABELS), method.maps(IMAGES, LABELS))


def test_equally_good_maps_and_no_boxes_leave_the_objects(study: Study) -> None:
    method = Quick()
    assert method.fit(study).chosen.endswith("; the object's map by the ground-truth boxes of validation")
    assert not method.state()["by_class"]
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    fit = method.fit(study)
    assert "no validation photo has a box" in fit.chosen and not method.state()["by_class"]


def test_it_says_that_it_is_a_guess() -> None:
    assert all("abstract" in words for words in (Pdm.title, Pdm.paper, Pdm.caveat))
