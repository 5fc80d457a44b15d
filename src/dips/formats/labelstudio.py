"""Label Studio: pre-annotations with boxes in percent, masks as brush strokes, scores and the model's version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from dips.data.camera import Camera
from dips.formats.base import Add, JsonArray, SharedClasses, xml_text
from dips.formats.records import BoxRecord, PredictionRecord
from dips.scoremaps.rle import run_lengths
from dips.system.files import atomic_file

__all__ = ["brush", "labelstudio_writer"]

_LENGTH_BITS = (3, 4, 8, 16)  # bit widths that a run length may be written in


@contextmanager
def labelstudio_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``labelstudio.json`` (tasks) and ``labelstudio.xml`` (the matching labelling setup).

    Photos are addressed as Label Studio's local files, ``/data/local-files/?d=FOLDER/NAME``, where FOLDER is the last part of
    the predicted folder's path and NAME the photo's path below it. The server's document root must be the parent of FOLDER,
    because Label Studio rejects a storage that is the root itself (docs/formats.md). Its data manager can sort and filter by
    ``priority`` and ``state``, which are stored beside the address. Tasks of ``failed`` photos come last, with a ``reason`` and
    without a prediction. Photos that a person reviewed have an annotation instead of a prediction: they are done.

    Raises:
        RunError: a file cannot be written, or the records come from models with different classes.
    """
    classes, top = SharedClasses(), ""
    with atomic_file(folder / "labelstudio.json") as file:
        file.write("[")
        tasks = JsonArray(file)

        def add(record: PredictionRecord, stem: str) -> None:
            nonlocal top
            classes.add(record)
            top = record.folder
            tasks.add(_task(record))

        yield add
        for name, reason in (failed or {}).items():
            tasks.add({"data": {"image": _address(top, name), "state": "failed", "reason": reason}})
        file.write("\n]\n")
    labels = "".join(f"      <Label value={quoteattr(xml_text(name))}/>\n" for name in classes.objects)
    with atomic_file(folder / "labelstudio.xml") as file:
        file.write(
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n'
            f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )


def _address(folder: str, name: str) -> str:
    return f"/data/local-files/?d={quote(f'{folder}/{name}' if folder else name)}"


def _task(record: PredictionRecord) -> dict[str, Any]:
    known: dict[str, float | str] = {} if record.priority is UNSET else {"priority": record.priority}
    known |= (record.camera or Camera()).known()
    data = {"image": _address(record.folder, record.name), "state": record.state, **known}
    result = [part for index, entry in enumerate(record.boxes) for part in _results(record, entry, index)]
    if record.reviewed:
        return {"data": data, "annotations": [{"result": result}]}
    prediction = {
        "model_version": f"dips-{record.model or 'unknown'}",
        "score": max((entry.certainty for entry in record.boxes), default=record.label_score),
        "result": result,
    }
    return {"data": data, "predictions": [prediction]}


def _results(record: PredictionRecord, entry: BoxRecord, index: int) -> list[dict[str, Any]]:
    width, height = record.width, record.height
    x0, y0, x1, y1 = entry.box
    labels = [xml_text(record.label_of(entry))]
    common = {
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **{name: value for name, value in entry.notes().items() if name == "score"},
    }
    box = {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
        "rotation": 0,
        "rectanglelabels": labels,
    }
    results = [{"id": f"box{index}", "type": "rectanglelabels", "from_name": "box", **common, "value": box}]
    if not entry.mask:
        return results
    strokes = brush(entry.crop(), corner=entry.corners[:2], size=(width, height))
    mask = {"format": "rle", "rle": strokes, "brushlabels": labels}
    return [*results, {"id": f"mask{index}", "type": "brushlabels", "from_name": "mask", **common, "value": mask}]


def brush(mask: NDArray[np.bool_], *, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> list[int]:
    """Return a mask in Label Studio's packing of an RGBA picture: the bytes of a bit stream.

    The stream holds the number of values (32 bits), the bits per value minus one (5), four widths minus one (4 each), and then
    the runs: a flag bit, the index of a width (2 bits), the run length minus one, and the value.

    Args:
        mask: ``(h, w) bool``, part of a photo.
        corner: x and y of its upper left pixel in the photo.
        size: width and height of the photo; by default those of ``mask``.
    """
    width, height = (mask.shape[1], mask.shape[0]) if size is None else size
    # row-wise runs are column-wise runs of the transposed photo
    lengths = 4 * run_lengths(mask.T, corner=(corner[1], corner[0]), size=(height, width))  # red, green, blue, alpha
    bits = [f"{4 * width * height:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for number, length in enumerate(lengths.tolist()):
        value = "1" * 8 if number % 2 else "0" * 8
        while length:
            run = min(length, 1 << _LENGTH_BITS[-1])
            index = next(i for i, size in enumerate(_LENGTH_BITS) if run <= 1 << size)
            bits.append(f"1{index:02b}{run - 1:0{_LENGTH_BITS[index]}b}{value}")
            length -= run
    stream = "".join(bits)
    packed = np.packbits(np.frombuffer(stream.encode(), np.uint8) - ord("0"))
    return [int(byte) for byte in packed]
