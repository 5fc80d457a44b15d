"""Building blocks of all pictures: colours, pens, boxes, text and the key (legend) that explains them.

Line widths and font sizes scale with the picture, so that 256 pixels and 4K are equally readable. Predicted boxes are solid and
ground-truth boxes dashed, so that they can be told apart without colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from dips.pictures.fonts import font_for

__all__ = [
    "DARK",
    "GROUND_TRUTH",
    "INK",
    "OUTLINE",
    "PAPER",
    "PREDICTED",
    "Colour",
    "Pen",
    "Picture",
    "Rect",
    "blend",
    "caption",
    "dashed_box",
    "draw_key",
    "heat_colours",
    "inside",
    "key_size",
    "outline_mask",
    "short_text",
    "solid_box",
    "tag",
    "text_lines",
    "text_width",
]

Picture = NDArray[np.uint8]
Rect = tuple[float, float, float, float]
Colour = tuple[int, int, int]

PREDICTED: Colour = (64, 224, 255)
GROUND_TRUTH: Colour = (150, 255, 90)
OUTLINE: Colour = (255, 255, 255)
DARK: Colour = (12, 14, 18)
PAPER: Colour = (250, 250, 250)
INK: Colour = (30, 30, 30)
MAX_OPACITY = 0.62  # of the heat map, where the score is 1


@dataclass(frozen=True)
class Pen:
    """Sizes in pixels: line width, font size and padding around text.

    >>> Pen.of(1920, 1080)
    Pen(line=6, font=22, pad=5)
    """

    line: int
    font: int
    pad: int

    @staticmethod
    def of(width: int, height: int) -> Pen:
        """Return the pen for a picture of ``width`` x ``height`` pixels."""
        short = min(width, height)
        return Pen(line=max(1, round(1 + short / 240)), font=max(11, round(short / 48)), pad=max(2, round(short / 220)))


def heat_colours() -> Picture:
    """Return ``(256, 3) uint8`` RGB colours for low to high scores: black, violet, orange, yellow, evenly brighter."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.array(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1], dtype=np.uint8)


def blend(photo: Picture, score_map: NDArray[np.float32]) -> Picture:
    """Return the photo ``(H, W, 3) uint8`` overlaid with the map ``(H, W)`` in [0, 1], more opaque for higher scores."""
    colours = heat_colours().astype(np.float32)
    alphas = (MAX_OPACITY * np.linspace(0, 1, 256) ** 0.8).astype(np.float32)
    out = np.empty_like(photo)
    for top in range(0, photo.shape[0], 256):  # in bands: a 4K photo as float32 takes 100 MB
        rows = slice(top, top + 256)
        levels = np.rint(np.clip(score_map[rows], 0, 1) * 255).astype(np.uint8)
        part = photo[rows].astype(np.float32)
        out[rows] = np.rint(part + (colours[levels] - part) * alphas[levels][..., None]).astype(np.uint8)
    return out


def outline_mask(canvas: Picture, mask: NDArray[np.bool_], pen: Pen) -> None:
    """Draw the outline of a mask ``(H, W) bool`` onto a picture ``(H, W, 3) uint8``."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thin = max(1, pen.line // 2)
    cv2.drawContours(canvas, contours, -1, DARK, thin + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, OUTLINE, thin, cv2.LINE_AA)


def inside(box: NDArray[Any], width: int, height: int) -> Rect:
    """Return the outermost pixels (inclusive) of a box ``x0 y0 x1 y1`` (end exclusive), within the photo."""
    x0, y0 = (int(np.clip(np.floor(value), 0, side - 1)) for value, side in zip(box[:2], (width, height), strict=True))
    x1, y1 = (int(np.clip(np.ceil(value) - 1, 0, side - 1)) for value, side in zip(box[2:], (width, height), strict=True))
    return x0, y0, max(x0, x1), max(y0, y1)


def solid_box(draw: ImageDraw.ImageDraw, box: Rect, pen: Pen) -> None:
    """Draw a predicted box, given as its outermost pixels (inclusive)."""
    halo = max(1, pen.line // 3)
    x0, y0, x1, y1 = box
    draw.rectangle((x0 - halo, y0 - halo, x1 + halo, y1 + halo), outline=DARK, width=pen.line + 2 * halo)
    draw.rectangle(box, outline=PREDICTED, width=pen.line)


def dashed_box(draw: ImageDraw.ImageDraw, box: Rect, pen: Pen) -> None:
    """Draw a ground-truth box, given as its outermost pixels (inclusive)."""
    halo = max(1, pen.line // 3)
    x0, y0, x1, y1 = box
    dash = max(4, 5 * pen.line)
    draw.rectangle((x0 - halo, y0 - halo, x1 + halo, y1 + halo), outline=DARK, width=pen.line + 2 * halo)
    for start in np.arange(x0, x1, 1.7 * dash):
        end = min(start + dash, x1)
        draw.rectangle((start, y0, end, min(y0 + pen.line - 1, y1)), fill=GROUND_TRUTH)
        draw.rectangle((start, max(y1 - pen.line + 1, y0), end, y1), fill=GROUND_TRUTH)
    for start in np.arange(y0, y1, 1.7 * dash):
        end = min(start + dash, y1)
        draw.rectangle((x0, start, min(x0 + pen.line - 1, x1), end), fill=GROUND_TRUTH)
        draw.rectangle((max(x1 - pen.line + 1, x0), start, x1, end), fill=GROUND_TRUTH)


def tag(draw: ImageDraw.ImageDraw, words: str, x: float, y: float, pen: Pen, paper: Colour, ink: Colour) -> Rect:
    """Draw text on a label of colour ``paper`` with its upper left corner at ``x``, ``y``; return the label's rectangle."""
    w, h = text_width(draw, words, pen.font) + 2 * pen.pad, pen.font + 2 * pen.pad
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=paper)
    draw.text((x + pen.pad, y + h / 2), words, ink, font_for(words, pen.font), anchor="lm")
    return x, y, x + w, y + h


def key_size(draw: ImageDraw.ImageDraw, names: Sequence[str], pen: Pen, room: float = math.inf) -> tuple[int, int]:
    """Return the width and height in pixels of the key that :func:`draw_key` draws."""
    rows = _key_rows(draw, names, pen, room)
    width = max((sum(_entry_width(draw, name, pen) for name in row) for row in rows), default=0)
    return math.ceil(width + pen.font // 2), len(rows) * _row_height(pen) + 2 * pen.pad


def draw_key(draw: ImageDraw.ImageDraw, names: Sequence[str], x: float, y: float, pen: Pen, room: float = math.inf) -> None:
    """Draw a key to ``predicted`` and ``true`` boxes, the outline of the ``mask`` and the colours, in as many rows as needed.

    Args:
        names: which of these to explain; any other name labels the colour scale.
        x, y: upper left corner of the key.
        room: maximum width in pixels; only a row with a single entry may be wider.
    """
    width, height = key_size(draw, names, pen, room)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=DARK)
    for number, row in enumerate(_key_rows(draw, names, pen, room)):
        _draw_key_row(draw, row, x + pen.font // 2, y + pen.pad + (number + 0.5) * _row_height(pen), pen)


def _key_rows(draw: ImageDraw.ImageDraw, names: Sequence[str], pen: Pen, room: float) -> list[list[str]]:
    """Break the entries into rows."""
    rows: list[list[str]] = []
    left = 0.0
    for name in names:
        width = _entry_width(draw, name, pen)
        if not rows or width > left:
            rows.append([])
            left = room - pen.font // 2
        rows[-1].append(name)
        left -= width
    return rows


def _entry_width(draw: ImageDraw.ImageDraw, name: str, pen: Pen) -> float:
    """Return the width of a swatch, its name and the gap after it."""
    gap = pen.font // 2
    return 2 * pen.font + gap // 2 + text_width(draw, name, pen.font) + gap


def _row_height(pen: Pen) -> int:
    return pen.font + 2 * pen.pad


def _draw_key_row(draw: ImageDraw.ImageDraw, names: Sequence[str], left: float, middle: float, pen: Pen) -> None:
    swatch, gap = 2 * pen.font, pen.font // 2
    small = Pen(line=max(1, pen.font // 8), font=pen.font, pad=pen.pad)
    for name in names:
        frame = (left, round(middle - pen.font * 0.4), left + swatch - 1, round(middle + pen.font * 0.4))
        if name in ("predicted", "reviewed"):
            draw.rectangle(frame, outline=PREDICTED, width=small.line)
        elif name == "true":
            dashed_box(draw, frame, small)
        elif name == "mask":
            draw.line((frame[0], middle, frame[2], middle), fill=OUTLINE, width=small.line)
        else:
            for step, (r, g, b) in enumerate(heat_colours()[np.linspace(0, 255, swatch).astype(int)].tolist()):
                draw.line((left + step, frame[1], left + step, frame[3]), fill=(r, g, b))
        draw.text((left + swatch + gap // 2, middle), name, OUTLINE, font_for(name, pen.font), anchor="lm")
        left += _entry_width(draw, name, pen)


def text_width(draw: ImageDraw.ImageDraw, text: str, size: int) -> float:
    """Return the width in pixels of a line of text at font size ``size``."""
    return float(draw.textlength(text, font=font_for(text, size)))


def short_text(draw: ImageDraw.ImageDraw, text: str, size: int, room: float) -> str:
    """Return the text if it fits into ``room`` pixels, else its beginning, an ellipsis and its last word (the score)."""
    if text_width(draw, text, size) <= room:
        return text
    head, space, tail = text.rpartition(" ")
    while head and text_width(draw, f"{head}…{space}{tail}", size) > room:
        head = head[:-1]
    return f"{head}…{space}{tail}"


def text_lines(draw: ImageDraw.ImageDraw, text: str, size: int, room: int, max_lines: int) -> list[str]:
    """Wrap the text to lines of at most ``room`` pixels; text beyond ``max_lines`` is replaced by an ellipsis."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < max_lines:
        end = len(rest)
        while end > 1 and text_width(draw, rest[:end], size) > room:
            end -= 1
        if end < len(rest) and len(lines) + 1 == max_lines:
            lines.append(rest[: max(1, end - 1)] + "…")
            break
        space = rest.rfind(" ", 1, end + 1) if end < len(rest) else -1
        cut = space if space > 0 else end
        lines.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return lines


def caption(draw: ImageDraw.ImageDraw, text: str, x: float, y: float, room: int, size: int, *, above: bool = False) -> None:
    """Draw up to two centred lines of text.

    Args:
        x, room: left edge and width in pixels of the picture that the text belongs to.
        y: lower edge of that picture, below which the text is drawn; with ``above``, its upper edge.
        size: font size in pixels; lines are 1.3 times as high.
    """
    lines, line = text_lines(draw, text, size, room, 2), round(size * 1.3)
    for number, words in enumerate(lines):
        left, row = x + (room - text_width(draw, words, size)) / 2, number - len(lines) * above
        draw.text((left, y + line * (row + 0.55)), words, INK, font_for(words, size), anchor="lm")
