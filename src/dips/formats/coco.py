"""COCO: one JSON with images, categories and annotations (box, mask as run lengths, score); CVAT reads it, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from dips.formats.base import Item, classes_of
from dips.scoremaps.rle import area
from dips.system.files import atomic_file, temporary_beside

__all__ = ["CocoFile", "coco_file", "write_coco"]


class CocoFile:
    """A file that is written while photos come: annotations wait in a temporary file until all images are listed.

    Boxes are ``x y width height``. Ids of annotations and categories start at 1, as COCO's own do.

    Attributes:
        classes: the categories in their order; may be set until the end.
    """

    def __init__(self, file: IO[str], waiting: IO[str]) -> None:
        self.classes: Sequence[str] = ()
        self._images, self._annotations = file, waiting
        self._before = {file: "\n", waiting: "\n"}
        self._count = 0

    def image(self, number: int, name: str, *, width: int, height: int) -> None:
        """List the photo with the id ``number``."""
        self._add(self._images, {"id": number, "file_name": name, "width": width, "height": height})

    def annotation(
        self, image: int, label: str, box: Sequence[float], mask: Mapping[str, Any] | None, more: Mapping[str, Any]
    ) -> None:
        """Add an object of the photo with the id ``image``.

        Args:
            label: one of :attr:`classes`, which must be set by now.
            box: ``x0 y0 x1 y1``, end exclusive.
            mask: COCO's run lengths; without one the area is the box's.
            more: keys of its own.
        """
        self._count += 1
        x0, y0, x1, y1 = box
        annotation = {
            "id": self._count,
            "image_id": image,
            "category_id": self.classes.index(label) + 1,
            "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
            "area": area(mask["counts"]) if mask else round((x1 - x0) * (y1 - y0), 2),
            "segmentation": mask or [],
            "iscrowd": 0,
            **more,
        }
        self._add(self._annotations, annotation)

    def _add(self, file: IO[str], entry: Mapping[str, Any]) -> None:
        file.write(self._before[file] + json.dumps(entry, ensure_ascii=False))
        self._before[file] = ",\n"


@contextmanager
def coco_file(path: Path, description: str) -> Iterator[CocoFile]:
    """Fill the file at ``path``, which appears whole at the end, or not at all where the block raises.

    Raises:
        RunError: it cannot be written.
    """
    with temporary_beside(path) as raw, TextIOWrapper(raw, encoding="utf-8") as waiting, atomic_file(path) as file:
        # info and licenses: COCO's own tools and Datumaro (CVAT's reader) have versions that fail without them
        head = {"info": {"description": description}, "licenses": []}
        file.write(f'{json.dumps(head)[:-1]}, "images": [')
        coco = CocoFile(file, waiting)
        yield coco
        categories = [{"id": index, "name": name} for index, name in enumerate(coco.classes, start=1)]
        file.write(f'\n], "categories": {json.dumps(categories, ensure_ascii=False)}, "annotations": [')
        waiting.flush()
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("\n]}\n")


def write_coco(items: Iterable[Item], folder: Path) -> None:
    """Write ``coco.json``. Photos without boxes are listed without annotations; the class without object is a category that
    none has. ``area`` counts the mask's pixels.

    Raises:
        RunError: the file cannot be written, or the records come from models with different classes.
    """
    classes: list[str] | None = None
    with coco_file(folder / "coco.json", "Predicted by DiPS") as coco:
        for number, item in enumerate(items, start=1):
            record = item.record
            coco.classes = classes = classes_of(item, classes)
            coco.image(number, item.name, width=record["width"], height=record["height"])
            for entry in record["boxes"]:
                coco.annotation(number, record["label"], entry["box"], entry["mask"], {"score": entry["score"]})
