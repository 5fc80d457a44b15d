"""Predictions as files, and back: a record as JSON per photo, all in one JSON, the score map and the mask as PNG.

In: :class:`~dips.types.Prediction`. Out: files, each written whole or not at all. A record holds masks as run lengths, so
every format of other tools is written from records alone (:mod:`dips.export.formats`). Record and score map make the prediction
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import RunError
from dips.rle import encode
from dips.runtime import atomic_file
from dips.scoremaps import packed, unpacked
from dips.types import Prediction, Problem

__all__ = [
    "SCHEMA_VERSION",
    "damaged",
    "prediction_record",
    "read_prediction",
    "read_record",
    "skipped_records",
    "text_of",
    "write_json",
    "write_map",
    "write_mask",
    "write_predictions",
]

SCHEMA_VERSION = 1
"""Grows when a key of the JSON is renamed, removed or changes its meaning; new keys do not change it."""

Record = dict[str, Any]
_KEYS = {"path", "name", "folder", "width", "height", "label", "label_score", "class_scores", "background", "boxes"}
_KEYS |= {"threshold", "min_area", "min_score", "max_boxes", "model"}


def prediction_record(
    prediction: Prediction, *, path: str | None = None, name: str | None = None, folder: str = "", model: str = ""
) -> Record:
    """What is written to JSON about one photo.

    Args:
        prediction: the prediction.
        path: how to name the photo; its path with forward slashes by default.
        name: its path below the folder that was predicted; that of the file alone by default.
        folder: the own name of that folder, without those around it.
        model: what tells the model from others.

    Returns:
        ``schema_version``; ``path``; ``name``; ``folder``; ``width`` and ``height`` in pixels; ``label``; ``label_score``;
        ``class_scores`` (name to probability); ``background``: name of the class without object or null; ``boxes``: a list of
        ``{"box": [x0, y0, x1, y1], "score": s, "mask": {"size": [height, width], "counts": "..."}}``, best first, in the
        photo's own pixels, end exclusive, masks as COCO's run lengths; ``threshold``; ``min_area`` as a share of the photo;
        ``min_score``; ``max_boxes``; ``model``.
    """
    width, height = prediction.size
    return {
        "schema_version": SCHEMA_VERSION,
        "path": text_of(prediction.path.as_posix()) if path is None else path,
        "name": text_of(prediction.path.name) if name is None else name,
        "folder": folder,
        "width": width,
        "height": height,
        "label": prediction.label,
        "label_score": _rounded(prediction.label_score),
        "class_scores": {
            name: _rounded(score) for name, score in zip(prediction.classes, prediction.class_scores, strict=True)
        },
        "background": prediction.background,
        "boxes": [
            {
                "box": [_rounded(value, 2) for value in box],
                "score": _rounded(score),
                "mask": {"size": [height, width], "counts": _counts(prediction, index)},
            }
            for index, (box, score) in enumerate(zip(prediction.boxes, prediction.box_scores, strict=True))
        ],
        "threshold": float(prediction.threshold),  # not rounded: the same objects are found again
        "min_area": float(prediction.min_area),
        "min_score": float(prediction.min_score),
        "max_boxes": prediction.max_boxes,
        "model": model,
    }


def _counts(prediction: Prediction, index: int) -> str:
    corner = (int(prediction.boxes[index, 0]), int(prediction.boxes[index, 1]))
    return encode(prediction.object_mask(index), corner=corner, size=prediction.size)


def read_record(file: Path) -> Record:
    """What :func:`prediction_record` gave, from its JSON file.

    Raises:
        RunError: it is damaged.
    """
    try:
        record = json.loads(file.read_bytes())
        if missing := _KEYS - record.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        for entry in record["boxes"]:
            if not isinstance(entry["mask"]["counts"], str):
                raise ValueError("a mask is no string of run lengths")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(file, error) from error
    return dict(record)


def damaged(file: Path, error: Exception) -> RunError:
    """For a record that cannot be what a prediction wrote."""
    return RunError(f"{file} is damaged ({error}); remove it and predict the photo again")


def read_prediction(record: Mapping[str, Any], map_file: Path) -> Prediction:
    """The prediction that a record and its score map were written from, without its objects: :func:`dips.objects.with_objects`
    finds them anew.

    Raises:
        RunError: the record or the map is missing or damaged.
    """
    try:
        grid = cv2.imdecode(np.frombuffer(map_file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if grid is None or grid.dtype != np.uint16 or grid.ndim != 2:
            raise ValueError("no grey picture of 16 bits")
        return Prediction(
            path=Path(record["path"]),
            label=record["label"],
            label_score=record["label_score"],
            class_scores=np.array(list(record["class_scores"].values()), np.float32),
            classes=tuple(record["class_scores"]),
            size=(record["width"], record["height"]),
            boxes=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            grid=unpacked(grid.view(np.uint16)),
            regions=np.zeros((1, 1), np.uint16),
            threshold=record["threshold"],
            min_area=record["min_area"],
            min_score=record["min_score"],
            max_boxes=record["max_boxes"],
            background=record["background"],
        )
    except (OSError, ValueError, LookupError, TypeError, cv2.error) as error:
        raise RunError(f"{map_file} or its record is missing or damaged ({error}); predict the photos again") from error


def text_of(name: str) -> str:
    """A file name that is no valid UTF-8 as text that JSON can hold."""
    return os.fsencode(name).decode("utf-8", "replace")


def skipped_records(problems: Iterable[Problem]) -> list[Record]:
    """Photos that were left out, for JSON: ``path`` and ``reason``."""
    return [{"path": text_of(problem.path.as_posix()), "reason": text_of(problem.message)} for problem in problems]


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """One photo's record as a JSON file.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        json.dump(record, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")


def write_predictions(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """All records as one JSON file: ``{"schema_version": 1, "predictions": [...]}``.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(f'{{"schema_version": {SCHEMA_VERSION}, "predictions": [')
        for index, record in enumerate(records):
            file.write(",\n" if index else "\n")
            json.dump(record, file, ensure_ascii=False, allow_nan=False)
        file.write("\n]}\n")


def write_map(prediction: Prediction, path: Path) -> None:
    """The score map as the networks gave it, as a 16-bit grey PNG: 65535 is 1. It shows the whole photo, stretched.

    Raises:
        RunError: the file cannot be written.
    """
    _write_png(packed(prediction.grid), path)


def write_mask(prediction: Prediction, path: Path) -> None:
    """The mask as an 8-bit PNG of the photo's size: 255 object, 0 elsewhere.

    Raises:
        RunError: the file cannot be written.
    """
    _write_png(prediction.mask.view(np.uint8) * np.uint8(255), path)


def _write_png(picture: NDArray[Any], path: Path) -> None:
    done, data = cv2.imencode(".png", picture)
    if not done:  # pragma: no cover - no grey picture is known that OpenCV cannot encode
        raise RunError(f"{path} could not be encoded as PNG")
    with atomic_file(path, "wb") as file:
        file.write(data.tobytes())


def _rounded(value: Any, digits: int = 6) -> float:
    return round(float(value), digits)
