"""What a format is: a function that writes the records of many photos, which come one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import RunError
from dips.rle import decode

__all__ = ["Format", "Item", "classes_of", "crop_of", "object_classes", "outlines", "peeked", "whole_box"]

Record = Mapping[str, Any]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One photo.

    Attributes:
        name: its path below the folder that was predicted, with suffix and forward slashes.
        stem: the path of its results inside the folder of a format, without suffix.
        record: see :func:`dips.export.annotations.prediction_record`.
    """

    name: str
    stem: str
    record: Record


@dataclass(frozen=True, slots=True)
class Format:
    """A function that writes items into a folder, and in few words what it writes."""

    write: Callable[[Iterable[Item], Path], None]
    files: str


def peeked(items: Iterable[Item]) -> tuple[Item | None, Iterator[Item]]:
    """The first item, and all of them."""
    remaining = iter(items)
    first = next(remaining, None)
    return first, (iter(()) if first is None else chain([first], remaining))


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
    x0, y0, x1, y1 = whole_box(entry)
    mask = decode(entry["mask"]["counts"], (item.record["width"], item.record["height"]))
    return mask[y0:y1, x0:x1]


def outlines(crop: NDArray[np.bool_], corner: tuple[int, int]) -> list[tuple[NDArray[np.float64], list[NDArray[np.float64]]]]:
    """The parts of a mask as polygons: per part its outline and those of its holes, each ``(n, 2)``.

    They are x and y in the photo's pixels. A pixel reaches from x to x + 1; the outlines run a quarter of a pixel inside the
    object's border.
    """
    # OpenCV's contours run through the middles of pixels; at twice the size these lie a quarter of a pixel from the border
    twice = np.pad(crop, 1).repeat(2, 0).repeat(2, 1).astype(np.uint8)
    found, tree = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, tuple[NDArray[np.float64], list[NDArray[np.float64]]]] = {}
    if tree is None:
        return []
    rings = [(ring[:, 0].astype(np.float64) + 0.5) / 2 - 1 + corner for ring in found]
    for index, (_, _, _, parent) in enumerate(tree[0]):
        if parent < 0:
            parts[index] = (rings[index], [])
    for index, (_, _, _, parent) in enumerate(tree[0]):
        if parent >= 0:
            parts[int(parent)][1].append(rings[index])
    return list(parts.values())
