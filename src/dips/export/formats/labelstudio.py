"""Label Studio: pre-annotations with boxes in percent, masks as its brush strokes, scores and the model's version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from dips.export.formats.base import Item, object_classes
from dips.rle import decode
from dips.runtime import atomic_file

__all__ = ["brush", "write_labelstudio"]

_SIZES = (3, 4, 8, 16)  # bits that a run's length may take


def write_labelstudio(items: Iterable[Item], folder: Path) -> None:
    """Write ``labelstudio.json`` (tasks) and ``labelstudio.xml`` (the labelling setup that fits).

    Photos are named as Label Studio's local files: ``/data/local-files/?d=NAME``, NAME being the photo's path below the folder
    that was predicted, which has to be the server's document root (docs/formats.md).

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
    classes: list[str] | None = None
    names: list[str] = []
    with atomic_file(folder / "labelstudio.json") as file:
        file.write("[")
        for number, item in enumerate(items):
            names = object_classes(item, classes)
            classes = list(item.record["class_scores"])
            file.write((",\n" if number else "\n") + json.dumps(_task(item), ensure_ascii=False))
        file.write("\n]\n")
    labels = "".join(f"      <Label value={quoteattr(name)}/>\n" for name in names)
    with atomic_file(folder / "labelstudio.xml") as file:
        file.write(
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n'
            f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )


def _task(item: Item) -> dict[str, Any]:
    record = item.record
    results = [part for index, entry in enumerate(record["boxes"]) for part in _results(record, entry, index)]
    prediction = {
        "model_version": f"dips-{record.get('model') or 'unknown'}",
        "score": max((entry["score"] for entry in record["boxes"]), default=record["label_score"]),
        "result": results,
    }
    return {"data": {"image": f"/data/local-files/?d={quote(item.name)}"}, "predictions": [prediction]}


def _results(record: Mapping[str, Any], entry: Mapping[str, Any], index: int) -> list[dict[str, Any]]:
    width, height = record["width"], record["height"]
    x0, y0, x1, y1 = entry["box"]
    common = {
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": entry["score"],
    }
    box = {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
        "rotation": 0,
        "rectanglelabels": [record["label"]],
    }
    strokes = brush(decode(entry["mask"]["counts"], (width, height)))
    mask = {"format": "rle", "rle": strokes, "brushlabels": [record["label"]]}
    return [
        {"id": f"box{index}", "type": "rectanglelabels", "from_name": "box", **common, "value": box},
        {"id": f"mask{index}", "type": "brushlabels", "from_name": "mask", **common, "value": mask},
    ]


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """A mask ``(H, W)`` as Label Studio packs the bytes of an RGBA picture: bytes of a bit stream.

    The stream has the number of values (32 bits), the bits of a value less one (5), four sizes less one (4 each), then runs:
    a bit that says so, the index of a size (2 bits), length less one, value.
    """
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    begins = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([begins, [flat.size]])) * 4  # red, green, blue and alpha are alike
    bits = [f"{4 * flat.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for value, length in zip(flat[begins], lengths, strict=True):
        remaining = int(length)
        while remaining:
            run = min(remaining, 1 << _SIZES[-1])
            index = next(i for i, size in enumerate(_SIZES) if run <= 1 << size)
            bits.append(f"1{index:02b}{run - 1:0{_SIZES[index]}b}{'1' * 8 if value else '0' * 8}")
            remaining -= run
    stream = "".join(bits)
    packed = np.packbits(np.frombuffer(stream.encode(), np.uint8) - ord("0"))
    return [int(byte) for byte in packed]
