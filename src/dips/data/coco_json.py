"""A COCO json -> its images with their objects.

What tools leave out or write differently is read if its meaning is clear: a box is derived from a polygon or from run lengths,
and ids are compared as text. An annotation that cannot be used is reported and does not stop the reading.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dips.data.objects import Box, Objects, has_area
from dips.errors import DataError
from dips.scoremaps.rle import bounds
from dips.system.console import counted
from dips.system.names import some
from dips.types import Outline, Problem, Severity

__all__ = ["CocoData", "CocoImage", "parse_coco"]

_EXPECTED = "it needs images, annotations with bbox, and categories"
_LARGEST = 1e9
_NO_OUTLINE = "it has neither a bbox nor a segmentation"
_NOT_MEASURED = "still used, but not to measure boxes"


@dataclass(slots=True)
class CocoImage:
    """One image of a COCO file: its ``file_name``, ``(width, height)`` if given, and its objects."""

    name: str
    frame: tuple[int, int] | None
    objects: Objects = field(default_factory=Objects)


@dataclass(slots=True)
class CocoData:
    """The content of a COCO file.

    Attributes:
        path: the file.
        images: the images in their order.
        categories: the categories' names in their order.
        annotated: whether there are annotations, so that an image without any is known to show nothing.
        problems: what was left out.
    """

    path: Path
    images: list[CocoImage]
    categories: list[str]
    annotated: bool
    problems: list[Problem]


def parse_coco(path: Path, *, outlines: bool = False) -> CocoData:
    """Read a COCO file; with ``outlines``, also the objects' pixels if ``segmentation`` says more than the box.

    Raises:
        DataError: the file cannot be read, is not COCO, has two images with the same id, or annotations of other images only.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}); export it again or move it away") from error
    if isinstance(tree, list) and any(isinstance(item, dict) and "annotator" in item for item in tree):
        raise DataError(f"{path} is JSON-MIN of Label Studio, without what its questions are; export it as JSON or as COCO")
    if isinstance(tree, list) and any(isinstance(item, dict) and "image_id" in item for item in tree):
        raise DataError(
            f"{path} is a list of results (what a model found), not a data set; give the JSON of the data set, which lists the "
            "images as well"
        )
    if not isinstance(tree, dict) or not isinstance(tree.get("images"), list):
        what = "no list of images" if isinstance(tree, dict) else "not one JSON object"
        if isinstance(tree, dict) and isinstance(tree.get("items"), list):
            what = "this is Datumaro's own format, export it as COCO"
        raise DataError(f"{path} is not COCO as expected ({what}); {_EXPECTED}")
    for key in ("annotations", "categories"):
        if tree.get(key) is not None and not isinstance(tree[key], list):
            raise DataError(f"{path} is not COCO as expected ({key} is no list); {_EXPECTED}")
    if not tree["images"]:
        raise DataError(f"{path} lists no images; export it again, with the images")
    data = CocoData(path, [], [], annotated=tree.get("annotations") is not None, problems=[])
    images = _read_images(tree["images"], data)
    annotations = tree.get("annotations") or []
    categories = _read_categories(tree.get("categories"), annotations, data)
    data.categories = list(dict.fromkeys(categories.values()))
    _read_annotations(annotations, images, categories, data, outlines)
    if not data.annotated:
        message = "has no annotations: the photos that it lists have neither class nor boxes by it; give the file that has them"
        data.problems.append(Problem(path, message))
    return data


def _key(id: object) -> str:
    """Return an id as text in one spelling: ``1``, ``1.0``, ``"1"`` and ``"001"`` are the same."""
    if isinstance(id, float) and id.is_integer():
        id = int(id)
    text = str(id).strip()
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _read_images(items: list[Any], data: CocoData) -> dict[str, CocoImage]:
    """Add the images to ``data`` and return them by their id."""
    images: dict[str, CocoImage] = {}
    for number, item in enumerate(items, 1):
        name = item.get("file_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.strip():
            id = f" (id {item['id']})" if isinstance(item, dict) and "id" in item else ""
            data.problems.append(Problem(data.path, f"image number {number}{id} has no file_name and is left out; add it"))
            continue
        image = CocoImage(name, _read_frame(item))
        if item.get("id") is None:
            image.objects.lose(None)  # nobody can tell which annotations belong to it
            message = (
                f"image {name} has no id, so that its annotations cannot be found: its class and boxes are unknown; add one"
            )
            data.problems.append(Problem(data.path, message))
        elif (twin := images.setdefault(_key(item["id"]), image)) is not image:
            if twin.name == name:
                continue
            raise DataError(f"{data.path} has two images with the id {item['id']}; give each its own")
        if image.frame is None and (item.get("width") or item.get("height")):
            message = f"image {name} has no size that can be read; its boxes are taken to be in pixels of the photo; correct it"
            data.problems.append(Problem(data.path, message))
        data.images.append(image)
    return images


def _read_frame(item: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = list(_numbers([item.get("width"), item.get("height")]))
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 and min(sides) >= 1 else None


def _read_categories(items: list[Any] | None, annotations: list[Any], data: CocoData) -> dict[str, str]:
    """Return the names of the categories by id; without a list of them, the ids that occur become the names."""
    if items is None:
        ids = {
            a["category_id"]: None for a in annotations if isinstance(a, dict) and isinstance(a.get("category_id"), int | str)
        }
        if ids:
            message = f"has no categories, so that the classes are called by their numbers: {some(map(str, ids))}; add them"
            data.problems.append(Problem(data.path, message))
        return {_key(id): f"class {id}" for id in ids}
    categories: dict[str, str] = {}
    for number, item in enumerate(items, 1):
        name = item.get("name") if isinstance(item, dict) and "id" in item else None
        if name is not None and (text := str(name).strip()):
            categories[_key(item["id"])] = text
        else:
            data.problems.append(
                Problem(data.path, f"category number {number} lacks its id or its name and is left out; add it")
            )
    return categories


def _read_annotations(
    items: list[Any], images: Mapping[str, CocoImage], categories: Mapping[str, str], data: CocoData, outlines: bool
) -> None:
    """Add the objects to the images."""
    crowds = 0
    damaged: list[str] = []
    crowded: dict[str, CocoImage] = {}
    unusable: list[tuple[str, CocoImage, str]] = []
    strays: list[str] = []
    for number, item in enumerate(items, 1):
        id = f"with id {item['id']}" if isinstance(item, dict) and item.get("id") is not None else f"number {number}"
        image = images.get(_key(item.get("image_id"))) if isinstance(item, dict) else None
        if image is None:
            strays.append(f"{id.removeprefix('with ')} (image_id {item.get('image_id')})" if isinstance(item, dict) else id)
            continue
        name = categories.get(_key(item.get("category_id")))
        box = _read_box(item, image.frame)
        area = 0.0 if box is None else (box[2] - box[0]) * (box[3] - box[1])
        if name is not None and item.get("iscrowd") not in (None, False, 0, "", "0", "false", "False"):
            crowds += 1
            crowded[image.name] = image
            image.objects.lose(name, area)
        elif box is not None and name is not None:
            outline = None
            try:
                if (
                    outlines and "review" not in item
                ):  # masks beside 'dips view' judgements are the model's own (docs/experiments.md)
                    outline = _read_outline(item.get("segmentation"), box, image.frame)
            except DataError as error:
                damaged.append(f"{id} of {image.name}: {error}")
            image.objects.add(name, box, outline)
        else:
            image.objects.lose(name, area)
            unusable.append((id, image, _reason(item) if box is None else f"no category has the id {item.get('category_id')}"))
    if strays and len(strays) == len(items):
        raise DataError(
            f"{data.path}: none of its annotations is of an image that it lists: {some(strays, 3)}; export it again"
        )
    if len(items) > 1 and not any(isinstance(item, dict) and item.keys() & {"bbox", "segmentation"} for item in items):
        message = "its annotations have no boxes: they are labels of the photos; to measure boxes, draw them"
        data.problems.append(Problem(data.path, message, Severity.NOTE))
        unusable = [item for item in unusable if item[2] != _NO_OUTLINE]
    for id, image, reason in unusable:
        known = any(name is not None for name in image.objects.lost)
        rest = f", and the photo is {_NOT_MEASURED}" if known else ", and class and boxes of the photo are unknown"
        rest = "" if image.objects.boxes else rest
        data.problems.append(Problem(data.path, f"annotation {id} of {image.name}: {reason}; it is left out{rest}; correct it"))
    if strays:
        message = (
            f"{counted(len(strays), 'annotation', 'has')} an image_id that the file's images do not have, left out: "
            f"{some(strays, 3)}; export again with all images, or delete {'it' if len(strays) == 1 else 'them'}"
        )
        data.problems.append(Problem(data.path, message))
    if damaged:
        message = f"{counted(len(damaged), 'mask')} cannot be read, the box counts alone: {some(damaged, 3)}; export again"
        data.problems.append(Problem(data.path, message))
    if crowds:
        which = "1 annotation is a crowd" if crowds == 1 else f"{crowds} annotations are crowds"
        message = f"{which} (iscrowd), no single object, and left out"
        if alone := [name for name, image in crowded.items() if not image.objects.boxes]:
            used = f"{'is' if len(alone) == 1 else 'are'} {_NOT_MEASURED}"
            message += f"; {counted(len(alone), 'photo', 'has')} no other ({some(alone, 3)}) and {used}"
        message += "; to measure by them, annotate single objects"
        data.problems.append(Problem(data.path, message))


def _reason(item: Mapping[str, Any]) -> str:
    if not item.get("bbox") and not item.get("segmentation"):
        return _NO_OUTLINE
    if len(numbers := list(_numbers(item.get("bbox")))) == 4:
        return f"its bbox {', '.join(f'{number:g}' for number in numbers)} (x, y, width, height) has no area"
    return "its bbox is not four numbers, and its segmentation gives none"


def _read_box(item: Mapping[str, Any], frame: tuple[int, int] | None) -> Box | None:
    """Return the box ``x0 y0 x1 y1`` of an annotation, if need be from its polygons or run lengths; None without an area."""
    if len(numbers := list(_numbers(item.get("bbox")))) == 4:
        x, y, width, height = numbers
        if has_area(box := (x, y, x + width, y + height)):
            return box
    outline = item.get("segmentation")
    found = _box_of_runs(outline, frame) if isinstance(outline, dict) else _box_of_polygons(outline)
    return found if found is not None and has_area(found) else None


def _box_of_polygons(polygons: object) -> Box | None:
    """Return the box around all polygons."""
    corners = [corner for polygon in _polygons(polygons) for corner in zip(polygon[0::2], polygon[1::2], strict=True)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def _polygons(polygons: object) -> Iterator[list[float]]:
    """Yield ``x0, y0, x1, y1, ...`` of each polygon, given as such a list or as a list of pairs."""
    if not isinstance(polygons, list):
        return
    for polygon in polygons if all(isinstance(part, list) for part in polygons) else [polygons]:
        flat = list(_flat(polygon))
        numbers = list(_numbers(flat))
        if len(numbers) == len(flat) and len(numbers) % 2 == 0:
            yield numbers


def _read_outline(segmentation: object, box: Box, frame: tuple[int, int] | None) -> Outline | None:
    """Return the pixels of an object; None if its segmentation is missing or merely repeats its box.

    Raises:
        DataError: run lengths are damaged.
    """
    if isinstance(segmentation, dict):
        size, counts = _size_and_counts(segmentation, frame)
        return Outline(size, runs=counts if isinstance(counts, str) else tuple(counts)) if bounds(counts, size) else None
    parts = [polygon for polygon in _polygons(segmentation) if len(polygon) >= 6]
    corners = {(round(x), round(y)) for polygon in parts for x, y in zip(polygon[0::2], polygon[1::2], strict=True)}
    is_box = len(corners) == 4 and corners == {(round(x), round(y)) for x in box[0::2] for y in box[1::2]}
    shapes = tuple(np.array(polygon, np.float32).reshape(-1, 2) for polygon in parts)
    return Outline(frame or (0, 0), shapes) if shapes and not is_box else None


def _box_of_runs(mask: Mapping[str, Any], frame: tuple[int, int] | None) -> Box | None:
    """Return the box of a mask ``{counts, size}``, whose size is ``[height, width]``."""
    size, counts = _size_and_counts(mask, frame)
    try:
        return bounds(counts, size)
    except DataError:
        return None


def _size_and_counts(mask: Mapping[str, Any], frame: tuple[int, int] | None) -> tuple[tuple[int, int], str | list[int]]:
    size = [int(side) for side in _numbers(mask.get("size"))]
    counts = mask.get("counts")
    counts = counts if isinstance(counts, str) else [int(count) for count in _numbers(counts)]
    return (size[1], size[0]) if len(size) == 2 else frame or (0, 0), counts


def _flat(items: object) -> Iterator[object]:
    """Yield the items of a list, and of the lists in it."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, list):
            yield from item
        else:
            yield item


def _numbers(items: object) -> Iterator[float]:
    """Yield the items of a list that are finite numbers, or text of such a number."""
    for item in items if isinstance(items, Iterable) and not isinstance(items, str | dict) else ():
        if isinstance(item, int | float | str) and not isinstance(item, bool):
            try:
                number = float(item)
            except (ValueError, OverflowError):
                continue
            if math.isfinite(number) and abs(number) < _LARGEST:
                yield number
