"""Photos that show objects of several classes: which is which is found from their labels alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.harvest import linear
from dips.harvest.linear import PhotoFeatures, fit_linear_maps
from dips.harvest.several import boxed_masks, class_directions
from dips.models.linear_map import LinearMap, LinearMaps
from dips.types import Review

SIDE = 12
PLACES = ((1, 1), (7, 7))


@dataclasses.dataclass
class Scene:
    """Features, and the class of each cell ``(N, SIDE, SIDE)``, -1 where no object is."""

    features: PhotoFeatures
    classes: NDArray[np.int64]

    def fit(self, classes: int, **options: Any) -> LinearMaps:
        return fit_linear_maps(self.features, classes, HarvestConfig(**options))[0]

    def recognized(self, module: LinearMap) -> float:
        """Fraction of the objects' cells that have their class, of all."""
        blocks = [block.float() for block in self.features.blocks[: len(module.channels)]]
        logits = [F.conv2d(block, weight[:, :, None, None]) for block, weight in zip(blocks, module.weights, strict=True)]
        finer = [F.interpolate(item, (SIDE, SIDE), mode="bilinear") for item in logits]
        named = (torch.stack(finer).sum(0) + module.bias[:, None, None]).argmax(1).numpy()
        return float((named == self.classes)[self.classes >= 0].mean())


def scene(photos: Sequence[tuple[int, ...]], *, seed: int = 0, apart: float = 1.0) -> Scene:
    """Photos with an object of each of their one or two labels, at places that say nothing of the class."""
    random = torch.Generator().manual_seed(seed)
    count, classes = len(photos), 1 + max(max(labels, default=0) for labels in photos)
    shown = torch.full((count, SIDE, SIDE), -1)
    for number, labels in enumerate(photos):
        turn = int(torch.randint(0, 2, (1,), generator=random))
        for label, (y, x) in zip(labels, PLACES[:: 1 if turn else -1], strict=False):
            shown[number, y : y + 4, x : x + 4] = label
    inside = (shown >= 0).float()
    blocks = []
    for grid, width in ((12, 8), (6, 8)):
        common, own = torch.randn(width, generator=random), torch.randn(classes, width, generator=random)
        signal = (common + apart * own)[shown.clamp(min=0)].permute(0, 3, 1, 2) * inside[:, None]
        noise = 0.7 * torch.randn(count, width, grid, grid, generator=random)
        blocks.append((F.adaptive_avg_pool2d(signal, grid) + noise).half())
    attention = torch.rand(count, SIDE, SIDE, generator=random) * (0.5 + inside)
    first = np.array([labels[0] if labels else -1 for labels in photos], np.int64)
    several = {row: labels for row, labels in enumerate(photos) if len(labels) > 1}
    return Scene(PhotoFeatures(tuple(blocks), (64,), attention, first, several=several), shown.numpy())


PAIRS = [(0, 1), (1, 2), (2, 0), (3, 1), (0, 3), (2, 3)]


@pytest.mark.parametrize("blank", [0, 8])
@pytest.mark.parametrize(
    ("photos", "gain"),
    [
        (PAIRS * 8, 0.2),
        ([*PAIRS * 4, *((label,) for label in range(4)), *((label,) for label in range(4))], 0.0),
        ([(0, 1), (1,), (2,), (0,), (2, 1)] * 6, -0.03),
    ],
)
def test_objects_have_the_classes_of_their_own(photos: list[tuple[int, ...]], gain: float, blank: int) -> None:
    made = scene([*photos, *[()] * blank])
    classes = 1 + max(max(labels) for labels in photos)
    maps = made.fit(classes)
    firsts = dataclasses.replace(made.features, several={})
    untold = Scene(firsts, made.classes).fit(classes)
    for mode in ("accurate", "fast"):
        assert made.recognized(maps.of(mode)) > 0.9
        assert made.recognized(maps.of(mode)) > made.recognized(untold.of(mode)) + gain, "than by the first labels alone"


def test_one_label_each_is_fitted_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, and without any look at several labels."""
    made = scene([(label,) for label in range(3)] * 5)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(linear, "class_directions", refused)
    fit = linear._Fit(made.features, 3, HarvestConfig())
    maps, _ = fit.run()
    attention = F.interpolate(made.features.attention[:, None], (SIDE, SIDE), mode="bilinear").flatten(1).numpy()
    for turn in range(7):
        foreground = linear._foreground(attention, 0.2 if turn == 0 else 0.0)
        weight, bias, means, background, covariance = fit._discriminant(foreground)
        attention = fit._maps(weight, bias)
    weights, biases = fit._per_class(means, background, covariance)
    total = covariance + torch.outer(means.mean(0) - background, means.mean(0) - background) / 4
    fast = fit._imitation(weights, total)
    scaled, _, level = fit._scaled(fast, biases + (weights - fast) @ (means.mean(0) + background) / 2, foreground)
    expected = (scaled / fit.deviation).split(fit.widths, dim=1)[0]
    assert torch.equal(maps.fast.weights[0], expected) and float(maps.fast.level) == pytest.approx(level)


def test_labels_that_always_come_together_stay_alike() -> None:
    """Nothing tells which is which, and nothing is made up: both have the map of all."""
    made = scene([(0, 1), (2,)] * 8)
    weight = torch.cat([*made.fit(3).accurate.weights], 1)
    torch.testing.assert_close(weight[0], weight[1], atol=1e-4, rtol=1e-3)
    assert float((weight[0] - weight[2]).abs().max()) > 1e-2


def test_a_class_without_photos_and_a_photo_without_contrast() -> None:
    made = scene([*PAIRS * 3, (0, 1)])
    for block in made.features.blocks:
        block[-1] = block[-1].mean()
    made.features.attention[-1] = 0.5
    maps = made.fit(6)
    weight = torch.cat([*maps.accurate.weights], 1)
    assert bool(torch.isfinite(weight).all()) and torch.equal(weight[4], weight[5])


def directions(labels: list[tuple[int, ...]], cells: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """With a covariance that is the unit matrix, and all cells object."""
    return class_directions(
        labels,
        2,
        torch.ones(cells.shape[:2]),
        cells.mean(1),
        torch.zeros(cells.shape[2]),
        penalty=20.0,
        cells=lambda position: cells[position],
        solve=lambda target, penalty: target / (1 + penalty),
        known={},
        **options,
    )


def test_classes_are_shrunk_towards_all_by_their_number_of_photos() -> None:
    axis = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    apart = []
    for count in (2, 200):
        cells = axis[torch.arange(count) % 2][:, None].repeat(1, 3, 1)
        weights, _ = directions([(number % 2,) for number in range(count)], cells)
        apart.append(float((weights[0] - weights[1]).norm()))
    assert apart[0] * 5 < apart[1]


def test_logits_are_those_of_the_classes_against_the_background() -> None:
    """Halfway between background and a class the odds are even, and between two classes, too."""
    cells = torch.tensor([[1.0, 1.0], [1.0, -1.0]])[torch.arange(4000) % 2][:, None]
    weights, biases = directions([(number % 2,) for number in range(4000)], cells)
    between = torch.tensor([1.0, 0.0])
    assert float(weights[0] @ between + biases[0]) == pytest.approx(float(weights[1] @ between + biases[1]), abs=1e-5)
    mean_logit = (weights @ (between / 2) + biases).mean()
    assert abs(float(mean_logit)) < float(weights[0] @ torch.tensor([1.0, 1.0]) + biases[0])


def test_reviewed_boxes_say_which_object_is_which() -> None:
    """Two labels that always come together are told apart by a person alone."""
    made = scene([(0, 1)] * 12 + [(2,)] * 6)
    reviews = {}
    for row in range(12):
        first = made.classes[row][PLACES[0]]
        frames = [[x / SIDE, y / SIDE, (x + 4) / SIDE, (y + 4) / SIDE] for y, x in PLACES]
        reviews[row] = Review(np.array(frames, np.float32), labels=(int(first), 1 - int(first)))
    told = dataclasses.replace(made.features, reviews=reviews)
    assert made.recognized(made.fit(3).accurate) < 0.8
    assert made.recognized(Scene(told, made.classes).fit(3).accurate) > 0.9


def test_which_cells_boxes_hold() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]], np.float32)
    foreground = torch.zeros(16)
    foreground[[0, 5, 3]] = 1
    masks = boxed_masks((4, 7, 9), boxes, (4, 7, 4), 4, foreground).reshape(3, 4, 4)
    assert masks[0].nonzero().tolist() == [[0, 0], [1, 1]], "what is object there"
    assert masks[1].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]], "nothing is, so the whole box"
    assert torch.equal(masks[2].flatten(), foreground), "no box says"
