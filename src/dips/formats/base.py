"""What a format is: a function that writes the records of many photos, which come one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.errors import RunError
from dips.scoremaps.rle import decode

__all__ = ["Format", "Item", "classes_of", "crop_of", "object_classes", "whole_box"]

Record = Mapping[str, Any]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One photo.

    Attributes:
        name: its path below the folder that was predicted, with suffix and forward slashes.
        stem: the path of its results inside the folder of a format, without suffix.
        record: see :func:`dips.predict.prediction.Prediction.record`.
    """

    name: str
    stem: str
    record: Record


@dataclass(frozen=True, slots=True)
class Format:
    """A function that writes items into a folder, and in few words what it writes."""

    write: Callable[[Iterable[Item], Path], None]
    files: str


def classes_of(item: Item, known: list[str] | None = None) -> list[str]:
    """Names of all classes.

    Raises:
        RunError: they are not the ``known`` ones.
    """
    names = list(item.record["class_scores"])
    if known is not None and names != known:
        raise RunError(f"{item.name} was predicted with other classes than the photos before it; write them into a folder each")
    return names


def object_classes(item: Item, known: list[str] | None = None) -> list[str]:
    """Names of the classes that a box can have: all but the one without object."""
    background = item.record.get("background")
    return [name for name in classes_of(item, known) if name != background]


def whole_box(entry: Mapping[str, Any]) -> Box:
    """The box's corners as whole pixels, end exclusive."""
    x0, y0, x1, y1 = (round(value) for value in entry["box"])
    return x0, y0, x1, y1


def crop_of(item: Item, entry: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The object's pixels inside its box, ``(y1 - y0, x1 - x0)``."""
    return decode(entry["mask"]["counts"], (item.record["width"], item.record["height"]), box=whole_box(entry))
