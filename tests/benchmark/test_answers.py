"""Several methods on the photos of a split: each batch is shown to all, and the numbers are those of the maps alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dips.baselines.method import ScoreMapMethod
from dips.benchmark.answers import evaluate_maps, evaluate_methods
from dips.types import Sample

MakePhoto = Callable[..., Path]


class Fixed(ScoreMapMethod):
    """Answers with the brightness, remembers what it was given."""

    name, title, paper, side = "fixed", "Fixed", "none", 24

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.labels: list[int] = []

    def build(self, study: Any) -> None: ...

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.images.append(images)
        self.labels += labels.tolist()
        return images.mean(1)


class Naming(Fixed):
    name = "naming"

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.tensor([[0.1, 0.7, 0.2]]).expand(len(images), 3)


@pytest.fixture
def samples(tmp_path: Path, make_photo: MakePhoto) -> list[Sample]:
    """Three photos with a bright rectangle of classes 0, 1 and unknown, and one without object of class 2."""
    found = []
    for i, label in enumerate((0, 1, None)):
        box = (4 + i, 6, 16 + i, 18)
        path = make_photo(tmp_path / f"{i}.png", seed=i, box=box)
        found.append(Sample(path, path.name, label, np.array([box], np.float32)))
    path = make_photo(tmp_path / "empty.png", seed=9)
    return [*found, Sample(path, path.name, 2, np.zeros((0, 4), np.float32))]


def fail(name: str, error: Exception) -> None:
    raise AssertionError(f"{name}: {error}")


def test_the_numbers_are_those_of_the_maps(samples: list[Sample]) -> None:
    method = Fixed()
    found, kept = evaluate_methods(
        {"fixed": method}, samples, device=torch.device("cpu"), failed=fail, keep={samples[1].id}, batch=2
    )
    maps = [image.mean(0).numpy() for batch in method.images for image in batch]
    alone = evaluate_maps(maps, samples[:3])
    assert len(maps) == 3, "the photo without object is not asked for"
    assert (found.methods["fixed"].boxes.v2 == alone.v2).all() and found.methods["fixed"].boxes.n_boxes == 3
    np.testing.assert_array_equal(kept["fixed"][samples[1].id], maps[1])
    assert list(kept["fixed"]) == [samples[1].id]


def test_a_map_is_asked_of_the_true_class_and_of_the_named_one_where_none_is_known(samples: list[Sample]) -> None:
    method = Naming()
    found, _ = evaluate_methods({"naming": method}, samples, device=torch.device("cpu"), failed=fail)
    assert method.labels == [0, 1, 1]
    boxes = found.methods["naming"].boxes
    assert boxes.n_classified == 3 and boxes.class_top1 == pytest.approx(100 / 3)


def test_methods_of_one_side_get_the_same_tensor(samples: list[Sample]) -> None:
    """By which the transformer that they share knows the batch again."""
    first, second = Fixed(), Naming()
    evaluate_methods({"a": first, "b": second}, samples, device=torch.device("cpu"), failed=fail, batch=4)
    assert all(one is other for one, other in zip(first.images, second.images, strict=True))


def test_a_method_that_raises_is_left_out(samples: list[Sample]) -> None:
    class Second(Fixed):
        def maps(self, images: Tensor, labels: Tensor) -> Tensor:
            if self.images:
                raise ValueError("tired")
            return super().maps(images, labels)

    told: list[str] = []
    methods = {"good": Fixed(), "bad": Second()}
    found, kept = evaluate_methods(
        methods, samples, device=torch.device("cpu"), failed=lambda name, error: told.append(f"{name} {error}"), batch=1
    )
    assert told == ["bad tired"] and set(found.methods) == {"good"} == set(kept)


def test_a_photo_that_cannot_be_read_is_reported(samples: list[Sample]) -> None:
    samples[0].path.write_bytes(b"no photo")
    found, _ = evaluate_methods({"fixed": Fixed()}, samples, device=torch.device("cpu"), failed=fail)
    assert [p.path for p in found.problems] == [samples[0].path] and found.methods["fixed"].boxes.n_boxes == 2
