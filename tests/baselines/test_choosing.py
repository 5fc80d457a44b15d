"""Candidates are scored on validation, and the networks see each photo once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dips.baselines import study as study_module
from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.study import Study
from dips.types import FloatArray, Sample


def test_every_candidate_is_judged_and_asked_for_once_a_batch(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "_BATCH", 2)  # three photos in two batches
    asked: list[int] = []

    def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
        asked.append(len(images))
        return [images.mean(1) * factor for factor in (1.0, 0.5, 0.0)]

    def judge(found: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        return float(np.mean([each.mean() for each in found]))

    study.judge = judge
    scores = score_candidates(study, maps, 32)
    images, _ = study.val.batch([0, 1, 2], 32, study.device)
    assert asked == [2, 1]
    assert scores == pytest.approx([float(images.mean()), float(images.mean()) / 2, 0], rel=1e-4)


def test_nothing_is_scored_without_boxes(study: Study) -> None:
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))

    def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
        raise AssertionError

    assert score_candidates(study, maps, 32) == []
    assert (best_of([]), chosen_by([])) == (0, ", no validation photo has a box")


def test_a_judge_who_does_not_look_still_scores_all(study: Study) -> None:
    assert score_candidates(study, lambda images, labels: [torch.zeros(len(images), 1, 1)] * 2, 32) == [50, 50]


def test_of_equal_scores_the_first() -> None:
    assert best_of([1.0, 2.0, 2.0]) == 1 and best_of([3.0]) == 0
