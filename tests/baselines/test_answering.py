"""How methods on torch answer: which class they look for, and what of a batch they look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dips.baselines.answering import TorchAnswerer
from dips.types import PhotoBatch


class Naming(TorchAnswerer):
    """Answers with the brightness, always names the same classes, and remembers what it was given."""

    name, title, side, parameters = "naming", "Naming", 24, 0

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.asked: list[int] = []

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.images.append(images)
        self.asked += labels.tolist()
        return images.mean(1)

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.tensor([[0.1, 0.7, 0.2]]).expand(len(images), 3)


def batch(labels: tuple[int | None, ...] = (0, None, 2), localized: tuple[int, ...] | None = None) -> PhotoBatch:
    return PhotoBatch(np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8), labels, localized)


def test_a_map_is_of_the_label_or_of_the_named_class() -> None:
    method = Naming()
    answer = method.answer(batch())
    assert method.asked == [0, 1, 2] and answer.maps.dtype == answer.probabilities.dtype == np.float32
    np.testing.assert_allclose(answer.maps, batch().squares.mean(3) / 255, atol=1e-6)
    method.answer(batch(()))
    assert method.asked[3:] == [1, 1, 1]


@pytest.mark.parametrize(("background", "asked"), [(None, 1), (1, 2), (0, 1)])
def test_a_map_is_never_asked_of_the_background(background: int | None, asked: int) -> None:
    method = Naming()
    method._background = background
    method.answer(batch((None, None, None)))
    assert method.asked == [asked] * 3


def test_a_method_that_names_no_class_looks_for_the_first() -> None:
    class Nameless(Naming):
        def probabilities(self, images: Tensor) -> None:  # type: ignore[override]
            return None

    method = Nameless()
    answer = method.answer(batch((None, 1, None)))
    assert method.asked == [0, 1, 0] and answer.probabilities.shape == (3, 0)


def test_only_what_is_needed_is_localized() -> None:
    method = Naming()
    answer = method.answer(batch(localized=(2,)))
    assert answer.maps.shape == (1, 24, 24) and answer.probabilities.shape == (3, 3) and method.asked == [2]
    nothing = method.answer(batch(localized=()))
    assert len(nothing.maps) == 0 and len(method.images) == 1 and nothing.probabilities.shape == (3, 3)


def test_methods_get_the_same_tensor_of_the_same_batch() -> None:
    first, second, same = Naming(), Naming(), batch(localized=(0, 2))
    for method in (first, second):
        method.answer(same)
    second.answer(batch(localized=(0, 2)))
    assert first.images[0] is second.images[0] and first.images[0] is not second.images[1]


def test_no_gradients_are_kept() -> None:
    class Learning(Naming):
        def maps(self, images: Tensor, labels: Tensor) -> Tensor:
            maps = images.mean(1) * nn.Parameter(torch.ones(()))
            assert not maps.requires_grad
            return maps

    assert Learning().answer(batch()).maps.shape == (3, 24, 24)
