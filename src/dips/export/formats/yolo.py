"""YOLO as Ultralytics reads it: a text file per photo, and ``data.yaml`` with the names of the classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dips.export.formats.base import Item, crop_of, object_classes, outlines, whole_box
from dips.runtime import atomic_file

__all__ = ["write_yolo", "write_yolo_seg"]

Line = Callable[[Item, Mapping[str, Any]], list[float]]


def write_yolo(items: Iterable[Item], folder: Path) -> None:
    """Write ``yolo/labels/NAME.txt``: per box ``class cx cy width height``, shares of the photo.

    A photo without boxes has an empty file, which Ultralytics takes for one that shows nothing. The class without object has no
    number. Scores have no place in this format.

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
    _write(items, folder / "yolo", _box)


def write_yolo_seg(items: Iterable[Item], folder: Path) -> None:
    """Write ``yolo-seg/labels/NAME.txt``: per object ``class x y x y ...``, its outline without holes, shares of the photo."""
    _write(items, folder / "yolo-seg", _outline)


def _write(items: Iterable[Item], folder: Path, line: Line) -> None:
    classes: list[str] | None = None
    names: list[str] = []
    for item in items:
        names = object_classes(item, classes)
        classes = list(item.record["class_scores"])
        with atomic_file(folder / "labels" / f"{item.stem}.txt") as file:
            for entry in item.record["boxes"]:
                numbers = " ".join(f"{value:.8f}" for value in line(item, entry))
                file.write(f"{names.index(item.record['label'])} {numbers}\n")
    with atomic_file(folder / "data.yaml") as file:
        # JSON's strings are YAML's, whatever a class is called
        rows = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names))
        file.write(
            f"# put the photos into images/ beside labels/\npath: .\ntrain: images\nval: images\nnames:\n{rows or '  {}'}"
        )


def _box(item: Item, entry: Mapping[str, Any]) -> list[float]:
    x0, y0, x1, y1 = entry["box"]
    width, height = item.record["width"], item.record["height"]
    return [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]


def _outline(item: Item, entry: Mapping[str, Any]) -> list[float]:
    x0, y0, _, _ = whole_box(entry)
    parts = outlines(crop_of(item, entry), (x0, y0))
    longest = max((outline for outline, _ in parts), key=len)  # an object is one piece; only tiny photos make several
    return [float(value) for value in (longest / np.array([item.record["width"], item.record["height"]])).ravel()]
