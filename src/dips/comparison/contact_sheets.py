"""The pictures of a comparison: which photos, maps and boxes they show.

In: the stored maps of a few photos, and the comparison. Out: ``sheet-1.jpg`` and so on, ``attention-1.jpg`` and so on, drawn
by :mod:`dips.comparison.sheets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dips.baselines.study import Study
from dips.comparison.folder import MethodFolder
from dips.comparison.records import Comparison
from dips.comparison.sheets import Column, attention_sheet, method_sheets
from dips.comparison.table_files import file_name, measured_on
from dips.data.depth import Depth
from dips.data.images import ByteImage, encode_image, image_size, read_image, resize_image
from dips.errors import ImageError
from dips.evaluate.boxes import FRAME, boxes_at_thresholds
from dips.evaluate.protocol import FRAMED
from dips.models.inputs import whole_patches
from dips.pictures.drawing import Picture
from dips.pictures.overlay import thumbnail
from dips.system.console import log
from dips.system.files import atomic_file
from dips.types import FloatArray, Sample

__all__ = ["shown_photos", "write_attention", "write_sheets"]

_PHOTO_SIDE = 480  # photos are read at most this large
_JPEG_QUALITY = 90
_ATTENTION_PHOTOS = 2


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
        run = next((run for run in method.runs if seed.name == f"seed-{run['seed']}"), None)
        if run is None:
            log(f"the sheet leaves out {method.title}, which has no result for {seed.name}")
            continue
        if any(sample.id not in maps for sample in shown):
            log(f"the sheet leaves out {method.title}, which was measured for a sheet of other photos")
            continue
        tau = (_chosen_tau(run) or run["boxes"]["best_tau"])["v1"]
        boxes = [_largest_box(maps[sample.id], photo, tau) for sample, photo in pairs]
        columns.append(Column(method.title, [maps[sample.id] for sample, _ in pairs], boxes))
    if not columns or not pairs:
        return _write(folder, stem, [])  # existing sheets show what no longer exists
    chosen = {_chosen_tau(run) is not None for method in comparison.methods for run in method.runs[:1]}
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
    side = whole_patches(max(study.config.harvest.sizes), network.patch)
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


def _chosen_tau(run: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the thresholds chosen on validation, if any."""
    return (run["at_tau"] or {}).get("tau") or None


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
