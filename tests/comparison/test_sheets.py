"""Where everything in a sheet is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dips.comparison.sheets import Column, attention_sheet, method_sheets
from dips.errors import DataError
from dips.pictures.drawing import DARK, GROUND_TRUTH, PAPER, PREDICTED, heat_colours

GAP, SIDE = 6, 100


def grey(width: int, height: int, level: int) -> np.ndarray[Any, Any]:
    return np.full((height, width, 3), level, np.uint8)


def has(picture: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    return np.asarray((picture == np.array(colour, np.uint8)).all(axis=2))


PHOTOS = [grey(200, 100, 90), grey(50, 100, 140)]  # one is shrunk, one stands
NONE = np.zeros((0, 4))


def column(title: str, boxes: list[np.ndarray[Any, Any]] | None = None, level: float = 0.0) -> Column:
    return Column(title, [np.full((8, 8), level), np.full((300, 300), level)], [NONE, NONE] if boxes is None else boxes)


def tile(picture: np.ndarray[Any, Any], row: int, index: int) -> np.ndarray[Any, Any]:
    """The square of a tile in a sheet of ``PHOTOS``."""
    top = GAP + 2 * 14 + (SIDE // 2 + GAP if row else 0)
    left = GAP + index * (SIDE + GAP)
    return picture[top : top + (SIDE if row else SIDE // 2), left : left + SIDE]


def test_every_tile_is_at_its_index() -> None:
    (picture,) = method_sheets(PHOTOS, [None, None], [column("a"), column("b")], side=SIDE)
    assert picture.dtype == np.uint8 and picture.shape[1] == GAP + 3 * (SIDE + GAP)
    for index in range(3):
        assert (tile(picture, 0, index) == 90).all()
        middle = tile(picture, 1, index)  # the tall one stands in the middle of its square
        assert (middle[:, 25:75] == 140).all() and (middle[:, :25] == PAPER).all() and (middle[:, 75:] == PAPER).all()
    titles = [(picture[: GAP + 28, GAP + index * (SIDE + GAP) :][:, :SIDE] < 100).sum() for index in range(3)]
    assert min(titles) > 10
    lowest = GAP + 28 + 50 + GAP + 100
    assert has(picture[lowest:], DARK).sum() > 500  # the key


def test_boxes_are_where_the_photo_has_them_and_the_iou_is_told() -> None:
    found, true = np.array([[40, 20, 160, 80]]), np.array([[40, 20, 160, 80]])
    (picture,) = method_sheets(PHOTOS, [true, None], [column("a", [found, NONE]), column("b")], side=SIDE)
    only_true, hit, missed = (tile(picture, 0, index) for index in range(3))
    assert has(only_true, GROUND_TRUTH)[10, 20:80].mean() > 0.4 and not has(only_true, PREDICTED).any()
    assert has(hit, PREDICTED)[10, 30:80].all() and has(hit, PREDICTED)[39, 20:80].all() and not has(hit, GROUND_TRUTH).any()
    assert has(hit, PREDICTED)[:6, :6].sum() > 5, "an IoU of 1 stands on blue"
    assert has(missed, DARK)[:6, :6].sum() > 5 and not has(missed, PREDICTED).any()
    assert (tile(picture, 1, 1)[:, 25:75] == 140).all()  # without ground-truth boxes there is no IoU


def test_many_methods_make_several_pictures_of_about_equal_width() -> None:
    pictures = method_sheets(PHOTOS, [None, None], [column(str(n)) for n in range(25)], side=40, max_columns=9)
    assert [(picture.shape[1] - GAP) // 46 - 1 for picture in pictures] == [9, 8, 8]
    assert len({picture.shape[0] for picture in pictures}) == 1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_maps_and_odd_photos_can_be_drawn(level: float) -> None:
    photos = [grey(1, 1, 9), grey(3000, 3, 9)]
    boxes = [np.array([[0, 0, 1, 1]]), np.array([[-5, -5, 4000, 9], [0, 0, 10, 3]])]
    ground_truth = [np.array([[0, 0, 1, 1]]), np.array([[0, 0, 3000, 3]])]
    title = "a title that is far too long for the two lines above its column"
    (picture,) = method_sheets(photos, ground_truth, [column(title, boxes, level)], side=64)
    assert picture.shape[1] == GAP + 2 * 70


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(DataError, match=r"\[1, 2\]"):
        method_sheets(PHOTOS[:1], [None], [column("a")])
    for photos, columns in (([], []), (PHOTOS, []), ([], [Column("a", [], [])])):
        with pytest.raises(DataError):
            method_sheets(photos, [None] * len(photos), columns)


def test_attention_has_a_row_per_block_and_a_column_per_head_and_for_the_mean() -> None:
    attention = np.zeros((3, 4, 5, 5))
    attention[1, 2] = 0.2  # one bright map
    picture = attention_sheet(grey(100, 50, 77), attention, side=100)
    label, head = 5 * 11, 5 * 14 + 2 * GAP + 14
    assert picture.shape == (head + 3 * (50 + GAP), label + GAP + 5 * (100 + GAP) + GAP, 3)
    assert (picture[GAP : GAP + 50, label + GAP :][:, :100] == 77).all()
    dark, bright = heat_colours()[[0, 255]]
    for block in range(3):
        for index in range(5):
            left = label + GAP + index * (100 + GAP) + GAP * (index == 4)
            shown = picture[head + block * (50 + GAP) :][:50, left : left + 100]
            # the mean is scaled by itself
            assert (shown == (bright if block == 1 and index in (2, 4) else dark)).all(), (block, index)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (12, 6, 16, 12), (2, 16, 3, 3)])
def test_attention_of_every_shape_can_be_drawn(shape: tuple[int, ...]) -> None:
    attention = np.random.default_rng(0).random(shape)
    attention[0, 0, 0, 0] = 1e6  # far above all others
    picture = attention_sheet(grey(40, 90, 50), attention, side=60)
    assert picture.shape[0] > shape[0] * 60 and picture.shape[1] > shape[1] * (26 + GAP)
    if shape[2] > 10:
        assert (picture[-60:, -40:].mean(axis=(0, 1)) > 20).any()


def test_words_below_make_a_sheet_higher() -> None:
    words = "birds, split test; transformer: saliency-tuned"
    (plain,), (told,) = (method_sheets(PHOTOS, [None, None], [column("a")], side=SIDE, about=about) for about in ("", words))
    assert told.shape[0] > plain.shape[0] and told.shape[1] == plain.shape[1]
    plain, told = (attention_sheet(PHOTOS[0], np.ones((1, 2, 3, 3)), about=about) for about in ("", words))
    assert told.shape[0] > plain.shape[0] and (told[plain.shape[0] :] < 100).any()


@pytest.mark.parametrize("attention", [np.zeros((2, 3, 4)), np.zeros((0, 1, 2, 2)), np.full((1, 1, 2, 2), np.nan)])
def test_what_is_no_attention_is_refused(attention: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match="blocks, heads"):
        attention_sheet(PHOTOS[0], attention)
