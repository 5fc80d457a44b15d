"""The pictures of a comparison: photos x methods (Figures 3 and 4 of the paper), attention by block and head (Figure 1).

In: the stored maps of a few photos, and the comparison. Out: ``sheet-1.jpg`` and so on, ``attention-1.jpg`` and so on, drawn
with :mod:`dips.pictures.drawing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dips.baselines.study import Study
from dips.comparison.folder import MethodFolder
from dips.comparison.records import ComparedMethod, Comparison
from dips.comparison.table_files import file_name, measured_on
from dips.data.depth import Depth
from dips.data.images import ByteImage, encode_image, image_size, read_image, resize_image
from dips.errors import DataError, ImageError
from dips.evaluate.boxes import FRAME, boxes_at_thresholds, iou
from dips.evaluate.protocol import FRAMED
from dips.pictures import drawing
from dips.pictures.drawing import DARK, INK, OUTLINE, PAPER, PREDICTED, Pen, Picture, caption, inside, text_lines
from dips.pictures.fonts import font_for
from dips.pictures.overlay import thumbnail
from dips.scoremaps.levels import stretched
from dips.system.console import log
from dips.system.files import atomic_file
from dips.types import FloatArray, Sample

__all__ = ["Column", "attention_sheet", "method_sheets", "shown_photos", "write_attention", "write_sheets"]

_PHOTO_SIDE = 480  # photos are read at most this large
_JPEG_QUALITY = 90
_ATTENTION_PHOTOS = 2
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


def shown_photos(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return up to ``count`` readable photos with boxes, evenly spread over the split, so that none is hand-picked."""
    boxed = [sample for sample in samples if sample.boxed]
    indices = np.linspace(0, len(boxed) - 1, min(count, len(boxed))).round().astype(int)
    return [boxed[index] for index in indices if _photo(boxed[index]) is not None]


def write_sheets(
    folder: Path,
    comparison: Comparison,
    shown: Sequence[Sample],
    seed: Path,
    file_stem: str,
    depth: Depth | None = None,
) -> list[Path]:
    """Draw the stored maps of all methods that have them.

    Boxes are drawn at the threshold chosen on validation for the largest contour, or at the best one of the split if none was
    chosen. Existing sheets of the same split and protocol are replaced.

    Args:
        folder: folder of the comparison.
        shown: photos to show.
        seed: folder of the seed to show.
        file_stem: stem of the split's file names.

    Returns:
        The files.

    Raises:
        RunError: a file is damaged, or cannot be written.
    """
    stem = file_name("sheet", comparison.split, comparison.protocol_name)
    pairs = [(sample, photo) for sample in shown if (photo := _photo(sample, depth)) is not None]
    columns = []
    for method in comparison.methods:
        maps = MethodFolder(seed / method.name).maps(file_stem)
        if any(sample.id not in maps for sample in shown):
            log(f"the sheet leaves out {method.title}, which was measured for a sheet of other photos")
            continue
        run = method.runs[0]
        tau = (_chosen_tau(method) or run["boxes"]["best_tau"])["v1"]
        boxes = [_largest_box(maps[sample.id], photo, tau) for sample, photo in pairs]
        columns.append(Column(method.title, [maps[sample.id] for sample, _ in pairs], boxes))
    if not columns or not pairs:
        return _write(folder, stem, [])  # existing sheets show what no longer exists
    chosen = {_chosen_tau(method) is not None for method in comparison.methods if method.runs}
    validation, oracle = "the one chosen on validation", "the best of these photos (oracle)"
    words = validation if chosen == {True} else oracle if chosen == {False} else f"{validation}, else {oracle}"
    about = f"{measured_on(comparison)}; boxes: of the largest contour, threshold: {words}"
    ground_truth = [_ground_truth_boxes(sample, photo) for sample, photo in pairs]
    return _write(folder, stem, method_sheets([photo for _, photo in pairs], ground_truth, columns, about=about))


def write_attention(
    folder: Path, comparison: Comparison, study: Study, shown: Sequence[Sample], depth: Depth | None = None
) -> list[Path]:
    """Draw the attention of the study's transformer in every block and head, for the first photos.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    network = study.transformer.network
    side = round(max(study.config.harvest.sizes) / network.patch) * network.patch
    pictures = []
    for sample in shown[:_ATTENTION_PHOTOS]:
        if (photo := _photo(sample, depth)) is None:
            continue
        square = torch.from_numpy(resize_image(photo, (side, side))).to(study.device).permute(2, 0, 1)[None].float() / 255
        attention = network.attention_by_block(square)[0].cpu().numpy()
        pictures.append(attention_sheet(photo, attention, about=measured_on(comparison)))
    return _write(folder, file_name("attention", comparison.split, comparison.protocol_name), pictures)


def _photo(sample: Sample, depth: Depth | None = None) -> ByteImage | None:
    try:
        return thumbnail(read_image(sample.path, max_side=_PHOTO_SIDE, depth=depth or Depth()), _PHOTO_SIDE)
    except ImageError:
        return None


def _chosen_tau(method: ComparedMethod) -> dict[str, float] | None:
    """Return the thresholds chosen on validation, if any."""
    return (method.runs[0]["at_tau"] or {}).get("tau") or None


def _ground_truth_boxes(sample: Sample, photo: ByteImage) -> NDArray[Any]:
    """Return the ground-truth boxes ``(K, 4)`` in the pixels of the picture."""
    width, height = sample.frame or image_size(sample.path)
    assert sample.boxes is not None  # shown_photos returns only photos with boxes
    return np.asarray(sample.boxes * np.array([photo.shape[1] / width, photo.shape[0] / height] * 2, np.float32))


def _largest_box(score_map: FloatArray, photo: ByteImage, tau: float) -> NDArray[Any]:
    """Return the largest contour's box ``(1, 4)`` in the picture's pixels, found in the frame that MaxBoxAcc uses."""
    box = boxes_at_thresholds(FRAMED.resized(score_map, None)).at(tau, multi_contour=False)
    scale = np.array([photo.shape[1], photo.shape[0]] * 2) / FRAME
    return np.asarray(box[(box[:, 2:] > box[:, :2]).all(1)] * scale)  # without foreground the box is a point


def _write(folder: Path, stem: str, pictures: Sequence[Picture]) -> list[Path]:
    for old in folder.glob("*.jpg"):
        if re.fullmatch(rf"{re.escape(stem)}-\d+", old.stem):  # not those of another split
            old.unlink()
    paths = [folder / f"{stem}-{number}.jpg" for number in range(1, len(pictures) + 1)]
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_file(path, "wb") as file:
            file.write(encode_image(picture, ".jpg", cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    return paths


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
