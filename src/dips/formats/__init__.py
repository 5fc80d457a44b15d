"""Predictions in the formats of other tools: a file per format, each a function from records to files."""

from __future__ import annotations

from collections.abc import Mapping

from dips.formats.base import Format, Item
from dips.formats.coco import write_coco
from dips.formats.csv_table import write_csv
from dips.formats.geojson import write_geojson
from dips.formats.labelstudio import write_labelstudio
from dips.formats.voc import write_voc
from dips.formats.yolo import write_yolo, write_yolo_seg

__all__ = ["FORMATS", "Format", "Item"]

FORMATS: Mapping[str, Format] = {
    "coco": Format(write_coco, "coco.json: boxes, masks, scores"),
    "yolo": Format(write_yolo, "yolo/: boxes for Ultralytics"),
    "yolo-seg": Format(write_yolo_seg, "yolo-seg/: outlines for Ultralytics"),
    "voc": Format(write_voc, "voc/: Pascal VOC XML"),
    "labelstudio": Format(write_labelstudio, "labelstudio.json: pre-annotations"),
    "geojson": Format(write_geojson, "geojson/: outlines in pixels"),
    "csv": Format(write_csv, "boxes.csv: a line per box"),
}
"""By the name that ``--format`` takes."""
