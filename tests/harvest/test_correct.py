"""Corrections of finished maps by boxes, on features in which object and distractor are known."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dips.harvest import correct as module
from dips.harvest.correct import GRID, Standard, correct
from dips.models.linear_map import LinearMap
from dips.types import Outline, Review

SIDE = 16
CLUES = 24  # channels that tell the two apart: real features say one thing many times
STANDARD = Standard(torch.tensor([0.2, 0, 0, 0] + [0.03] * CLUES), torch.tensor([0.6, 0.25, 0.25, 0.25] + [0.17] * CLUES))


Scene = tuple[LinearMap, list[torch.Tensor], list[Review], list[tuple[int, ...]]]
NONE = Review(np.zeros((0, 4), np.float32))


def scene(photos: int, *, outputs: int = 1, seed: int = 0) -> Scene:
    """A map that takes two things for the object, of which the boxes know one; the second block tells them apart."""
    random = torch.Generator().manual_seed(seed)
    fine, coarse = torch.randn(photos, 4, SIDE, SIDE, generator=random) / 4, torch.zeros(photos, CLUES, SIDE // 2, SIDE // 2)
    reviews = []
    for photo in range(photos):
        top, left = (int(torch.randint(0, 4, (1,), generator=random)) * 2 for _ in range(2))
        fine[photo, 0, top : top + 6, left : left + 4] += 2  # the object
        fine[photo, 0, 12:14, 10:14] += 2  # what only looks like one
        coarse[photo, :, 6:7, 5:7] = 1
        reviews.append(Review(np.array([[left, top, left + 4, top + 6]], np.float32) / np.float32(SIDE)))
    linear = LinearMap((4, CLUES), outputs)
    linear.weights[0][:, 0] = 4
    linear.bias.fill_(-4)
    linear.level.fill_(1)
    return linear, [fine.half(), coarse.half()], reviews, [(photo % outputs,) for photo in range(photos)]


def logits_of(linear: LinearMap, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
    outputs = len(linear.bias)
    return linear.forward([block.float() for block in blocks], torch.full((len(blocks[0]), outputs), 1 / outputs))


def covered(review: Review) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    for x0, y0, x1, y1 in np.rint(review.boxes * SIDE).astype(int):
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("outputs", [1, 3])
def test_boxes_tell_the_object_from_what_looks_like_one(outputs: int) -> None:
    linear, blocks, reviews, labels = scene(8, outputs=outputs)
    before = copy.deepcopy(linear)
    assert correct(linear, blocks, labels, reviews, STANDARD)
    assert float(linear.level) == 0
    _, others, theirs, _ = scene(8, outputs=outputs, seed=7)
    level = float(before.level)
    old, new = logits_of(before, others).numpy() > level, logits_of(linear, others).numpy() > 0
    wrong = [float(np.mean([m ^ covered(b) for m, b in zip(found, theirs, strict=True)])) for found in (old, new)]
    assert wrong[1] < wrong[0] / 2, wrong
    assert new[:, 12:14, 10:14].mean() < 0.2, "what only looks like an object is none"


def test_more_photos_weigh_more() -> None:
    changes = []
    for count in (1, 4, 16):
        linear, blocks, reviews, labels = scene(count)
        before = copy.deepcopy(linear)
        correct(linear, blocks, labels, reviews, STANDARD)
        scale = float(linear.weights[0][0, 0] / before.weights[0][0, 0])
        changes.append(
            float(torch.cat([(a / scale - b).flatten() for a, b in zip(linear.weights, before.weights, strict=True)]).norm())
        )
    assert changes[0] < changes[1] < changes[2]


def test_empty_photos_lower_the_map_there() -> None:
    linear, blocks, reviews, labels = scene(6)
    empty = [block.clone() for block in blocks]
    for block in empty:
        block[4:, 0, :12] = 0  # the last two show only what looks like an object
    some = [*reviews[:4], NONE, NONE]
    with_empty, without = copy.deepcopy(linear), copy.deepcopy(linear)
    assert correct(with_empty, empty, [(0,)] * 4 + [()] * 2, some, STANDARD)
    assert correct(without, [block[:4] for block in empty], labels[:4], reviews[:4], STANDARD)
    found = [float(logits_of(item, [block[4:] for block in empty]).amax()) for item in (with_empty, without)]
    assert found[0] < found[1]


def test_nothing_to_correct_by() -> None:
    linear, blocks, _, labels = scene(2)
    before = copy.deepcopy(linear)
    assert not correct(linear, blocks, labels, [NONE] * 2, STANDARD)
    assert all(torch.equal(a, b) for a, b in zip(linear.state_dict().values(), before.state_dict().values(), strict=True))


def test_boxes_that_contradict_the_map_leave_it() -> None:
    """Boxes lie where the map is lowest: that is no correction, and probably a mistake."""
    linear, blocks, _, labels = scene(6)
    before = copy.deepcopy(linear)
    blocks[0][:, 1:] = 0
    blocks[1][:] = 0
    reviews = [Review(np.array([[0.875, 0, 1, 0.25]], np.float32))] * 6
    assert not correct(linear, blocks, labels, reviews, STANDARD)
    assert all(torch.equal(a, b) for a, b in zip(linear.state_dict().values(), before.state_dict().values(), strict=True))


def test_the_loss_against_one_by_hand() -> None:
    linear, blocks, reviews, labels = scene(3)
    boxes = [np.concatenate([reviews[0].boxes, [[0.5, 0.5, 0.75, 1]]]).astype(np.float32), reviews[1].boxes, NONE.boxes]
    made = module._Correction(linear, blocks, labels, [Review(item) for item in boxes], STANDARD)
    logits = torch.randn(3, GRID, GRID, generator=torch.Generator().manual_seed(3))
    soft = torch.nn.functional.softplus
    inside, beyond = [], []
    for photo in range(3):
        outside = np.ones((GRID, GRID), bool)
        sides = []
        for x0, y0, x1, y1 in np.rint(boxes[photo] * GRID).astype(int):
            outside[y0:y1, x0:x1] = False
            cells = logits[photo, y0:y1, x0:x1]
            rows = [soft(-row.max()) for row in cells]
            columns = [soft(-column.max()) for column in cells.mT]
            sides.append((sum(rows) / len(rows) + sum(columns) / len(columns)) / 2)
        if sides:
            inside.append(sum(sides) / len(sides))
        kept = torch.where(torch.from_numpy(outside), logits[photo], torch.tensor(-20.0))
        edge = (soft(kept.amax(0)).mean() + soft(kept.amax(1)).mean()) / 2
        beyond.append(edge / 4 + soft(logits[photo][torch.from_numpy(outside)]).mean() / 4)
    expected = sum(inside) / 2 / 2 + sum(beyond) / 3
    torch.testing.assert_close(made._loss(logits, 0), torch.as_tensor(expected))
    in_two = made._loss(logits[:2], 0) + made._loss(logits[2:], 2)
    torch.testing.assert_close(in_two, torch.as_tensor(expected))


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=4))
def test_cells_of_boxes(numbers: list[tuple[float, float, float, float]]) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in numbers], np.float32).reshape(-1, 4)
    cells = module._cells(Review(boxes))
    assert cells.covered.shape == (GRID, GRID) and len(cells.edges) == len(boxes)
    for (x0, y0, x1, y1), box in zip(cells.edges, boxes, strict=True):
        assert 0 <= x0 < x1 <= GRID and 0 <= y0 < y1 <= GRID
        assert np.abs(np.array([x0, y0, x1, y1]) - box * GRID).max() <= 1.5
    area = 4 * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * GRID**2
    most = sum(max(float(own), (x1 - x0) * (y1 - y0)) for own, (x0, y0, x1, y1) in zip(area, cells.edges, strict=True))
    assert float(cells.covered.sum()) <= most + 1e-3
    assert all(cells.covered[y0:y1, x0:x1].any() for x0, y0, x1, y1 in cells.edges), "each has a cell that is no background"


@pytest.mark.parametrize("box", [[0.25, 0.25, 0.5, 0.251], [0.5, 0.1, 0.501, 0.9], [0.3, 0.3, 0.306, 0.306]])
def test_an_object_thinner_than_a_cell_is_not_pushed_down(box: list[float]) -> None:
    linear, blocks, _, labels = scene(1)
    review = Review(np.array([box], np.float32))
    made = module._Correction(linear, blocks, labels, [review], STANDARD)
    ((x0, y0, x1, y1),) = made.cells[0].edges
    logits = torch.zeros(1, GRID, GRID)
    logits[0, y0:y1, x0:x1] = 8  # the map is sure of it
    with torch.enable_grad():
        made._loss(logits.requires_grad_(), 0).backward()
    assert logits.grad is not None and min(x1 - x0, y1 - y0) == 1
    assert (logits.grad[0, y0:y1, x0:x1] <= 0).all() and (logits.grad[0] > 0).sum() == GRID**2 - (x1 - x0) * (y1 - y0)


def test_each_cell_of_an_outline_is_object() -> None:
    """The second object is a box alone; the third's outline lies beside it."""
    linear, blocks, _, labels = scene(1)
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.75, 0.25, 1]], np.float32)
    upper = Outline((4, 4), (np.array([[0, 0], [2, 0], [2, 1], [0, 1]], np.float32),))
    beside = Outline((4, 4), (np.array([[9, 9], [11, 9], [11, 11]], np.float32),))
    cells = module._cells(Review(boxes, (upper, None, beside)))
    half, quarter = GRID // 2, GRID // 4
    assert cells.masks[0] is not None and cells.masks[0].shape == (half, half) and cells.masks[1] is None
    assert cells.masks[0][:quarter].all() and not cells.masks[0][quarter:].any()
    assert cells.covered.sum() == half * quarter + half * half + quarter * quarter
    assert not cells.covered[quarter:half, :half].any(), "what a box holds beside of its outline is background"
    made = module._Correction(linear, blocks, labels, [Review(boxes[:1], (upper,))], STANDARD)
    logits = torch.zeros(1, GRID, GRID, requires_grad=True)
    with torch.enable_grad():
        made._loss(logits, 0).backward()
    assert logits.grad is not None and (logits.grad[0, :quarter, :half] < 0).all() and (logits.grad[0, quarter:] > 0).all()


def test_photos_with_several_labels_weigh_each_of_them() -> None:
    priors = module.known_classes([(1,), (0, 2), ()], 3)
    torch.testing.assert_close(priors, torch.tensor([[0, 1, 0], [0.5, 0, 0.5], [1 / 3] * 3]))
