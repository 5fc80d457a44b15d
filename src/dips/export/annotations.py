"""Predictions as files that other tools read: JSON per photo, one JSON for all, COCO, masks as PNG.

In: :class:`~dips.types.Prediction` or the record made of it. Out: files, each written whole or not at all. Records hold
no pixels, so that those of a hundred thousand photos fit into memory; every format but the masks is written from them.
A new format is a function from records to a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.errors import RunError
from dips.runtime import atomic_file
from dips.types import Prediction

__all__ = [
    "SCHEMA_VERSION",
    "prediction_record",
    "write_coco",
    "write_json",
    "write_mask",
    "write_predictions",
]

SCHEMA_VERSION = 1
"""Grows when a key of the JSON is renamed, removed or changes its meaning; new keys do not change it."""

Record = dict[str, Any]


def prediction_record(prediction: Prediction, *, path: str | None = None) -> Record:
    """What is written to JSON about one photo.

    Args:
        prediction: the prediction.
        path: how to name the photo; its path with forward slashes by default.

    Returns:
        ``schema_version``; ``path``; ``width`` and ``height`` in pixels; ``label``; ``label_score``; ``class_scores``
        (name to probability); ``boxes``: a list of ``{"box": [x0, y0, x1, y1], "score": s}``, best first, in the photo's
        own pixels, end exclusive; ``threshold``.
    """
    width, height = prediction.size
    return {
        "schema_version": SCHEMA_VERSION,
        "path": prediction.path.as_posix() if path is None else path,
        "width": width,
        "height": height,
        "label": prediction.label,
        "label_score": _rounded(prediction.label_score),
        "class_scores": {
            name: _rounded(score) for name, score in zip(prediction.classes, prediction.class_scores, strict=True)
        },
        "boxes": [
            {"box": [_rounded(value, 2) for value in box], "score": _rounded(score)}
            for box, score in zip(prediction.boxes, prediction.box_scores, strict=True)
        ],
        "threshold": _rounded(prediction.threshold),
    }


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


def write_coco(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """All records as a COCO data set: images, categories and an annotation per box, with its score.

    Ids start at 1, as COCO's own do. Boxes are ``x y width height``. Photos without boxes are listed without annotations.

    Raises:
        RunError: the file cannot be written, or the records come from models with different classes.
    """
    images: list[Record] = []
    annotations: list[Record] = []
    classes: list[str] | None = None
    for number, record in enumerate(records, start=1):
        names = list(record["class_scores"])
        if classes is not None and names != classes:
            raise RunError(f"{record['path']} was predicted with other classes; write one COCO file per model")
        classes = names
        image = {"id": number, "file_name": record["path"], "width": record["width"], "height": record["height"]}
        images.append(image)
        for entry in record["boxes"]:
            x0, y0, x1, y1 = entry["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(record["label"]) + 1,
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "area": round((x1 - x0) * (y1 - y0), 2),
                    "segmentation": [],
                    "iscrowd": 0,
                    "score": entry["score"],
                }
            )
    categories = [{"id": index, "name": name} for index, name in enumerate(classes or [], start=1)]
    with atomic_file(path) as file:
        content = {"images": images, "categories": categories, "annotations": annotations}
        json.dump(content, file, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_mask(prediction: Prediction, path: Path) -> None:
    """The mask as an 8-bit PNG of the photo's size: 255 object, 0 elsewhere.

    Raises:
        RunError: the file cannot be written.
    """
    done, data = cv2.imencode(".png", prediction.mask.astype(np.uint8) * 255)
    if not done:  # pragma: no cover - no mask is known that OpenCV cannot encode
        raise RunError(f"the mask of {prediction.path} could not be encoded as PNG")
    with atomic_file(path, "wb") as file:
        file.write(data.tobytes())


def _rounded(value: Any, digits: int = 6) -> float:
    return round(float(value), digits)
