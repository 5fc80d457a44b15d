"""A photo with its boxes, the outline of its mask and, optionally, its heat map.

In: a photo ``HWC uint8`` and its prediction. Out: pictures ``HWC uint8``, drawn with :mod:`dips.pictures.drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from dips.data.images import fitted_size
from dips.pictures import drawing
from dips.pictures.drawing import DARK, OUTLINE, PREDICTED, Pen, Picture, Rect, draw_key, inside, key_size, text_width
from dips.scoremaps.levels import stretched
from dips.types import FloatArray

__all__ = ["overlay", "thumbnail"]


def overlay(
    photo: Picture,
    *,
    boxes: FloatArray,
    tags: Sequence[str],
    caption: str,
    score_map: FloatArray,
    mask: NDArray[np.bool_],
    true_boxes: ArrayLike | None = None,
    heat: bool = False,
    legend: bool = True,
    reviewed: bool = False,
) -> Picture:
    """Draw all predictions onto a photo.

    Args:
        photo: ``(H, W, 3) uint8`` RGB.
        boxes: ``(N, 4)`` ``x0 y0 x1 y1`` in the photo's pixels, end exclusive, best first.
        tags: text at each box: class and score.
        caption: text in the corner if there are no boxes: class and probability.
        score_map: ``(h, w)`` in [0, 1], of any size; it covers the whole photo.
        mask: ``(H, W)``, the union of all objects; its outline is drawn.
        true_boxes: ground truth, ``(K, 4)`` like ``boxes``, drawn dashed; None if unknown.
        heat: blend the score map over the photo, more opaque for higher scores; this hides much of the object.
        legend: draw a legend in the corner where the score is lowest; left out if an entry is wider than the photo, or the
            legend higher than a quarter of it.
        reviewed: whether the boxes come from a person.

    Returns:
        ``(H, W, 3) uint8``; the photo itself is unchanged.
    """
    height, width = photo.shape[:2]
    ground_truth = np.zeros((0, 4)) if true_boxes is None else np.asarray(true_boxes, dtype=np.float64).reshape(-1, 4)
    pen = Pen.of(width, height)
    canvas = drawing.blend(photo, stretched(score_map, (width, height))) if heat else photo.copy()
    drawing.outline_mask(canvas, mask, pen)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for box in ground_truth:
        drawing.dashed_box(draw, inside(box, width, height), pen)
    for box in boxes[::-1]:  # the best one on top
        drawing.solid_box(draw, inside(box, width, height), pen)
    taken = _box_tags(draw, boxes, tags, (width, height), pen)
    if not tags:
        words = drawing.short_text(draw, caption, pen.font, width - 4 * pen.pad)
        taken.append(drawing.tag(draw, words, 0, 0, pen, DARK, OUTLINE))
    if legend:
        is_drawn = {
            "reviewed" if reviewed else "predicted": bool(tags),
            "true": len(ground_truth) > 0,
            "score": heat,
            "mask": bool(mask.any()),
        }
        names = [name for name, drawn in is_drawn.items() if drawn]
        _legend(draw, names, (width, height), score_map, np.concatenate([boxes, ground_truth]), taken, pen)
    return np.array(picture, dtype=np.uint8)


def thumbnail(image: Picture, side: int) -> Picture:
    """Return the picture ``(H, W, 3) uint8`` with its longer side at most ``side`` pixels; it is never enlarged."""
    height, width = image.shape[:2]
    size = fitted_size((width, height), side)
    if size == (width, height):
        return np.array(image, dtype=np.uint8)
    return np.array(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _box_tags(draw: ImageDraw.ImageDraw, boxes: FloatArray, tags: Sequence[str], size: tuple[int, int], pen: Pen) -> list[Rect]:
    """Draw a tag at every box, clear of other tags if there is room; return the rectangles of the tags."""
    width, height = size
    taken: list[Rect] = []
    for box, text in zip(boxes, tags, strict=True):
        words = drawing.short_text(draw, text, pen.font, width - 4 * pen.pad)
        w, h = text_width(draw, words, pen.font) + 2 * pen.pad, pen.font + 2 * pen.pad
        x0, y0, x1, y1 = inside(box, width, height)
        left, right = max(0.0, min(x0, width - w)), max(0.0, x1 - w + 1)
        corners = [(left, y0 - h), (left, y1 + 1), (left, y0), (right, y1 - h + 1), (right, y0 - h)]
        fitting = [(x, y) for x, y in corners if y >= 0 and y + h <= height] or [(left, max(0.0, min(y0, height - h)))]
        free = [
            corner for corner in fitting if not any(_meet((*corner, corner[0] + w, corner[1] + h), other) for other in taken)
        ]
        taken.append(drawing.tag(draw, words, *(free or fitting)[0], pen, PREDICTED, DARK))
    return taken


def _legend(
    draw: ImageDraw.ImageDraw,
    names: list[str],
    size: tuple[int, int],
    score_map: FloatArray,
    boxes: FloatArray,
    taken: list[Rect],
    pen: Pen,
) -> None:
    """Draw the legend in a corner, whole or not at all: half a legend would be misleading."""
    width, height = size
    w, h = key_size(draw, names, pen, width)
    if not names or w > width or h * 4 > height:
        return

    def hidden(corner: tuple[int, int]) -> float:
        """Return how much of interest the legend would hide in this corner."""
        rect = (*corner, corner[0] + w, corner[1] + h)
        cells = np.array(score_map.shape[::-1]) / size
        x0, y0 = np.floor(np.maximum(rect[:2], 0) * cells).astype(int)
        x1, y1 = np.ceil(np.array(rect[2:]) * cells).astype(int)
        covered = sum(_meet(rect, (box[0], box[1], box[2], box[3])) for box in boxes)
        return float(score_map[y0:y1, x0:x1].mean()) + covered + 10 * sum(_meet(rect, other) for other in taken)

    corners = [(width - w, height - h), (0, height - h), (width - w, 0), (0, 0)]
    draw_key(draw, names, *min(corners, key=hidden), pen, width)


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
