"""The class of each object, of what the cells of a grid say."""

from __future__ import annotations

import numpy as np
import pytest

from dips.scoremaps.object_classes import ClassCells, stacked, unstacked

rng = np.random.default_rng(0)


def logits_of(picture: np.ndarray, classes: int, strength: float = 6.0) -> np.ndarray:
    """A grid whose cells are sure of the class in ``picture`` ``(h, w)``."""
    return np.asarray(strength * (picture[None] == np.arange(classes)[:, None, None]), np.float32)


def regions_of(boxes: list[tuple[int, int, int, int]], size: tuple[int, int]) -> np.ndarray:
    regions = np.zeros(size[::-1], np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        regions[y0:y1, x0:x1] = number
    return regions


def asked(
    cells: ClassCells, boxes: list[tuple[int, int, int, int]], size: tuple[int, int]
) -> tuple[tuple[int, ...], np.ndarray]:
    return cells.classes_of(np.array(boxes, np.float32), regions_of(boxes, size), size)


@pytest.mark.parametrize("background", [None, 0, 2])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (4, 9), (90, 130)])
def test_four_objects_in_four_quarters(background: int | None, rows: int, columns: int) -> None:
    truth = [label for label in range(5) if label != background][:4]
    picture = np.empty((rows, columns), np.int64)
    half, middle = rows // 2, columns // 2
    picture[:half, :middle], picture[:half, middle:], picture[half:, :middle], picture[half:, middle:] = truth
    boxes = [(20, 10, 80, 60), (120, 20, 190, 70), (10, 95, 60, 140), (130, 90, 170, 145)]
    labels, scores = asked(ClassCells.of(logits_of(picture, 5), background), boxes, (200, 150))
    assert labels == tuple(truth) and (scores > 0.5).all() and (scores <= 1).all()


def test_a_large_object_that_is_alone_has_the_class_of_the_photo() -> None:
    logits = rng.normal(size=(6, 8, 8)).astype(np.float32)
    whole = np.exp(logits[1:].mean((1, 2)) - 0)
    cells = ClassCells.of(logits, background=0)
    labels, scores = asked(cells, [(100, 80, 300, 240)], (400, 320))
    # cells differ by a constant each, which no class has more of than another
    assert labels == (1 + int(whole.argmax()),)
    np.testing.assert_allclose(scores, whole.max() / whole.sum(), atol=2e-3)


def test_cells_that_are_nearer_to_another_object_do_not_count() -> None:
    picture = np.zeros((16, 16), np.int64)
    picture[:, 8:] = 1
    (first, second), _ = asked(ClassCells.of(logits_of(picture, 2), None), [(55, 40, 78, 120), (82, 40, 105, 120)], (160, 160))
    assert (first, second) == (0, 1)


@pytest.mark.parametrize("box", [(3, 3, 4, 4), (0, 0, 1, 1), (639, 479, 640, 480), (638, 0, 640, 1)])
def test_an_object_of_a_pixel_has_a_class(box: tuple[int, int, int, int]) -> None:
    picture = np.zeros((4, 4), np.int64)
    picture[:, 2:] = 1
    cells = ClassCells.of(logits_of(picture, 3), None)
    large = (200, 200, 300, 300)
    labels, scores = asked(cells, [large, box], (640, 480))
    assert labels == (0, int(box[0] > 320)) and np.isfinite(scores).all()


@pytest.mark.parametrize(
    "boxes",
    [
        [(100, 100, 104, 104), (105, 100, 109, 104)],  # in one cell
        [(100, 100, 110, 110), (100, 100, 101, 101)],  # one beside, or inside, of the other
        [(633, 473, 636, 476), (637, 477, 640, 480), (633, 477, 636, 480)],
    ],
)
def test_objects_that_share_a_cell_have_a_class_each(boxes: list[tuple[int, int, int, int]]) -> None:
    picture = np.ones((4, 4), np.int64)
    picture[:2, :2] = 2
    labels, scores = asked(ClassCells.of(logits_of(picture, 3), 0), boxes, (640, 480))
    assert labels == tuple(2 if box[0] < 320 else 1 for box in boxes)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-6)), atol=2e-3)


def test_no_object() -> None:
    labels, scores = ClassCells.of(np.zeros((2, 3, 3), np.float32), None).classes_of(
        np.zeros((0, 4), np.float32), np.zeros((9, 9), np.uint16), (9, 9)
    )
    assert labels == () and scores.shape == (0,)


@pytest.mark.parametrize("shift", [-300.0, 0.0, 1000.0])
def test_a_constant_in_a_cell_makes_no_difference(shift: float) -> None:
    logits = rng.normal(size=(4, 5, 5)).astype(np.float64)
    moved = logits + shift * rng.random((5, 5))
    one, other = (ClassCells.of(item.astype(np.float32), 3) for item in (logits, moved))
    assert one.labels == other.labels == (0, 1, 2)
    assert np.abs(one.levels.astype(int) - other.levels.astype(int)).max() <= 1


def test_of_a_thousand_classes_the_likeliest_are_kept() -> None:
    logits = rng.normal(size=(1000, 3, 3)).astype(np.float32)
    logits[[7, 998], 1, 2] = 40, 41
    cells = ClassCells.of(logits, background=998)
    assert len(cells.labels) == 32 and 7 in cells.labels and 998 not in cells.labels
    assert list(cells.labels) == sorted(cells.labels)


def test_it_is_the_same_after_it_was_stored() -> None:
    cells = ClassCells.of((50 * rng.normal(size=(6, 4, 7))).astype(np.float32), background=2)
    picture = stacked(cells.levels)
    assert picture.shape == (20, 7) and picture.dtype == np.uint16
    again = unstacked(picture, cells.labels)
    assert again.labels == (0, 1, 3, 4, 5) and np.array_equal(again.levels, cells.levels)


@pytest.mark.parametrize(("rows", "labels"), [(20, [0, 1, 2]), (5, [0] * 6), (4, [])])
def test_a_picture_of_other_classes_is_refused(rows: int, labels: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{rows} rows are not those of {len(labels)} classes"):
        unstacked(np.zeros((rows, 7), np.uint16), labels)
