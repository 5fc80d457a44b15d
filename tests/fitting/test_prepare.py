"""What a training starts from: harvested photos, a fitted classifier, and how good it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dips.config import Config
from dips.errors import DataError
from dips.fitting.prepare import TrainingInputs
from dips.types import DataSet, Sample

Parts = tuple[DataSet, DataSet]
PrepareParts = Callable[..., TrainingInputs]


def test_all_layers_of_the_classifier(parts: Parts, prepare_parts: PrepareParts, tiny_config: Config) -> None:
    config = tiny_config.replace(**{"classifier.mode": "full", "classifier.epochs": 1, "classifier.batch": 7})  # 8 photos
    found = [prepare_parts(parts, config=config) for _ in range(2)]
    states = [inputs.classifier.state_dict().values() for inputs in found]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not any(p.requires_grad for p in found[0].classifier.parameters()) and not found[0].classifier.training


@pytest.mark.parametrize("mode", ["head", "full"])
def test_accuracy_is_that_of_the_classifier_on_the_photos(
    parts: Parts, prepare_parts: PrepareParts, tiny_config: Config, mode: str
) -> None:
    inputs = prepare_parts(parts, config=tiny_config.replace(**{"classifier.mode": mode, "classifier.epochs": 1}))
    images = inputs.harvest.batch(inputs.harvest.digests[8:], tiny_config.classifier.size)
    with torch.no_grad():
        predicted = inputs.classifier(images).argmax(1).tolist()
    expected = [label == sample.label for label, sample in zip(predicted, inputs.val.samples, strict=True)]
    assert inputs.accuracy["classifier"] == 100 * sum(expected) / 4


def test_unreadable_photos(parts: Parts, prepare_parts: PrepareParts, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    bad = Sample(tmp_path / "bad.jpg", "bad.jpg", 1)
    more = dataclasses.replace(parts[0], samples=(bad, *parts[0].samples))
    inputs = prepare_parts((more, parts[1]))
    assert len(inputs.train) == 8 and [p.path for p in inputs.harvest.problems] == [bad.path]
    only = dataclasses.replace(parts[1], samples=(bad,))
    with pytest.raises(DataError, match="no validation photo"):
        prepare_parts((parts[0], only))
