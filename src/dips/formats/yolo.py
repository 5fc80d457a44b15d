"""YOLO as Ultralytics reads it: a text file per photo, and ``data.yaml`` with the names of the classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dips.formats.base import Item, crop_of, object_classes, whole_box
from dips.scoremaps.polygons import outline
from dips.system.files import atomic_file

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
    """Write ``yolo-seg/labels/NAME.txt``: per object ``class x y x y ...``, its outline without holes, shares of the photo.

    A line is one object for Ultralytics, and an object of ours is one piece, so none needs several outlines; see
    :func:`dips.scoremaps.polygons.outline` for how it is drawn.

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
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
        rows = "".join(f"\n  {number}: {_quoted(name)}" for number, name in enumerate(names))
        # without a path of its own the folder of this file counts; "." would be the folder that Ultralytics is called in
        file.write(f"# copy the photos into images/ beside labels/\ntrain: images\nval: images\nnames:{rows or ' {}'}\n")


def _quoted(name: str) -> str:
    """JSON's strings are YAML's but for what cannot be printed, which YAML wants escaped."""
    text = json.dumps(name, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in text)


def _box(item: Item, entry: Mapping[str, Any]) -> list[float]:
    x0, y0, x1, y1 = entry["box"]
    width, height = item.record["width"], item.record["height"]
    return [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]


def _outline(item: Item, entry: Mapping[str, Any]) -> list[float]:
    x0, y0, _, _ = whole_box(entry)
    ring = outline(crop_of(item, entry), (x0, y0))
    return [float(value) for value in (ring / np.array([item.record["width"], item.record["height"]])).ravel()]
