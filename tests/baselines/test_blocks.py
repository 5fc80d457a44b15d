"""Blocks of a fitted TS-CAM or SCM, chosen on validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from dips.baselines.blocks import ScmBlocks, TsCamBlocks, candidates
from dips.baselines.normalise import min_max
from dips.baselines.scm import Scm, attention_map
from dips.baselines.study import Study
from dips.baselines.tscam import TsCam
from dips.types import FloatArray, Sample

IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0])
KINDS: list[tuple[type[TsCamBlocks], type[TsCam]]] = [(TsCamBlocks, TsCam), (ScmBlocks, Scm)]


@pytest.fixture(params=KINDS, ids=["ts-cam", "scm"])
def fitted(request: pytest.FixtureRequest, study: Study) -> tuple[TsCamBlocks, TsCam]:
    """The method and what it builds on, which did not learn: its weights do not matter here."""
    kind, below = request.param
    rival = below()
    rival.build(study)
    rival.freeze()
    study.done[rival.name] = rival
    return kind(), rival


def test_candidates_are_all_the_last_or_one() -> None:
    assert candidates(2) == [(0, 2), (1, 2), (0, 1)]
    found = candidates(12)
    assert len(found) == len(set(found)) == 23 and found[0] == (0, 12)
    assert {(block, block + 1) for block in range(12)} | {(first, 12) for first in range(12)} == set(found)


@pytest.mark.parametrize("blocks", [(0, 6), (3, 4), (4, 6)])
def test_maps_by_hand(blocks: tuple[int, int], fitted: tuple[TsCamBlocks, TsCam], study: Study) -> None:
    method, rival = fitted
    method.take(study)
    method.build(study)
    method.blocks = blocks
    with torch.no_grad():
        semantic, attention = rival.net.parts(IMAGES, LABELS)
        some = attention[:, blocks[0] : blocks[1]]
        joined = attention_map(some) if isinstance(rival, Scm) else some.mean((1, 2))
        maps = method.maps(IMAGES, LABELS)
        torch.testing.assert_close(maps, min_max(semantic * joined), rtol=1e-4, atol=1e-5)
        assert torch.equal(maps, rival.maps(IMAGES, LABELS)) == (blocks == (0, 6))
        assert torch.equal(method.probabilities(IMAGES), rival.probabilities(IMAGES))
    assert method.parameters == rival.parameters and method.needs == (rival.name,)


@pytest.mark.parametrize(("wanted", "words"), [(0, "blocks 1 to 6 of 6"), (4, "blocks 5 to 6 of 6"), (8, "block 3 of 6")])
def test_the_blocks_are_those_that_the_judge_prefers(
    wanted: int, words: str, fitted: tuple[TsCamBlocks, TsCam], study: Study
) -> None:
    method, _ = fitted
    asked: list[list[FloatArray]] = []

    def judge(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        asked.append(list(maps))
        return float(len(asked) - 1 == wanted)

    study.judge = judge
    fit = method.fit(study)
    assert method.blocks == candidates(6)[wanted] and words in fit.chosen and fit.steps == 0
    assert [(row["first"] - 1, row["last"]) for row in fit.curve] == candidates(6) and fit.curve[wanted]["v2"] == 1

    images, labels = study.val.batch([0, 1, 2], method.side, study.device)
    with torch.no_grad():
        for shown, expected in zip(asked[wanted], method.maps(images, labels), strict=True):
            torch.testing.assert_close(torch.from_numpy(shown), expected, rtol=1e-3, atol=1e-3)

    again: Any = type(method)()
    again.restore(study, method.state())
    with torch.no_grad():
        assert again.blocks == method.blocks
        assert torch.equal(again.maps(IMAGES, LABELS), method.maps(IMAGES, LABELS))


def test_without_boxes_it_is_the_papers(fitted: tuple[TsCamBlocks, TsCam], study: Study) -> None:
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))
    method, rival = fitted
    fit = method.fit(study)
    assert fit.chosen == "blocks 1 to 6 of 6, no validation photo has a box" and method.state()["blocks"].tolist() == [0, 6]
    with torch.no_grad():
        assert torch.equal(method.maps(IMAGES, LABELS), rival.maps(IMAGES, LABELS))
