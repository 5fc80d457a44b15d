"""What methods are fitted to: parts, weights, and how validation chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dips.baselines.study import FrozenFeatures, Study
from dips.benchmark.loop import evaluate_maps
from dips.comparison.run import open_study
from dips.config import Config

from ..conftest import random_transformer

Open = Callable[..., Study]


@pytest.fixture
def opened(scenes: Path, tmp_path: Path, tiny_config: Config, tiny_weights: Path) -> Open:
    def make(**more: Any) -> Study:
        given: dict[str, Any] = {"config": tiny_config, "weights": [str(tiny_weights)], "store": tmp_path / "store"}
        return open_study(scenes, folder=tmp_path / "own", **(given | more))

    return make


def test_parts_are_disjoint_and_cut_by_the_seed(opened: Open, tiny_config: Config, tmp_path: Path) -> None:
    first, second = opened(seed=0), opened(seed=1)
    for study in (first, second):
        assert not {*study.train.digests} & {*study.val.digests} and study.config.train.seed == study.seed
    assert first.val.digests != second.val.digests
    fixed = opened(seed=1, config=tiny_config.replace(**{"data.val_seed": 0}))
    assert fixed.val.digests == first.val.digests
    assert not (tmp_path / "own").exists(), "methods write, not the study"


def test_weights_that_are_not_here_are_no_error_until_they_are_used(opened: Open, tiny_config: Config) -> None:
    study = opened(config=tiny_config.replace(**{"classifier.arch": "resnet50"}))
    assert study.weights["cnn"] is None and study.weights["transformer"] is not None


def test_validation_is_by_the_protocol(opened: Open) -> None:
    study = opened()
    seen: list[np.ndarray[Any, Any]] = []

    def maps(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = images.mean(1)
        seen.extend(found.numpy())
        return found

    shown = [sample for sample in study.val.samples if sample.boxed]
    assert study.choose(maps, 32) == evaluate_maps(seen, shown, thresholds=101).max_box_acc_v2 and len(seen) == len(shown) > 0
    without = tuple(replace(sample, boxes=None) for sample in study.val.samples)
    assert replace(study, val=replace(study.val, samples=without)).choose(maps, 32) is None


def test_methods_share_a_pass_over_the_same_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_transformer("test_vit", depth=1)
    calls: list[int] = []
    plain = network.forward

    def counted(images: torch.Tensor) -> Any:
        calls.append(images.shape[-1])
        return plain(images)

    monkeypatch.setattr(network, "forward", counted)
    frozen, images = FrozenFeatures(network), torch.rand(1, 3, 64, 64)
    first = frozen(images, 64)
    assert frozen(images, 64) is first and frozen(images, 32) is not first and frozen(images, 64) is first
    assert calls == [64, 32]
    frozen(images.clone(), 64)
    assert calls == [64, 32, 64], "equal, but not the same"
