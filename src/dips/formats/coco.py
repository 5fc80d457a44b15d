"""COCO: one JSON file with images, categories and annotations (box, mask as run lengths, score), which CVAT also reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import msgspec

from dips.data.camera import Camera
from dips.formats.base import Add, JsonArray, SharedClasses
from dips.formats.records import MaskRecord, PredictionRecord
from dips.scoremaps.calibration import ScoreThresholds
from dips.scoremaps.rle import area
from dips.system.files import atomic_file, temporary_beside

__all__ = ["CocoFile", "coco_file", "coco_writer"]


class CocoFile:
    """A COCO file that is written photo by photo: annotations wait in a temporary file until all images are listed.

    Boxes are ``x y width height``. Ids of annotations and categories start at 1, as in COCO itself.

    Attributes:
        classes: the categories in their order; may change until the file is complete.
        category_keys: additional keys of categories, by category name; may change as well.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "coco.json"
    >>> with coco_file(path, "by hand") as coco:
    ...     coco.classes = ["mast"]
    ...     coco.image(1, "a.jpg", width=80, height=60)
    ...     coco.annotation(1, "mast", (10, 20, 30, 60), msgspec.UNSET, {"score": 0.9})
    >>> json.loads(path.read_text())["annotations"][0]["bbox"]
    [10, 20, 20, 40]
    """

    def __init__(self, file: IO[str], waiting: IO[str]) -> None:
        self.classes: Sequence[str] = ()
        self.category_keys: Mapping[str, Mapping[str, float]] = {}
        self._images, self._annotations = JsonArray(file), JsonArray(waiting)
        self._count = 0

    def image(
        self,
        number: int,
        name: str,
        *,
        width: int,
        height: int,
        camera: Camera | None = None,
        state: str | None = None,
        reviewed: bool = False,
    ) -> None:
        """Add a photo with the id ``number``, its known CAMERA_COLUMNS, its ``state``, and whether a person reviewed it."""
        known = {**({} if state is None else {"state": state}), **({} if camera is None else camera.known())}
        mark = {"reviewed": True} if reviewed else {}
        self._images.add({"id": number, "file_name": name, "width": width, "height": height, **known, **mark})

    def annotation(
        self, image: int, label: str, box: Sequence[float], mask: MaskRecord | msgspec.UnsetType, more: Mapping[str, Any]
    ) -> None:
        """Add an object of the photo with the id ``image``.

        Args:
            label: one of :attr:`classes`, which must be set by now.
            box: ``x0 y0 x1 y1``, end exclusive.
            mask: the object's pixels; if unset, the box serves as polygon (COCO's tools need one) and gives the area.
            more: additional keys.
        """
        self._count += 1
        x0, y0, x1, y1 = box
        annotation = {
            "id": self._count,
            "image_id": image,
            "category_id": self.classes.index(label) + 1,
            "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
            "area": area(mask.counts) if mask else round((x1 - x0) * (y1 - y0), 4),
            "segmentation": mask or [[x0, y0, x1, y0, x1, y1, x0, y1]],
            "iscrowd": 0,
            **more,
        }
        self._annotations.add(annotation)


@contextmanager
def coco_file(path: Path, description: str, failed: Mapping[str, str] | None = None) -> Iterator[CocoFile]:
    """Write the file at ``path``, which appears whole when the block ends, or not at all if it raises.

    Raises:
        RunError: it cannot be written.
    """
    with temporary_beside(path) as raw, TextIOWrapper(raw, encoding="utf-8") as waiting, atomic_file(path) as file:
        # info and licenses: COCO's own tools and Datumaro (CVAT's reader) have versions that fail without them
        head = {"info": {"description": description, **({"failed": failed} if failed else {})}, "licenses": []}
        file.write(f'{json.dumps(head)[:-1]}, "images": [')
        coco = CocoFile(file, waiting)
        yield coco
        categories = [
            {"id": index, "name": name, **coco.category_keys.get(name, {})} for index, name in enumerate(coco.classes, start=1)
        ]
        file.write(f'\n], "categories": {json.dumps(categories, ensure_ascii=False)}, "annotations": [')
        waiting.flush()
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("\n]}\n")


def score_keys(thresholds: ScoreThresholds) -> dict[str, float]:
    """Return the minimum scores of boxes worth keeping, as keys of a category."""
    return {"typical_score": thresholds.typical, "cautious_score": thresholds.cautious}


@contextmanager
def coco_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``coco.json``.

    Photos without boxes are listed without annotations; the class without object is a category without annotations. Images have
    the ``state`` of their record; ``failed`` photos, whose size is unknown, are named in ``info``. If the model was calibrated,
    the other categories state the minimum scores of boxes worth keeping. ``area`` counts the mask's pixels. A photo that a
    person reviewed has the key ``reviewed``, and its boxes ``review``.

    Raises:
        RunError: the file cannot be written, or the records come from models with different classes.
    """
    classes, count = SharedClasses(), 0
    with coco_file(folder / "coco.json", "Predicted by DiPS", failed) as coco:

        def add(record: PredictionRecord, stem: str) -> None:
            nonlocal count
            count += 1
            classes.add(record)
            coco.classes = classes.names
            if calibration := record.calibration:
                coco.category_keys = {name: score_keys(calibration.of(name)) for name in classes.objects}
            coco.image(
                count,
                record.name,
                width=record.width,
                height=record.height,
                camera=record.camera or None,
                state=record.state,
                reviewed=bool(record.reviewed),
            )
            for entry in record.boxes:
                coco.annotation(count, record.label_of(entry), entry.box, entry.mask, entry.notes())

        yield add
