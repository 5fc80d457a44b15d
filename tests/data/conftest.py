"""Layouts on disk that several tests read."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dips.types import DataSet, Sample

MakePhoto = Callable[..., Path]
Rows = Mapping[str, tuple[int, tuple[int, int], Sequence[tuple[float, float, float, float]]]]  # id: label, size, boxes

FIRST, SECOND = "val/0138tl/d6fc.jpg", "val/0hwky/77aa.jpg"
LINES = (
    f"{FIRST},val/0138tl/d6fc_m1.png,val/0138tl/d6fc_ignore.png\n"
    f"{FIRST},val/0138tl/d6fc_m2.png,\n"
    f"{SECOND},val/0hwky/77aa_m1.png,\n"
)


def class_names(dataset: DataSet) -> dict[str, str | None]:
    """The photos' class names by id."""
    return {s.id: None if s.label is None else dataset.classes[s.label] for s in dataset.samples}


def same(one: object, other: object) -> bool:
    """Equality that includes arrays."""
    return repr(one) == repr(other)


def boxes_of(sample: Sample) -> list[list[float]]:
    assert sample.boxes is not None and sample.boxes.dtype == np.float32 and sample.boxes.shape[1:] == (4,)
    boxes: list[list[float]] = sample.boxes.tolist()
    return boxes


def write_metadata(folder: Path, rows: Rows) -> Path:
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("".join(f"{id}\n" for id in rows), encoding="utf-8")
    (folder / "class_labels.txt").write_text("".join(f"{id},{row[0]}\n" for id, row in rows.items()), encoding="utf-8")
    (folder / "image_sizes.txt").write_text("".join(f"{id},{w},{h}\n" for id, (_, (w, h), _) in rows.items()), encoding="utf-8")
    lines = [f"{id},{','.join(f'{x:g}' for x in box)}\n" for id, row in rows.items() for box in row[2]]
    (folder / "localization.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def write_coco(path: Path, images: Mapping[str, Sequence[tuple[str, Sequence[float]]]], **changes: Any) -> Path:
    labels = sorted({name for boxes in images.values() for name, _ in boxes}) or ["tower"]
    tree: dict[str, Any] = {
        "images": [{"id": n, "file_name": name, "width": 32, "height": 24} for n, name in enumerate(images)],
        "categories": [{"id": n + 7, "name": name} for n, name in enumerate(labels)],
        "annotations": [
            {"id": 0, "image_id": n, "category_id": labels.index(name) + 7, "bbox": box}
            for n, boxes in enumerate(images.values())
            for name, box in boxes
        ],
    }
    path.write_text(json.dumps(tree | changes), encoding="utf-8")
    return path


def write_tiff(
    path: Path,
    values: NDArray[Any],
    *,
    white_is_zero: bool = False,
    orientation: int = 1,
    missing: str = "",
    order: str = "<",
    planar: int = 1,
) -> Path:
    """Values ``(H, W)`` or ``(H, W, C)`` of any type as a plain TIFF."""
    height, width, bands = (*values.shape, 1)[:3]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    head = b"II*\0" if order == "<" else b"MM\0*"
    tags = ImageFileDirectory_v2(head + bytes(4))
    tags[256], tags[257], tags[259], tags[274], tags[277], tags[284] = width, height, 1, orientation, bands, planar
    tags[258] = (values.itemsize * 8,) * bands
    tags[262] = 2 if bands > 1 else 0 if white_is_zero else 1
    tags[273], tags[278], tags[279] = 0, height, len(data)  # Pillow puts them behind the tags
    tags[339] = ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * bands
    if bands == 4:
        tags[338] = 2
    if missing:
        tags[42113] = missing
    path.write_bytes(head + struct.pack(f"{order}I", 8) + tags.tobytes(8) + data)
    return path


def draw(path: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (32, 24)) -> Path:
    """A mask as OpenImages has them, 1 bit deep and white in the boxes."""
    mask = Image.new("1", size)
    for box in boxes:
        mask.paste(1, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)
    return path


def draw_all(root: Path) -> None:
    draw(root / "val/0138tl/d6fc_m1.png", (0, 0, 8, 8))
    draw(root / "val/0138tl/d6fc_m2.png", (16, 0, 24, 8))
    draw(root / "val/0138tl/d6fc_ignore.png", (4, 0, 12, 8))
    draw(root / "val/0hwky/77aa_m1.png", (0, 0, 32, 24))


@pytest.fixture
def open_images(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """Photos and metadata of a split ``val``, without the masks' files."""
    folder = tmp_path / "metadata" / "val"
    folder.mkdir(parents=True)
    for seed, id in enumerate((FIRST, SECOND)):
        make_photo(tmp_path / id, seed=seed)
    (folder / "image_ids.txt").write_text(f"{FIRST}\n{SECOND}\n")
    (folder / "class_labels.txt").write_text(f"{FIRST},0\n{SECOND},1\n")
    (folder / "localization.txt").write_text(LINES)
    return tmp_path


def halves(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Left half dark red, right half light: so that turns and flips can be told."""
    photo = Image.new("RGB", size, (120, 10, 20))
    photo.paste((240, 240, 230), (size[0] // 2, 0, *size))
    return photo.convert(mode)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (body, data, b"IEND")
    )
