"""Pictures for people: a photo with its heat map, mask outline and boxes, and contact sheets of many.

In: a photo ``HWC uint8`` and its :class:`~dips.types.Prediction`. Out: pictures ``HWC uint8``. Lines and letters grow
with the photo, so that 256 pixels and 4K are equally readable. Predicted boxes are solid, true ones dashed, so that
nobody has to tell colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from dips.errors import DataError
from dips.export.fonts import font_for
from dips.types import Prediction

__all__ = ["Tile", "heat_colours", "overlay", "sheet", "thumbnail"]

Picture = NDArray[np.uint8]
Rect = tuple[float, float, float, float]
Colour = tuple[int, int, int]

PREDICTED: Colour = (64, 224, 255)
TRUE: Colour = (150, 255, 90)
OUTLINE: Colour = (255, 255, 255)
DARK: Colour = (12, 14, 18)
_STRONGEST = 0.62  # opacity of the heat map where the score is 1


class Tile(NamedTuple):
    """One picture of a contact sheet with the words below it."""

    caption: str
    image: Picture


@dataclass(frozen=True)
class _Pen:
    """Sizes in pixels that suit a photo."""

    line: int
    font: int
    pad: int

    @staticmethod
    def of(width: int, height: int) -> _Pen:
        short = min(width, height)
        return _Pen(line=max(1, round(1 + short / 240)), font=max(11, round(short / 48)), pad=max(2, round(short / 220)))


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
    pen = _Pen.of(width, height)
    canvas = _blend(photo, prediction.score_map) if heat else photo.copy()
    _outline(canvas, prediction.mask, pen)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for box in truth:
        _dashed(draw, _inside(box, width, height), pen)
    for box in prediction.boxes[::-1]:  # the best one on top
        _solid(draw, _inside(box, width, height), pen)
    taken = _tags(draw, prediction, pen)
    if legend:
        _legend(draw, prediction, bool(len(truth)), heat, taken, pen)
    return np.array(picture, dtype=np.uint8)


def heat_colours() -> Picture:
    """``(256, 3) uint8`` colours from low to high score: black, violet, orange, yellow (evenly growing brightness)."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.array(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1], dtype=np.uint8)


def thumbnail(image: Picture, side: int) -> Picture:
    """The picture with its longer side at most ``side`` pixels; never enlarged."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return np.array(image, dtype=np.uint8)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
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
    page = Image.new("RGB", (columns * (side + gap) + gap, page_height), (250, 250, 250))
    draw = ImageDraw.Draw(page)
    for index, (caption, _) in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = gap + column * (side + gap), gap + sum(height + 2 * line + gap for height in heights[:row])
        image, bottom = small[index], y + heights[row]
        page.paste(Image.fromarray(image), (x + (side - image.shape[1]) // 2, bottom - image.shape[0]))
        for number, words in enumerate(_lines(draw, caption, font, side, 2)):
            left = x + (side - _width(draw, words, font)) / 2
            draw.text((left, bottom + line * (number + 0.55)), words, (30, 30, 30), font_for(words, font), anchor="lm")
    return np.array(page, dtype=np.uint8)


def _blend(photo: Picture, score_map: NDArray[np.float32]) -> Picture:
    colours = heat_colours().astype(np.float32)
    alphas = (_STRONGEST * np.linspace(0, 1, 256) ** 0.8).astype(np.float32)
    out = np.empty_like(photo)
    for top in range(0, photo.shape[0], 256):  # in bands: a 4K photo as float32 takes 100 MB
        rows = slice(top, top + 256)
        levels = np.rint(np.clip(score_map[rows], 0, 1) * 255).astype(np.uint8)
        part = photo[rows].astype(np.float32)
        out[rows] = np.rint(part + (colours[levels] - part) * alphas[levels][..., None]).astype(np.uint8)
    return out


def _outline(canvas: Picture, mask: NDArray[np.bool_], pen: _Pen) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thin = max(1, pen.line // 2)
    cv2.drawContours(canvas, contours, -1, DARK, thin + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, OUTLINE, thin, cv2.LINE_AA)


def _inside(box: NDArray[Any], width: int, height: int) -> Rect:
    """The box's outermost pixels (inclusive), within the photo."""
    x0, y0 = (int(np.clip(np.floor(value), 0, side - 1)) for value, side in zip(box[:2], (width, height), strict=True))
    x1, y1 = (int(np.clip(np.ceil(value) - 1, 0, side - 1)) for value, side in zip(box[2:], (width, height), strict=True))
    return x0, y0, max(x0, x1), max(y0, y1)


def _solid(draw: ImageDraw.ImageDraw, box: Rect, pen: _Pen) -> None:
    halo = max(1, pen.line // 3)
    x0, y0, x1, y1 = box
    draw.rectangle((x0 - halo, y0 - halo, x1 + halo, y1 + halo), outline=DARK, width=pen.line + 2 * halo)
    draw.rectangle(box, outline=PREDICTED, width=pen.line)


def _dashed(draw: ImageDraw.ImageDraw, box: Rect, pen: _Pen) -> None:
    halo = max(1, pen.line // 3)
    x0, y0, x1, y1 = box
    dash = max(4, 5 * pen.line)
    draw.rectangle((x0 - halo, y0 - halo, x1 + halo, y1 + halo), outline=DARK, width=pen.line + 2 * halo)
    for start in np.arange(x0, x1, 1.7 * dash):
        end = min(start + dash, x1)
        draw.rectangle((start, y0, end, min(y0 + pen.line - 1, y1)), fill=TRUE)
        draw.rectangle((start, max(y1 - pen.line + 1, y0), end, y1), fill=TRUE)
    for start in np.arange(y0, y1, 1.7 * dash):
        end = min(start + dash, y1)
        draw.rectangle((x0, start, min(x0 + pen.line - 1, x1), end), fill=TRUE)
        draw.rectangle((max(x1 - pen.line + 1, x0), start, x1, end), fill=TRUE)


def _tags(draw: ImageDraw.ImageDraw, prediction: Prediction, pen: _Pen) -> list[Rect]:
    """Write label and score at every box, or the class alone in the corner; returns the room that is taken."""
    width, height = prediction.size
    taken: list[Rect] = []
    if len(prediction.boxes) == 0:
        words = _short(draw, f"{prediction.label} {prediction.label_score:.2f}", pen.font, width - 4 * pen.pad)
        taken.append(_tag(draw, words, 0, 0, pen, DARK, OUTLINE))
    for box, score in zip(prediction.boxes, prediction.box_scores, strict=True):
        words = _short(draw, f"{prediction.label} {score:.2f}", pen.font, width - 4 * pen.pad)
        w, h = _width(draw, words, pen.font) + 2 * pen.pad, pen.font + 2 * pen.pad
        x0, y0, x1, y1 = _inside(box, width, height)
        left, right = max(0.0, min(x0, width - w)), max(0.0, x1 - w + 1)
        places = [(left, y0 - h), (left, y1 + 1), (left, y0), (right, y1 - h + 1), (right, y0 - h)]
        fitting = [(x, y) for x, y in places if y >= 0 and y + h <= height] or [(left, max(0.0, min(y0, height - h)))]
        free = [place for place in fitting if not any(_meet((*place, place[0] + w, place[1] + h), other) for other in taken)]
        taken.append(_tag(draw, words, *(free or fitting)[0], pen, PREDICTED, DARK))
    return taken


def _tag(draw: ImageDraw.ImageDraw, words: str, x: float, y: float, pen: _Pen, paper: Colour, ink: Colour) -> Rect:
    w, h = _width(draw, words, pen.font) + 2 * pen.pad, pen.font + 2 * pen.pad
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=paper)
    draw.text((x + pen.pad, y + h / 2), words, ink, font_for(words, pen.font), anchor="lm")
    return x, y, x + w, y + h


def _legend(draw: ImageDraw.ImageDraw, prediction: Prediction, truth: bool, heat: bool, taken: list[Rect], pen: _Pen) -> None:
    """One line in a corner; entries that do not fit are left out, the least important first."""
    width, height = prediction.size
    swatch, gap, h = 2 * pen.font, pen.font // 2, pen.font + 4 * pen.pad
    names = ["predicted", *["true"] * truth, *["score"] * heat, *["mask"] * bool(prediction.mask.any())]
    if not len(prediction.boxes):
        names.remove("predicted")
    widths = {name: swatch + gap // 2 + _width(draw, name, pen.font) + gap for name in names}
    while names and sum(widths[name] for name in names) + gap > width:
        names.pop()
    if not names or h * 5 > height:
        return
    w = sum(widths[name] for name in names) + gap
    corners = [(round(width - w), height - h), (0, height - h), (round(width - w), 0), (0, 0)]
    x, y = min(corners, key=lambda corner: _crowd(prediction, (*corner, corner[0] + w, corner[1] + h), taken))
    draw.rectangle((x, y, x + w, y + h), fill=DARK)
    left: float = x + gap
    middle = y + h / 2
    small = _Pen(line=max(1, pen.font // 8), font=pen.font, pad=pen.pad)
    ramp = [tuple(row) for row in heat_colours()[np.linspace(0, 255, swatch).astype(int)].tolist()]
    for name in names:
        frame = (left, round(middle - pen.font * 0.4), left + swatch - 1, round(middle + pen.font * 0.4))
        if name == "predicted":
            draw.rectangle(frame, outline=PREDICTED, width=small.line)
        elif name == "true":
            _dashed(draw, frame, small)
        elif name == "mask":
            draw.line((frame[0], middle, frame[2], middle), fill=OUTLINE, width=small.line)
        else:
            for step, colour in enumerate(ramp):
                draw.line((left + step, frame[1], left + step, frame[3]), fill=colour)
        draw.text((left + swatch + gap // 2, middle), name, OUTLINE, font_for(name, pen.font), anchor="lm")
        left += widths[name]


def _crowd(prediction: Prediction, rect: Rect, taken: list[Rect]) -> float:
    """How much of interest a rectangle would hide."""
    x0, y0, x1, y1 = (max(0, round(value)) for value in rect)
    score = float(prediction.score_map[y0:y1, x0:x1].mean())
    boxes = sum(_meet(rect, (box[0], box[1], box[2], box[3])) for box in prediction.boxes)
    return score + boxes + 10 * sum(_meet(rect, other) for other in taken)


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _width(draw: ImageDraw.ImageDraw, text: str, size: int) -> float:
    return float(draw.textlength(text, font=font_for(text, size)))


def _short(draw: ImageDraw.ImageDraw, text: str, size: int, room: float) -> str:
    """The text, or its beginning and its last word (the score) with an ellipsis between."""
    if _width(draw, text, size) <= room:
        return text
    head, space, tail = text.rpartition(" ")
    while head and _width(draw, f"{head}…{space}{tail}", size) > room:
        head = head[:-1]
    return f"{head}…{space}{tail}"


def _lines(draw: ImageDraw.ImageDraw, text: str, size: int, room: int, most: int) -> list[str]:
    """The text broken into at most ``most`` lines; what is too long is cut with an ellipsis."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < most:
        end = len(rest)
        while end > 1 and _width(draw, rest[:end], size) > room:
            end -= 1
        if end < len(rest) and len(lines) + 1 == most:
            lines.append(rest[: max(1, end - 1)] + "…")
            break
        space = rest.rfind(" ", 1, end + 1) if end < len(rest) else -1
        cut = space if space > 0 else end
        lines.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return lines
