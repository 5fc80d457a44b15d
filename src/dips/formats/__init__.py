"""Predictions in the JSON of DiPS and in the formats of other tools, each written from records."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from dips.formats.base import Add, Format
from dips.formats.camera_points import camera_points_writer
from dips.formats.coco import coco_writer
from dips.formats.csv_table import csv_writer
from dips.formats.geojson import geojson_writer
from dips.formats.labelstudio import labelstudio_writer
from dips.formats.predictions import predictions_writer
from dips.formats.voc import voc_writer
from dips.formats.yolo import yolo_seg_writer, yolo_writer

__all__ = ["FORMATS", "Add", "Format", "open_format"]

FORMATS: Mapping[str, Format] = {
    "json": predictions_writer,
    "coco": coco_writer,
    "yolo": yolo_writer,
    "yolo-seg": yolo_seg_writer,
    "voc": voc_writer,
    "labelstudio": labelstudio_writer,
    "geojson": geojson_writer,
    "csv": csv_writer,
    "camera-points": camera_points_writer,
}
"""Formats by their name in ``--format``."""

_TELL_FAILED = {
    "json": predictions_writer,
    "coco": coco_writer,
    "labelstudio": labelstudio_writer,
    "csv": csv_writer,
    "camera-points": camera_points_writer,
}  # the other formats have one file per photo, and none for a failed one


def open_format(name: str, folder: Path, failed: Mapping[str, str]) -> AbstractContextManager[Add]:
    """Open the files of a format; ``failed`` maps photo names to reasons, and is written if the format can hold it."""
    return _TELL_FAILED[name](folder, failed) if name in _TELL_FAILED else FORMATS[name](folder)
