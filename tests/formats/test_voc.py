"""Pascal VOC, as supervision reads it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import supervision

from .conftest import LABELS, Item, boxes_of, flattened, photos, write


def test_voc(items: list[Item], tmp_path: Path) -> None:
    flat = flattened(items)
    folder = write("voc", flat, tmp_path) / "voc"
    images = photos(flat, tmp_path / "images")
    found = supervision.DetectionDataset.from_pascal_voc(str(images), str(folder))
    for record, _ in flat:
        detections = found.annotations[str(images / record.name)]
        assert np.array_equal(detections.xyxy, boxes_of(record))
        assert detections.class_id is not None
        assert {found.classes[label] for label in detections.class_id} == {record.label} or not len(detections)
    import xml.etree.ElementTree as ElementTree

    write("voc", items, tmp_path / "nested")
    tree = ElementTree.parse(tmp_path / "nested" / "voc" / "a b" / "ü.xml")
    assert (tree.findtext("folder"), tree.findtext("filename")) == ("a b", "ü.png")
    beside = ElementTree.parse(tmp_path / "nested" / "voc" / "ring.xml")
    assert (beside.findtext("folder"), beside.findtext("filename")) == ("new ones", "ring.png")
    box = tree.find("object/bndbox")
    assert box is not None and float(box.findtext("xmin", "")) == boxes_of(items[0][0])[0][0] + 1


def test_reviewed_photos(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    folder = write("voc", [*reviewed_items[:2], items[2]], tmp_path) / "voc"
    several, ring, empty = (ElementTree.parse(folder / f"{stem}.xml").getroot() for _, stem in items)
    assert [top.get("verified") for top in (several, ring, empty)] == ["yes", "yes", None]
    assert [element.findtext("name") for element in several.iter("object")] == LABELS
    assert [element.find("score") is not None for element in several.iter("object")] == [True, False, False, False]
    for box in several.iter("bndbox"):
        x0, y0, x1, y1 = (int(box.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax"))
        assert 1 <= x0 <= x1 <= 160 and 1 <= y0 <= y1 <= 120
    assert not list(ring.iter("object"))
