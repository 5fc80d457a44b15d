"""The classifier: what it is fitted on, and how often it is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from dips.config import ClassifierConfig, Config
from dips.data.images import ByteImage
from dips.fitting import classify as module
from dips.fitting.classify import class_targets, classifier_accuracy, fit_classifier
from dips.fitting.inputs import TrainingInputs
from dips.models.classifier import Classifier
from dips.types import DataSet, Sample

Parts = tuple[DataSet, DataSet]
PrepareParts = Callable[..., TrainingInputs]
CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1] * 5)


def features(width: int) -> torch.Tensor:
    """Of ten photos, whose first number tells the class."""
    pooled = torch.rand(10, width, generator=torch.Generator().manual_seed(0))
    pooled[:, 0] = 3.0 * LABELS
    return pooled


def photos(labels: torch.Tensor) -> DataSet:
    samples = tuple(Sample(Path(str(i)), str(i), label) for i, label in enumerate(labels.tolist()))
    return DataSet(Path(), ("a", "b"), samples)


def test_the_last_layer_is_fitted_without_a_photo() -> None:
    classifier, config = Classifier("test_efficientnet", 2), ClassifierConfig()

    def none(positions: Sequence[int]) -> list[ByteImage]:
        raise AssertionError("a photo is asked for")

    pooled = features(classifier.width)
    fit_classifier(classifier, pooled, LABELS, squares=none, config=config, seed=0, device=CPU)
    assert not classifier.training and not any(parameter.requires_grad for parameter in classifier.parameters())
    right, by_class = classifier_accuracy(classifier, pooled, photos(LABELS), squares=none, config=config)
    assert right == by_class.mean == 100
    wrong, by_class = classifier_accuracy(classifier, pooled, photos(1 - LABELS), squares=none, config=config)
    assert wrong == by_class.lowest == 0


@pytest.mark.parametrize(("batch", "sizes"), [(4, {3, 4}), (10, {10}), (9, {5})])
def test_all_layers_see_each_photo_once_in_an_epoch(batch: int, sizes: set[int]) -> None:
    config = ClassifierConfig(mode="full", epochs=2, batch=batch)
    asked: list[list[int]] = []

    def squares(positions: Sequence[int]) -> list[ByteImage]:
        asked.append(list(positions))
        return [np.full((32, 32, 3), 20 * i, np.uint8) for i in positions]

    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(Classifier("test_efficientnet", 2))
        fit_classifier(made[-1], features(made[-1].width), LABELS, squares=squares, config=config, seed=3, device=CPU)
    steps = len(asked) // 4
    epochs = [asked[start : start + steps] for start in range(0, len(asked), steps)]
    assert all(sorted(chain(*epoch)) == list(range(10)) for epoch in epochs) and {len(part) for part in asked} == sizes
    assert epochs[:2] == epochs[2:] and epochs[0] != epochs[1], "the order follows from seed and epoch"
    asked.clear()
    classifier_accuracy(made[0], torch.zeros(10, 1), photos(LABELS), squares=squares, config=config)
    assert list(chain(*asked)) == list(range(10)) and max(map(len, asked)) <= batch


def test_a_class_that_is_never_found_is_named(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of photos without what tells the classes apart all get the class of most; the plain accuracy hides it."""
    train, val = (
        dataclasses.replace(part, samples=(*part.samples[0::2], dataclasses.replace(part.samples[2], label=1)))
        for part in parts
    )
    inputs = prepare_parts((train, val), config=plain_config.replace(**{"classifier.balance": 0.0}))
    assert inputs.accuracy["classifier"] == pytest.approx(200 / 3)
    assert (inputs.class_accuracy.worst, inputs.class_accuracy.mean) == ("thing", 50.0)
    said = capfd.readouterr().err
    few = "of 3 photos: a rough guess"
    assert f"accuracy: CNN classifier 66.7% {few} (mean over classes 50.0%, worst 'thing': 0.0% of 1 photo)\n" in said


@pytest.mark.parametrize("several", [False, True])
def test_what_is_right_is_said_where_photos_have_several_labels(
    several: bool, parts: Parts, prepare_parts: PrepareParts, plain_config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    train, val = parts
    first, *rest = val.samples
    others = tuple({0, 1} - {first.label}) if several else ()
    val = dataclasses.replace(val, samples=(dataclasses.replace(first, others=others), *rest))
    prepare_parts((train, val), config=plain_config)
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("validation accuracy"))
    assert ("; any label of a photo is right (mean over classes" in line) == several
    assert line.endswith("; here each label of a photo counts)") == several


def test_what_a_softmax_learns_of_labels() -> None:
    samples = [Sample(Path("a"), "a", 1), Sample(Path("b"), "b", 0, others=(2, 3)), Sample(Path("c"), "c", 2)]
    assert class_targets([samples[0], samples[2]], 4).tolist() == [1, 2]
    targets = class_targets(samples, 4)
    torch.testing.assert_close(targets, torch.tensor([[0, 1, 0, 0], [1 / 3, 0, 1 / 3, 1 / 3], [0, 0, 1, 0]]))


def test_accuracy_of_several_labels() -> None:
    """A photo is right with one of its labels; of each class the recall is among as many classes as the photo has labels."""
    samples = [Sample(Path("a"), "a", 0, others=(1,)), Sample(Path("b"), "b", 2, others=(1,)), Sample(Path("c"), "c", 0)]
    logits = torch.tensor([[3.0, 2, 1], [3, 2, 1], [1, 3, 2]])
    plain, by_class = module._judged(logits, DataSet(Path(), ("x", "y", "z"), tuple(samples)))
    assert plain == pytest.approx(100 / 3)
    assert by_class.mean == pytest.approx((50 + 100 + 0) / 3) and (by_class.worst, by_class.photos) == ("z", 1)
