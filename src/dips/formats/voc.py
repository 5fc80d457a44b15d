"""Pascal VOC: one XML file per photo; pixels are counted from 1, and boxes include their last pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from dips.formats.base import Add, xml_text
from dips.formats.records import PredictionRecord
from dips.system.files import atomic_file

__all__ = ["voc_writer"]


@contextmanager
def voc_writer(folder: Path) -> Iterator[Add]:
    """Write ``voc/NAME.xml``.

    ``folder`` is the photo's folder below the predicted one, or the name of the latter if the photo lies directly in it.
    ``score`` and the photo's ``state`` are our own elements, which readers of VOC ignore. ``truncated`` means that the box
    touches the photo's border. A photo that a person reviewed is ``verified="yes"``, as in labelImg.

    Raises:
        RunError: a file cannot be written.
    """

    def add(record: PredictionRecord, stem: str) -> None:
        tree = ElementTree.ElementTree(_annotation(record))
        ElementTree.indent(tree)
        with atomic_file(folder / "voc" / f"{stem}.xml", "wb") as file:
            tree.write(file, encoding="utf-8", xml_declaration=True)

    yield add


def _annotation(record: PredictionRecord) -> ElementTree.Element:
    name, width, height = PurePosixPath(record.name), record.width, record.height
    top = ElementTree.Element("annotation", {"verified": "yes"} if record.reviewed else {})
    inside = record.folder if len(name.parts) == 1 else name.parent.as_posix()
    _add(top, folder=inside, filename=name.name)
    _add(ElementTree.SubElement(top, "source"), database="DiPS, reviewed" if record.reviewed else "DiPS, predicted")
    _add(ElementTree.SubElement(top, "size"), width=width, height=height, depth=3)
    _add(top, segmented=0, state=record.state)
    for entry in record.boxes:
        x0, y0, x1, y1 = entry.corners
        is_cut = x0 == 0 or y0 == 0 or x1 == width or y1 == height
        element = ElementTree.SubElement(top, "object")
        _add(element, name=record.label_of(entry), pose="Unspecified", truncated=int(is_cut), difficult=0)
        if "score" in (notes := entry.notes()):
            _add(element, score=notes["score"])
        _add(ElementTree.SubElement(element, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    return top


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = xml_text(str(text))
