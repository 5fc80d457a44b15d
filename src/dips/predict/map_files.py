"""Score maps on disk, as PNG: together with a photo's record they restore its prediction without running the networks.

In: a :class:`~dips.predict.prediction.Prediction`. Out: files, and the same prediction from them, without its objects.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.data.images import decode_image, encode_image
from dips.errors import RunError
from dips.formats.records import PredictionRecord
from dips.predict.inputs import path_of
from dips.predict.prediction import Prediction
from dips.scoremaps.levels import packed, unpacked
from dips.scoremaps.object_classes import stacked, unstacked
from dips.system.files import atomic_file

__all__ = ["restore_prediction", "write_classes", "write_map"]


def write_map(prediction: Prediction, path: Path) -> None:
    """Write the score map as output by the networks as a 16-bit grey PNG: 65535 is 1. It covers the whole photo, resized.

    Raises:
        RunError: the file cannot be written.
    """
    _write_png(packed(prediction.grid), path)


def write_classes(prediction: Prediction, path: Path) -> None:
    """Write the class probabilities in each part of the photo as a 16-bit grey PNG: one image per class, stacked vertically
    in the order of the record's ``cell_classes``, of the negative log probability of the class, in units of 1/512.

    Nothing is written if objects have no classes of their own.

    Raises:
        RunError: the file cannot be written.
    """
    if prediction.cells is not None:
        _write_png(stacked(prediction.cells.levels), path)


def restore_prediction(record: PredictionRecord, map_file: Path, classes_file: Path | None = None) -> Prediction:
    """Return the prediction that a record and its score map were written from, without its objects;
    :meth:`~dips.predict.prediction.Prediction.with_objects` finds them again.

    Args:
        record: the photo's record.
        map_file: see :func:`write_map`.
        classes_file: see :func:`write_classes`; without it objects have no classes of their own.

    Raises:
        RunError: a file is missing or damaged.
    """
    levels = _read_png(map_file)
    classes, scores = zip(*record.class_scores.items(), strict=True)
    cells = None
    if classes_file is not None and record.cell_classes:
        try:
            cells = unstacked(_read_png(classes_file), [classes.index(name) for name in record.cell_classes])
        except ValueError as error:
            raise RunError(f"{classes_file} is damaged ({error}); predict the photos again") from error
    return replace(
        Prediction.from_map(
            path_of(record.path),
            (record.width, record.height),
            unpacked(levels),
            classes=classes,
            probabilities=np.array(scores, np.float32),
            background=record.background,
            scale=record.scale or None,
            camera=record.camera or None,
            calibration=record.calibration or None,
            cells=cells,
        ),
        label=record.label,
        label_score=record.label_score,
        threshold=record.threshold,
        min_area=record.min_area,
        min_score=record.min_score,
        max_boxes=record.max_boxes,
    )


def _write_png(picture: NDArray[Any], path: Path) -> None:
    with atomic_file(path, "wb") as file:
        file.write(encode_image(picture, ".png"))


def _read_png(path: Path) -> NDArray[np.uint16]:
    try:
        levels = decode_image(path.read_bytes(), cv2.IMREAD_UNCHANGED)
        if levels is None or levels.dtype != np.uint16 or levels.ndim != 2:
            raise ValueError("not a grey picture of 16 bits")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is missing or damaged ({error}); predict the photos again") from error
    return levels.view(np.uint16)
