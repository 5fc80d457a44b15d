"""Pictures for people: a photo with its heat map, mask outline and boxes, and contact sheets of many.

In: a photo ``HWC uint8`` and its :class:`~dips.types.Prediction`. Out: pictures ``HWC uint8``, drawn with
:mod:`dips.export.marks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from dips.data.images import fitted_size
from dips.errors import DataError
from dips.export import marks
from dips.export.marks import DARK, OUTLINE, PREDICTED, Pen, Picture, Rect, draw_key, inside, key_size, text_width
from dips.types import Prediction

__all__ = ["Tile", "overlay", "sheet", "thumbnail"]


class Tile(NamedTuple):
    """One picture of a contact sheet with the words below it."""

    caption: str
    image: Picture


def overlay(
    photo: Picture,
    prediction: Prediction,
    true_boxes: ArrayLike | None = None,
    *,
    heat: bool = True,
    legend: bool = True,
) -> Picture:
    """The photo with everything that was predicted on it.

    Args:
        photo: ``(H, W, 3) uint8`` RGB.
        prediction: what was predicted for this photo, in its pixels.
        true_boxes: ``(K, 4)`` ``x0 y0 x1 y1`` in the photo's pixels, end exclusive; None where they are unknown.
        heat: lay the score map over the photo, the more opaque the higher the score.
        legend: explain the colours in the corner where the score is lowest, if the photo is large enough.

    Returns:
        ``(H, W, 3) uint8``; the photo itself is left as it is.

    Raises:
        DataError: the photo's size is not that of the prediction.
    """
    height, width = photo.shape[:2]
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or prediction.size != (width, height):
        raise DataError(
            f"{prediction.path}: the prediction is for a photo of {prediction.size[0]}x{prediction.size[1]} pixels, "
            f"this picture is {photo.shape} {photo.dtype}; draw on the RGB photo that was predicted"
        )
    truth = np.zeros((0, 4)) if true_boxes is None else np.asarray(true_boxes, dtype=np.float64).reshape(-1, 4)
    pen = Pen.of(width, height)
    canvas = marks.blend(photo, prediction.score_map) if heat else photo.copy()
    marks.outline_mask(canvas, prediction.mask, pen)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for box in truth:
        marks.dashed_box(draw, inside(box, width, height), pen)
    for box in prediction.boxes[::-1]:  # the best one on top
        marks.solid_box(draw, inside(box, width, height), pen)
    taken = _tags(draw, prediction, pen)
    if legend:
        _legend(draw, prediction, bool(len(truth)), heat, taken, pen)
    return np.array(picture, dtype=np.uint8)


def thumbnail(image: Picture, side: int) -> Picture:
    """The picture with its longer side at most ``side`` pixels; never enlarged."""
    height, width = image.shape[:2]
    size = fitted_size((width, height), side)
    if size == (width, height):
        return np.array(image, dtype=np.uint8)
    return np.array(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def sheet(tiles: Sequence[Tile | tuple[str, Picture]], columns: int, *, side: int = 320) -> Picture:
    """A contact sheet: pictures in rows with captions of up to two lines below them.

    Args:
        tiles: captions and pictures ``(H, W, 3) uint8``, at least one.
        columns: pictures per row, at least 1.
        side: width and height in pixels of the square that every picture is fitted into.

    Raises:
        DataError: no pictures, or a number that is not positive.
    """
    if not tiles or columns < 1 or side < 16:
        raise DataError(f"a sheet needs pictures, a column and 16 pixels: got {len(tiles)}, {columns}, {side}")
    columns = min(columns, len(tiles))
    font, gap = max(11, round(side / 22)), max(4, side // 20)
    line = round(font * 1.3)
    small = [thumbnail(image, side) for _, image in tiles]
    heights = [max(image.shape[0] for image in small[start : start + columns]) for start in range(0, len(small), columns)]
    page_height = gap + sum(height + 2 * line + gap for height in heights)
    page = Image.new("RGB", (columns * (side + gap) + gap, page_height), marks.PAPER)
    draw = ImageDraw.Draw(page)
    for index, (caption, _) in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = gap + column * (side + gap), gap + sum(height + 2 * line + gap for height in heights[:row])
        image, bottom = small[index], y + heights[row]
        page.paste(Image.fromarray(image), (x + (side - image.shape[1]) // 2, bottom - image.shape[0]))
        marks.caption(draw, caption, x, bottom, side, font)
    return np.array(page, dtype=np.uint8)


def _tags(draw: ImageDraw.ImageDraw, prediction: Prediction, pen: Pen) -> list[Rect]:
    """Write label and score at every box, or the class alone in the corner; returns the room that is taken."""
    width, height = prediction.size
    taken: list[Rect] = []
    if len(prediction.boxes) == 0:
        words = marks.short_text(draw, f"{prediction.label} {prediction.label_score:.2f}", pen.font, width - 4 * pen.pad)
        taken.append(marks.tag(draw, words, 0, 0, pen, DARK, OUTLINE))
    for box, score in zip(prediction.boxes, prediction.box_scores, strict=True):
        words = marks.short_text(draw, f"{prediction.label} {score:.2f}", pen.font, width - 4 * pen.pad)
        w, h = text_width(draw, words, pen.font) + 2 * pen.pad, pen.font + 2 * pen.pad
        x0, y0, x1, y1 = inside(box, width, height)
        left, right = max(0.0, min(x0, width - w)), max(0.0, x1 - w + 1)
        places = [(left, y0 - h), (left, y1 + 1), (left, y0), (right, y1 - h + 1), (right, y0 - h)]
        fitting = [(x, y) for x, y in places if y >= 0 and y + h <= height] or [(left, max(0.0, min(y0, height - h)))]
        free = [place for place in fitting if not any(_meet((*place, place[0] + w, place[1] + h), other) for other in taken)]
        taken.append(marks.tag(draw, words, *(free or fitting)[0], pen, PREDICTED, DARK))
    return taken


def _legend(draw: ImageDraw.ImageDraw, prediction: Prediction, truth: bool, heat: bool, taken: list[Rect], pen: Pen) -> None:
    """One line in a corner; entries that do not fit are left out, the least important first."""
    width, height = prediction.size
    names = ["predicted", *["true"] * truth, *["score"] * heat, *["mask"] * bool(prediction.mask.any())]
    if not len(prediction.boxes):
        names.remove("predicted")
    while names and key_size(draw, names, pen)[0] > width:
        names.pop()
    w, h = key_size(draw, names, pen)
    if not names or h * 5 > height:
        return
    corners = [(round(width - w), height - h), (0, height - h), (round(width - w), 0), (0, 0)]
    x, y = min(corners, key=lambda corner: _crowd(prediction, (*corner, corner[0] + w, corner[1] + h), taken))
    draw_key(draw, names, x, y, pen)


def _crowd(prediction: Prediction, rect: Rect, taken: list[Rect]) -> float:
    """How much of interest a rectangle would hide."""
    cells = np.array(prediction.grid.shape[::-1]) / prediction.size
    x0, y0 = np.floor(np.maximum(rect[:2], 0) * cells).astype(int)
    x1, y1 = np.ceil(np.array(rect[2:]) * cells).astype(int)
    score = float(prediction.grid[y0:y1, x0:x1].mean())
    boxes = sum(_meet(rect, (box[0], box[1], box[2], box[3])) for box in prediction.boxes)
    return score + boxes + 10 * sum(_meet(rect, other) for other in taken)


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
