"""Sheets of a comparison: photos x methods (Figures 3 and 4 of the paper), attention by block and head (Figure 1).

In: photos ``HWC uint8`` with true boxes, the maps and boxes of every method, or the attention of one photo. Out: pictures
``HWC uint8`` with words above and beside the tiles, drawn with :mod:`dips.pictures.drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dips.errors import DataError
from dips.evaluate.boxes import iou
from dips.pictures.drawing import (
    DARK,
    INK,
    OUTLINE,
    PAPER,
    PREDICTED,
    Pen,
    Picture,
    blend,
    caption,
    dashed_box,
    draw_key,
    heat_colours,
    inside,
    solid_box,
    tag,
    text_lines,
)
from dips.pictures.fonts import font_for

__all__ = ["Column", "attention_sheet", "method_sheets"]

_GAP = 6
_CORRECT = 0.5  # IoU from which the number in the corner is blue
_BRIGHTEST = 99  # percentile of a map of attention
_NUMBER = f"number: the best IoU of a predicted and a true box; blue from {_CORRECT} on"


class Column(NamedTuple):
    """What one method finds in the photos of a sheet, one item per photo.

    Attributes:
        title: above the column.
        maps: ``(h, w)`` score maps in [0, 1] of any size; stretched over the photo.
        boxes: ``(N, 4)`` ``x0 y0 x1 y1`` in the photo's pixels, end exclusive.
    """

    title: str
    maps: Sequence[NDArray[Any]]
    boxes: Sequence[NDArray[Any]]


def method_sheets(
    photos: Sequence[Picture],
    truths: Sequence[NDArray[Any] | None],
    columns: Sequence[Column],
    *,
    side: int = 176,
    most: int = 9,
    about: str = "",
) -> list[Picture]:
    """A row per photo, a column per method: score map, predicted and true boxes, and the best IoU between them.

    Args:
        photos: ``(H, W, 3) uint8`` RGB, at least one.
        truths: ``(K, 4)`` true boxes of each, as :attr:`Column.boxes`; None where they are unknown.
        columns: the methods, at least one, from left to right.
        side: width and height in pixels of the square that every photo is fitted into.
        most: methods per picture; more go into further pictures of about equally many, each with the photos on its left.
        about: what is shown, and at which threshold, for the line below.

    Returns:
        ``(H, W, 3) uint8`` each.

    Raises:
        DataError: there are no photos or methods, or not as many of one as of the other.
    """
    counts = {len(photos), len(truths), *(len(items) for column in columns for items in (column.maps, column.boxes))}
    if not columns or len(counts) > 1 or not photos:
        raise DataError(f"a sheet needs photos and methods, with truth, map and boxes for each: got {sorted(counts)} of them")
    blocks = np.array_split(np.arange(len(columns)), -(-len(columns) // most))
    return [_method_sheet(photos, truths, [columns[index] for index in block], side, about) for block in blocks]


def attention_sheet(photo: Picture, attention: NDArray[Any], *, side: int = 112, about: str = "") -> Picture:
    """A row per block of the transformer, a column per head and one for their mean; the photo stands above.

    Args:
        photo: ``(H, W, 3) uint8`` RGB.
        attention: ``(L, heads, h, w)`` of the class token to the patches, not negative; in each map the highest hundredth is
            brightest.
        side: width and height in pixels of the square that every map is fitted into.
        about: what is shown, for a line below.

    Returns:
        ``(H, W, 3) uint8``.

    Raises:
        DataError: the attention has another shape, or NaN.
    """
    maps = np.asarray(attention, dtype=np.float32)
    if maps.ndim != 4 or 0 in maps.shape or not np.isfinite(maps).all():
        raise DataError(f"attention is (blocks, heads, height, width) without NaN, not {maps.shape}; take that of one photo")
    blocks, heads = maps.shape[:2]
    maps = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
    # a few patches far above all others would leave the rest of the map black
    top, high = maps.max(axis=(2, 3), keepdims=True), np.percentile(maps, _BRIGHTEST, axis=(2, 3), keepdims=True)
    maps = np.asarray(maps / np.maximum(np.where(high > 0, high, top), 1e-12), dtype=np.float32)
    small = _fitted(photo, side)
    height, width = small.shape[:2]
    font = max(11, side // 9)
    line, label = round(1.3 * font), 5 * font  # room above the columns, beside the rows
    step, first, head = width + _GAP, label + _GAP, max(height, 5 * line) + 2 * _GAP + line
    # between the heads and their mean there is a double gap; the words beside the photo need some room
    size = (first + max(heads + 1, 4) * step + _GAP, head + blocks * (height + _GAP))
    below = _wrapped(about, font, size[0])
    page = Image.new("RGB", (size[0], size[1] + len(below) * line), PAPER)
    draw = ImageDraw.Draw(page)
    page.paste(Image.fromarray(small), (first, _GAP))
    left = first + step + _GAP
    words = f"Attention of the class token in {blocks} blocks and {heads} heads; in each map the highest hundredth is brightest"
    for number, row in enumerate(text_lines(draw, words, font, size[0] - left - _GAP, 3)):
        draw.text((left, _GAP + (number + 0.5) * line), row, INK, font_for(row, font), anchor="lm")
    draw_key(draw, ["attention"], left, _GAP + 3.2 * line, Pen(line=1, font=font, pad=3))
    names = [*(f"head {number + 1}" for number in range(heads)), "mean"]
    for column, name in enumerate(names):
        x = first + column * step + _GAP * (column == heads)
        caption(draw, name, x, head, width, font, above=True)
        for block in range(blocks):
            y = head + block * (height + _GAP)
            page.paste(Image.fromarray(_heat(maps[block, column], width, height)), (x, y))
    for block in range(blocks):
        row = f"block {block + 1}"
        draw.text((label, head + block * (height + _GAP) + height / 2), row, INK, font_for(row, font), anchor="rm")
    for number, row in enumerate(below):
        draw.text((_GAP, size[1] + (number + 0.4) * line), row, INK, font_for(row, font), anchor="lm")
    return np.array(page, dtype=np.uint8)


def _wrapped(words: str, font: int, width: int) -> list[str]:
    """At most four lines that fit the page's width; none of no words."""
    return text_lines(ImageDraw.Draw(Image.new("RGB", (1, 1))), words, font, width - 2 * _GAP, 4) if words else []


def _method_sheet(
    photos: Sequence[Picture], truths: Sequence[NDArray[Any] | None], columns: Sequence[Column], side: int, about: str
) -> Picture:
    pen = Pen(line=max(1, side // 88), font=max(11, side // 14), pad=2)
    small = [_fitted(photo, side) for photo in photos]
    line = round(1.3 * pen.font)
    top = _GAP + 2 * line  # below titles of two lines
    tops = top + np.cumsum([0, *(picture.shape[0] + _GAP for picture in small)])
    key = Pen(line=pen.line, font=pen.font, pad=3)
    width, bottom, bar = _GAP + (1 + len(columns)) * (side + _GAP), int(tops[-1]), key.font + 4 * key.pad
    notes = [*_wrapped(_NUMBER, pen.font, width), *_wrapped(about, pen.font, width)]
    page = Image.new("RGB", (width, bottom + bar + len(notes) * line + _GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for place, title in enumerate(["photo", *(column.title for column in columns)]):
        caption(draw, title, _GAP + place * (side + _GAP), top - 2, side, pen.font, above=True)
    for row, picture in enumerate(small):
        scale = picture.shape[1] / photos[row].shape[1], picture.shape[0] / photos[row].shape[0]
        found = truths[row]
        truth = np.zeros((0, 4)) if found is None else np.asarray(found, dtype=np.float64).reshape(-1, 4)
        tiles = [_tile(picture, None, np.zeros((0, 4)), truth, scale, pen)]
        for column in columns:
            boxes = np.asarray(column.boxes[row], dtype=np.float64).reshape(-1, 4)
            tiles.append(_tile(picture, column.maps[row], boxes, truth, scale, pen))
        for place, tile in enumerate(tiles):
            page.paste(tile, (_GAP + place * (side + _GAP) + (side - tile.width) // 2, int(tops[row])))
    draw_key(draw, ["predicted", "true", "score"], _GAP, bottom, key)
    for number, words in enumerate(notes):
        draw.text((_GAP, bottom + bar + (number + 0.6) * line), words, INK, font_for(words, pen.font), anchor="lm")
    return np.array(page, dtype=np.uint8)


def _tile(
    picture: Picture,
    score_map: NDArray[Any] | None,
    boxes: NDArray[np.float64],
    truth: NDArray[np.float64],
    scale: tuple[float, float],
    pen: Pen,
) -> Image.Image:
    """A small photo with everything on it; boxes in the pixels of the large one, which ``scale`` makes small."""
    height, width = picture.shape[:2]
    canvas = picture if score_map is None else blend(picture, _stretched(score_map, width, height))
    tile = Image.fromarray(canvas)
    draw = ImageDraw.Draw(tile)
    to_tile = np.array([*scale, *scale])
    for box in truth * to_tile:
        dashed_box(draw, inside(box, width, height), pen)
    for box in boxes * to_tile:
        solid_box(draw, inside(box, width, height), pen)
    if score_map is not None and len(truth):
        last = np.array([0, 0, 1, 1])  # pixels counted as in the protocol, the last one included
        best = float(iou(boxes - last, truth - last).max()) if len(boxes) else 0.0
        colours = (PREDICTED, DARK) if best >= _CORRECT else (DARK, OUTLINE)
        tag(draw, f"{best:.2f}", 0, 0, pen, *colours)
    return tile


def _fitted(photo: Picture, side: int) -> Picture:
    """The photo with its longer side at ``side`` pixels, shrunk or enlarged."""
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.array(cv2.resize(photo, size, interpolation=way), dtype=np.uint8)


def _stretched(score_map: NDArray[Any], width: int, height: int) -> NDArray[np.float32]:
    values = np.asarray(score_map, dtype=np.float32)
    way = cv2.INTER_AREA if values.shape[0] > height and values.shape[1] > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (width, height), interpolation=way), dtype=np.float32)


def _heat(score_map: NDArray[Any], width: int, height: int) -> Picture:
    levels = np.rint(np.clip(_stretched(score_map, width, height), 0, 1) * 255).astype(np.uint8)
    return np.array(heat_colours()[levels], dtype=np.uint8)
