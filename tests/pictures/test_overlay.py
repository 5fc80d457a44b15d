from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dips.data.images import read_image
from dips.errors import DataError
from dips.pictures.drawing import DARK, GROUND_TRUTH, OUTLINE, PREDICTED, Colour, Pen, Picture, heat_colours, key_size
from dips.pictures.overlay import thumbnail
from dips.predict.prediction import Prediction

MakePrediction = Callable[..., Prediction]


def grey(width: int, height: int) -> Picture:
    return np.full((height, width, 3), 90, np.uint8)


def has(picture: Picture, colour: Colour) -> NDArray[np.bool_]:
    return np.asarray((picture == np.array(colour, np.uint8)).all(axis=2))


def test_the_box_is_drawn_on_its_outermost_pixels(make_prediction: MakePrediction) -> None:
    prediction = make_prediction((120, 90), (30, 20, 80, 60))
    photo = grey(120, 90)
    picture = prediction.overlay(photo, legend=False, heat=False)
    assert picture.shape == photo.shape and picture.dtype == np.uint8 and picture.flags.writeable
    assert has(picture, PREDICTED)[30:59, [30, 79]].all() and has(picture, PREDICTED)[59, 40:70].all()
    assert has(picture, PREDICTED)[62:].sum() == 0
    assert (photo == 90).all()  # the photo itself is left alone
    assert not has(picture, GROUND_TRUTH).any()


def test_true_boxes_are_dashed_in_another_colour(make_prediction: MakePrediction) -> None:
    picture = make_prediction((120, 90), None).overlay(grey(120, 90), [[10, 30, 110, 80]], legend=False)
    edge = has(picture, GROUND_TRUTH)[79, 10:110]
    assert 0.4 < edge.mean() < 0.8 and edge[0]
    assert has(picture, DARK)[79, 10:110].sum() == 100 - edge.sum()  # between the dashes
    assert not has(picture, PREDICTED).any()


def test_heat_leaves_cold_pixels_alone(make_prediction: MakePrediction) -> None:
    prediction = make_prediction((200, 160), (60, 50, 140, 120))
    picture = prediction.overlay(grey(200, 160), heat=True, legend=False)
    assert (picture[130:, :] == 90).all()
    inside = picture[85, 100].astype(int)
    expected = heat_colours()[204].astype(int)
    assert np.abs(inside - 90).max() > 30 and np.sign(inside - 90).tolist() == np.sign(expected - 90).tolist()


def test_the_object_can_be_seen_unless_heat_is_asked_for(make_prediction: MakePrediction) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (160, 200, 3), dtype=np.uint8)
    prediction = make_prediction((200, 160), (60, 50, 140, 120))
    inside = np.s_[56:114, 66:134]
    assert (prediction.overlay(photo)[inside] == photo[inside]).all()
    assert (prediction.overlay(photo, heat=True)[inside] != photo[inside]).any(axis=2).mean() > 0.95


@pytest.mark.parametrize("size", [(200, 150), (200, 266), (160, 240), (120, 400), (256, 256), (3840, 2160)])
@pytest.mark.parametrize(("heat", "truth"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_legend_is_never_cut(make_prediction: MakePrediction, size: tuple[int, int], heat: bool, truth: bool) -> None:
    """It lies within the photo and explains all that is drawn: the colours of each of its entries are there."""
    width, height = size
    prediction = make_prediction(size, (width // 3, height // 3, width // 2, height // 2))
    true_boxes = [[width // 3, height // 3, width // 2 + 2, height // 2 + 2]] if truth else None
    plain, drawn = (prediction.overlay(grey(*size), true_boxes, heat=heat, legend=legend) for legend in (False, True))
    rows, columns = (np.flatnonzero((plain != drawn).any(axis=(1 + axis, 2))) for axis in (0, -1))
    names = ["predicted", *["true"] * truth, *["score"] * heat, "mask"]
    pen = Pen.of(*size)
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    expected = key_size(draw, names, pen, width)
    assert (columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]) == expected
    legend = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = np.concatenate([legend[0], legend[-1], legend[:, 0], legend[:, -1]])
    assert (edge == DARK).all()  # no letter touches the border
    assert has(legend, PREDICTED).any() and has(legend, GROUND_TRUTH).any() == truth and has(legend, OUTLINE).any()


@pytest.mark.parametrize("size", [(60, 200), (90, 86), (300, 40)])
def test_a_photo_without_room_has_no_legend_rather_than_half_of_it(
    make_prediction: MakePrediction, size: tuple[int, int]
) -> None:
    prediction = make_prediction(size, (10, 10, 30, 30))
    plain, drawn = (prediction.overlay(grey(*size), heat=True, legend=legend) for legend in (False, True))
    assert (plain == drawn).all()


def test_heat_colours_grow_brighter() -> None:
    colours = heat_colours().astype(float)
    assert colours.shape == (256, 3) and (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > -0.6).all()
    assert colours[0].sum() < 20 and colours[-1].sum() > 500


@pytest.mark.parametrize("size", [(1, 1), (8, 5), (40, 300), (256, 256), (1600, 900)])
@pytest.mark.parametrize("empty", [True, False])
def test_every_size_can_be_drawn(make_prediction: MakePrediction, size: tuple[int, int], empty: bool) -> None:
    width, height = size
    box = None if empty else (width // 4, height // 4, width // 4 + width // 2 + 1, height // 4 + height // 2 + 1)
    prediction = make_prediction(size, box, label="a class with a very long name indeed")
    truth: list[list[float]] = [
        [0, 0, width, height],
        [-5, -5, width + 9, 2],
        [width + 3, 1, width + 5, 2],
        [0.4, 0.4, 0.6, 0.6],
    ]
    assert prediction.overlay(grey(*size), truth).shape == (height, width, 3)


def test_lines_grow_with_the_photo(make_prediction: MakePrediction) -> None:
    def line(width: int, height: int) -> int:
        prediction = make_prediction((width, height), (width // 4, height // 4, width // 2, height // 2))
        picture = prediction.overlay(grey(width, height), legend=False, heat=False)
        return int(has(picture, PREDICTED)[int(height * 0.45), : width // 3].sum())

    assert line(256, 256) == 2 and line(3840, 2160) == 10


def test_the_legend_keeps_away_from_the_object(make_prediction: MakePrediction) -> None:
    for box in ((0, 0, 200, 200), (300, 0, 500, 200), (0, 250, 500, 400)):
        prediction = make_prediction((500, 400), box)
        plain, legend = (prediction.overlay(grey(500, 400), legend=shown) for shown in (False, True))
        changed = (plain != legend).any(axis=2)
        assert changed.sum() > 1000 and changed.mean() < 0.1
        assert not (changed & prediction.mask).any()


def test_labels_in_other_scripts_differ(make_prediction: MakePrediction) -> None:
    """A font without the letters would draw the same empty boxes for both."""
    pictures = [
        make_prediction((256, 256), (20, 60, 200, 200), label=label).overlay(grey(256, 256), legend=False)
        for label in ("Жар", "Дым", "été", "ete")
    ]
    assert all((pictures[a] != pictures[b]).any() for a, b in ((0, 1), (2, 3)))


def test_another_photo_is_refused(make_prediction: MakePrediction) -> None:
    with pytest.raises(DataError, match=r"a b\.jpg.*120x90"):
        make_prediction((120, 90)).overlay(grey(90, 120))
    with pytest.raises(DataError):
        make_prediction((120, 90)).overlay(grey(120, 90).astype(float))
    with pytest.raises(DataError):
        make_prediction((120, 90)).overlay(grey(120, 90)[..., 0])


def test_thumbnails_only_shrink() -> None:
    assert thumbnail(grey(400, 100), 200).shape == (50, 200, 3)
    assert thumbnail(grey(40, 10), 200).shape == (10, 40, 3)
    assert thumbnail(grey(4000, 1), 200).shape == (1, 200, 3)


def test_real_photos(real_data: Path, make_prediction: MakePrediction) -> None:
    path = min((real_data / "insulators" / "photos").rglob("*.jpg"))
    photo = read_image(path)
    height, width = photo.shape[:2]
    prediction = make_prediction((width, height), (100, 300, 500, 420), path=path, label="insulator")
    picture = prediction.overlay(photo, [[90, 290, 520, 430]])
    assert picture.shape == photo.shape and has(picture, PREDICTED).any() and has(picture, GROUND_TRUTH).any()
    assert (picture == photo).all(axis=2).mean() > 0.7  # most of the photo stays as it is
