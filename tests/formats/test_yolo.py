"""YOLO, as Ultralytics and supervision read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import supervision
import yaml

from .conftest import CLASSES, LABELS, Item, boxes_of, flattened, mask_of, photos, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


@pytest.mark.parametrize("name", ["yolo", "yolo-seg"])
def test_yolo(items: list[Item], tmp_path: Path, name: str) -> None:
    folder = write(name, items, tmp_path) / name
    flat = flattened(items)
    flat_folder = write(name, flat, tmp_path / "flat") / name
    images = photos(flat, flat_folder / "images")
    found = supervision.DetectionDataset.from_yolo(
        str(images), str(flat_folder / "labels"), str(flat_folder / "data.yaml"), force_masks=name == "yolo-seg"
    )
    assert found.classes == list(CLASSES[1:])
    for (record, stem), (_, nested) in zip(flat, items, strict=True):
        assert (folder / "labels" / f"{nested}.txt").read_text() == (flat_folder / "labels" / f"{stem}.txt").read_text()
        detections = found.annotations[str(images / record.name)]
        assert len(detections) == len(record.boxes)
        for index in range(len(detections)):
            assert detections.class_id is not None and CLASSES[detections.class_id[index] + 1] == record.label
            if name == "yolo":
                np.testing.assert_allclose(detections.xyxy[index], boxes_of(record)[index], atol=1e-4)
            else:
                np.testing.assert_allclose(detections.xyxy[index], boxes_of(record)[index], atol=1.01)
                assert detections.mask is not None
                read, filled = detections.mask[index], _filled(mask_of(record, index))  # the format has no holes
                assert not (read & ~_moved(filled, cv2.dilate)).any() and not (_moved(filled, cv2.erode) & ~read).any()
    assert (folder / "labels" / "none" / "empty.txt").read_text() == ""
    setup = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    # Ultralytics takes the folder of data.yaml where it names no other
    assert setup == {"train": "images", "val": "images", "names": dict(enumerate(CLASSES[1:]))}


def test_outlines_as_ultralytics_fills_them(items: list[Item], tmp_path: Path) -> None:
    folder = write("yolo-seg", items, tmp_path) / "yolo-seg" / "labels"
    for record, stem in items[:2]:
        height, width = record.height, record.width
        for index, line in enumerate((folder / f"{stem}.txt").read_text().splitlines()):
            ring = np.array([float(number) for number in line.split()[1:]]).reshape(-1, 2) * [width, height]
            # it cuts off decimals and fills what is inside together with the border
            drawn = cv2.fillPoly(np.zeros((height, width), np.uint8), [ring.astype(np.int32)], 1)
            assert np.array_equal(drawn.astype(bool), _filled(mask_of(record, index)))
            np.testing.assert_allclose([*ring.min(0), *ring.max(0)], boxes_of(record)[index], atol=0.251)


def _filled(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED).astype(bool)


def _moved(mask: np.ndarray[Any, Any], move: Callable[..., Any]) -> np.ndarray[Any, Any]:
    """Its border a pixel further out or in: readers round polygons to whole pixels."""
    return np.asarray(move(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), bool)


@pytest.mark.parametrize("name", ["yolo", "yolo-seg"])
def test_reviewed_photos(reviewed_items: list[Item], tmp_path: Path, name: str) -> None:
    labels = write(name, reviewed_items, tmp_path) / name / "labels"
    lines = (labels / "a b" / "ü.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == [CLASSES[1:].index(label) for label in LABELS]
    assert (labels / "ring.txt").read_text() == ""
    number, *values = (labels / "none" / "empty.txt").read_text().split()
    assert number == "1" and all(0 <= float(value) <= 1 for value in values)
