"""COCO: one JSON with images, categories and annotations (box, mask as run lengths, score); CVAT reads it, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

from dips.export.formats.base import Item, classes_of
from dips.rle import area
from dips.runtime import atomic_file, temporary_beside

__all__ = ["write_coco"]

# not needed here, but COCO's own tools and Datumaro (CVAT's reader) have versions that fail without them
_HEAD = {"info": {"description": "Predicted by DiPS"}, "licenses": []}


def write_coco(items: Iterable[Item], folder: Path) -> None:
    """Write ``coco.json``, streamed: annotations wait in a temporary file until all images are listed.

    Ids start at 1, as COCO's own do. Boxes are ``x y width height``, ``area`` counts the mask's pixels. Photos without boxes
    are listed without annotations; the class without object is a category that none has.

    Raises:
        RunError: the file cannot be written, or the records come from models with different classes.
    """
    path = folder / "coco.json"
    count = 0
    classes: list[str] | None = None
    with temporary_beside(path) as raw, TextIOWrapper(raw, encoding="utf-8") as waiting, atomic_file(path) as file:
        file.write(f'{json.dumps(_HEAD)[:-1]}, "images": [')
        for number, item in enumerate(items, start=1):
            record = item.record
            classes = classes_of(item, classes)
            image = {"id": number, "file_name": item.name, "width": record["width"], "height": record["height"]}
            file.write((",\n" if number > 1 else "\n") + json.dumps(image, ensure_ascii=False))
            for entry in record["boxes"]:
                count += 1
                x0, y0, x1, y1 = entry["box"]
                annotation = {
                    "id": count,
                    "image_id": number,
                    "category_id": classes.index(record["label"]) + 1,
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "area": area(entry["mask"]["counts"]),
                    "segmentation": entry["mask"],
                    "iscrowd": 0,
                    "score": entry["score"],
                }
                waiting.write((",\n" if count > 1 else "\n") + json.dumps(annotation))
        categories = [{"id": index, "name": name} for index, name in enumerate(classes or [], start=1)]
        file.write(f'\n], "categories": {json.dumps(categories, ensure_ascii=False)}, "annotations": [')
        waiting.flush()
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("\n]}\n")
