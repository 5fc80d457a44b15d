"""YOLO as Ultralytics reads it: one text file per photo, and ``data.yaml`` with the names of the classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from dips.formats.base import Add, SharedClasses
from dips.formats.records import BoxRecord, PredictionRecord
from dips.scoremaps.polygons import outline
from dips.system.files import atomic_file

__all__ = ["yolo_seg_writer", "yolo_writer"]

Numbers = Callable[[PredictionRecord, BoxRecord], list[float]]


def yolo_writer(folder: Path) -> AbstractContextManager[Add]:
    """Write ``yolo/labels/NAME.txt``: per box ``class cx cy width height``, fractions of the photo.

    A photo without boxes has an empty file, which tells Ultralytics that it shows no object, whether nothing was found or
    nothing was looked for; a failed photo has no file. The class without object has no number. The format cannot hold scores.

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
    return _label_files(folder / "yolo", _box)


def yolo_seg_writer(folder: Path) -> AbstractContextManager[Add]:
    """Write ``yolo-seg/labels/NAME.txt``: per object ``class x y x y ...``, its outline without holes, fractions of the photo.

    Ultralytics reads each line as one object, and our objects are in one piece, so that one outline is enough; see
    :func:`dips.scoremaps.polygons.outline` for how it is drawn.

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
    return _label_files(folder / "yolo-seg", _outline)


@contextmanager
def _label_files(folder: Path, numbers: Numbers) -> Iterator[Add]:
    classes = SharedClasses()

    def add(record: PredictionRecord, stem: str) -> None:
        classes.add(record)
        with atomic_file(folder / "labels" / f"{stem}.txt") as file:
            for entry in record.boxes:
                values = " ".join(f"{value:.8f}" for value in numbers(record, entry))
                file.write(f"{classes.objects.index(record.label_of(entry))} {values}\n")

    yield add
    with atomic_file(folder / "data.yaml") as file:
        rows = "".join(f"\n  {number}: {_quoted(name)}" for number, name in enumerate(classes.objects))
        # without "path", paths are relative to this file; "." would be the folder that Ultralytics is run in
        file.write(f"# copy the photos into images/ beside labels/\ntrain: images\nval: images\nnames:{rows or ' {}'}\n")


def _quoted(name: str) -> str:
    """Return a YAML string: the JSON string with unprintable characters escaped, as YAML requires."""
    text = json.dumps(name, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in text)


def _box(record: PredictionRecord, entry: BoxRecord) -> list[float]:
    x0, y0, x1, y1 = entry.box
    width, height = record.width, record.height
    return [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]


def _outline(record: PredictionRecord, entry: BoxRecord) -> list[float]:
    ring = outline(entry.crop(), entry.corners[:2])
    return [float(value) for value in (ring / np.array([record.width, record.height])).ravel()]
