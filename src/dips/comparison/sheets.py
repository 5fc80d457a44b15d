"""Drawing the pictures of a comparison: photos x methods (the paper's Figures 3 and 4), attention by block and head (Figure 1).

In: photos, maps and boxes. Out: pictures, drawn with :mod:`dips.pictures.drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dips.data.images import resize_image
from dips.errors import DataError
from dips.evaluate.boxes import iou
from dips.pictures import drawing
from dips.pictures.drawing import DARK, INK, OUTLINE, PAPER, PREDICTED, Pen, Picture, caption, inside, text_lines
from dips.pictures.fonts import font_for
from dips.scoremaps.levels import stretched
from dips.types import FloatArray

__all__ = ["Column", "attention_sheet", "method_sheets"]

_GAP = 6
_CORRECT_IOU = 0.5  # the number in the corner is blue from here on
_BRIGHTEST_PERCENTILE = 99  # of an attention map: a few patches far above all others would leave the rest black
_NUMBER_NOTE = f"number: best IoU with a ground-truth box, blue from {_CORRECT_IOU} on"


class Column(NamedTuple):
    """What one method finds in the photos of a sheet, one item per photo.

    Attributes:
        title: heading of the column.
        maps: ``(h, w)`` score maps in [0, 1] of any size; stretched over the photo.
        boxes: ``(N, 4)`` ``x0 y0 x1 y1`` in the photo's pixels, end exclusive.

    >>> photo, score_map = np.zeros((100, 200, 3), np.uint8), np.zeros((8, 8), np.float32)
    >>> (sheet,) = method_sheets([photo], [None], [Column("CAM", [score_map], [np.array([[40, 20, 160, 80]])])])
    >>> sheet.shape[1]
    370
    """

    title: str
    maps: Sequence[FloatArray]
    boxes: Sequence[NDArray[Any]]


def method_sheets(
    photos: Sequence[Picture],
    ground_truth: Sequence[NDArray[Any] | None],
    columns: Sequence[Column],
    *,
    side: int = 176,
    max_columns: int = 9,
    about: str = "",
) -> list[Picture]:
    """Draw a row per photo and a column per method: score map, predicted and true boxes, and the best IoU between them.

    Args:
        photos: ``(H, W, 3) uint8`` RGB, at least one.
        ground_truth: ``(K, 4)`` boxes of each photo, as in :attr:`Column.boxes`; None if they are unknown.
        columns: the methods, at least one, from left to right.
        side: width and height in pixels of the square that every photo is fitted into.
        max_columns: maximum number of methods per picture; more are split evenly over several, each with photos on its left.
        about: what is shown and at which threshold, printed below.

    Returns:
        ``(H, W, 3) uint8`` each.

    Raises:
        DataError: there are no photos or methods, or the numbers of photos, ground truths, maps and boxes differ.
    """
    counts = {len(photos), len(ground_truth), *(len(items) for column in columns for items in (column.maps, column.boxes))}
    if not columns or len(counts) > 1 or not photos:
        raise DataError(
            f"a sheet needs photos and methods, with ground truth, map and boxes for each: got {sorted(counts)} of them"
        )
    blocks = np.array_split(np.arange(len(columns)), -(-len(columns) // max_columns))
    return [_method_sheet(photos, ground_truth, [columns[index] for index in block], side, about) for block in blocks]


def _method_sheet(
    photos: Sequence[Picture], ground_truth: Sequence[NDArray[Any] | None], columns: Sequence[Column], side: int, about: str
) -> Picture:
    pen = Pen(line=max(1, side // 88), font=max(11, side // 14), pad=2)
    key = Pen(line=pen.line, font=pen.font, pad=3)
    small = [_fitted(photo, side) for photo in photos]
    line = round(1.3 * pen.font)
    top = _GAP + 2 * line  # below titles of two lines
    tops = top + np.cumsum([0, *(picture.shape[0] + _GAP for picture in small)])
    width, bottom, bar = _GAP + (1 + len(columns)) * (side + _GAP), int(tops[-1]), key.font + 4 * key.pad
    notes = [*_wrapped(_NUMBER_NOTE, pen.font, width), *_wrapped(about, pen.font, width)]
    page = Image.new("RGB", (width, bottom + bar + len(notes) * line + _GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for index, title in enumerate(["photo", *(column.title for column in columns)]):
        caption(draw, title, _GAP + index * (side + _GAP), top - 2, side, pen.font, above=True)
    for row, (picture, photo) in enumerate(zip(small, photos, strict=True)):
        to_tile = np.array([picture.shape[1] / photo.shape[1], picture.shape[0] / photo.shape[0]] * 2)
        true_boxes = _rectangles(ground_truth[row])
        tiles = [_tile(picture, None, _rectangles(None), true_boxes, to_tile, pen)]
        for column in columns:
            tiles.append(_tile(picture, column.maps[row], _rectangles(column.boxes[row]), true_boxes, to_tile, pen))
        for index, tile in enumerate(tiles):
            page.paste(tile, (_GAP + index * (side + _GAP) + (side - tile.width) // 2, int(tops[row])))
    drawing.draw_key(draw, ["predicted", "true", "score"], _GAP, bottom, key)
    _write_lines(draw, notes, _GAP, bottom + bar + 0.6 * line, line, pen.font)
    return np.array(page, dtype=np.uint8)


def _tile(
    picture: Picture,
    score_map: FloatArray | None,
    boxes: NDArray[np.float64],
    true_boxes: NDArray[np.float64],
    to_tile: NDArray[np.float64],
    pen: Pen,
) -> Image.Image:
    """Draw everything on a downscaled photo; boxes ``(N, 4)`` are in pixels of the original, ``to_tile`` scales them."""
    height, width = picture.shape[:2]
    tile = Image.fromarray(picture if score_map is None else drawing.blend(picture, stretched(score_map, (width, height))))
    draw = ImageDraw.Draw(tile)
    for box in true_boxes * to_tile:
        drawing.dashed_box(draw, inside(box, width, height), pen)
    for box in boxes * to_tile:
        drawing.solid_box(draw, inside(box, width, height), pen)
    if score_map is not None and len(true_boxes):
        last = np.array([0, 0, 1, 1])  # pixels are counted as in the protocol, including the last one
        best = float(iou(boxes - last, true_boxes - last).max()) if len(boxes) else 0.0
        colours = (PREDICTED, DARK) if best >= _CORRECT_IOU else (DARK, OUTLINE)
        drawing.tag(draw, f"{best:.2f}", 0, 0, pen, *colours)
    return tile


def attention_sheet(photo: Picture, attention: NDArray[Any], *, side: int = 112, about: str = "") -> Picture:
    """Draw a row per block of the transformer and a column per head, plus one for their mean; the photo is at the top.

    Args:
        photo: ``(H, W, 3) uint8`` RGB.
        attention: ``(L, heads, h, w)`` from the class token to the patches, non-negative; in each map the highest hundredth is
            brightest.
        side: width and height in pixels of the square that every map is fitted into.
        about: what is shown, printed below.

    Returns:
        ``(H, W, 3) uint8``.

    Raises:
        DataError: the attention has the wrong shape, or contains NaN.
    """
    maps = np.asarray(attention, dtype=np.float32)
    if maps.ndim != 4 or 0 in maps.shape or not np.isfinite(maps).all():
        raise DataError(f"attention is (blocks, heads, height, width) without NaN, not {maps.shape}; take that of one photo")
    blocks, heads = maps.shape[:2]
    maps = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
    highest, high = maps.max(axis=(2, 3), keepdims=True), np.percentile(maps, _BRIGHTEST_PERCENTILE, axis=(2, 3), keepdims=True)
    maps = np.asarray(maps / np.maximum(np.where(high > 0, high, highest), 1e-12), dtype=np.float32)
    small = _fitted(photo, side)
    height, width = small.shape[:2]
    font = max(11, side // 9)
    line, label = round(1.3 * font), 5 * font  # room above the columns and beside the rows
    step, first, top = width + _GAP, label + _GAP, max(height, 5 * line) + 2 * _GAP + line
    # between the heads and their mean there is a double gap; the words beside the photo need some room
    page_width, page_height = first + max(heads + 1, 4) * step + _GAP, top + blocks * (height + _GAP)
    below = _wrapped(about, font, page_width)
    page = Image.new("RGB", (page_width, page_height + len(below) * line), PAPER)
    draw = ImageDraw.Draw(page)
    page.paste(Image.fromarray(small), (first, _GAP))
    left = first + step + _GAP
    words = f"Attention of the class token in {blocks} blocks and {heads} heads; in each map the highest hundredth is brightest"
    _write_lines(draw, text_lines(draw, words, font, page_width - left - _GAP, 3), left, _GAP + 0.5 * line, line, font)
    drawing.draw_key(draw, ["attention"], left, _GAP + 3.2 * line, Pen(line=1, font=font, pad=3))
    for column, name in enumerate([*(f"head {number + 1}" for number in range(heads)), "mean"]):
        x = first + column * step + _GAP * (column == heads)
        caption(draw, name, x, top, width, font, above=True)
        for block in range(blocks):
            levels = np.rint(stretched(maps[block, column], (width, height)) * 255).astype(np.uint8)
            page.paste(Image.fromarray(drawing.heat_colours()[levels]), (x, top + block * (height + _GAP)))
    for block in range(blocks):
        name = f"block {block + 1}"
        draw.text((label, top + block * (height + _GAP) + height / 2), name, INK, font_for(name, font), anchor="rm")
    _write_lines(draw, below, _GAP, page_height + 0.4 * line, line, font)
    return np.array(page, dtype=np.uint8)


def _rectangles(boxes: NDArray[Any] | None) -> NDArray[np.float64]:
    return np.zeros((0, 4)) if boxes is None else np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _fitted(photo: Picture, side: int) -> Picture:
    """Return the photo resized so that its longer side has ``side`` pixels."""
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    return resize_image(photo, (max(1, round(width * scale)), max(1, round(height * scale))))


def _wrapped(words: str, font: int, width: int) -> list[str]:
    """Return at most four lines that fit the page's width; none if ``words`` is empty."""
    return text_lines(ImageDraw.Draw(Image.new("RGB", (1, 1))), words, font, width - 2 * _GAP, 4) if words else []


def _write_lines(draw: ImageDraw.ImageDraw, lines: Sequence[str], x: float, y: float, step: int, font: int) -> None:
    """Write lines one below the other; ``y`` is the middle of the first."""
    for number, words in enumerate(lines):
        draw.text((x, y + number * step), words, INK, font_for(words, font), anchor="lm")
