"""The pictures of a comparison: photos against methods (Figures 3 and 4), attention by block and head (Figure 1).

In: the maps that were kept of a few photos, and the table's record. Out: ``sheet-1.jpg`` and so on, ``attention-1.jpg`` and
so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dips.baselines.study import Study
from dips.comparison.folder import MethodFolder
from dips.comparison.sheets import Column, attention_sheet, method_sheets
from dips.comparison.table import file_name, measured_on
from dips.data.images import ByteImage, image_size, read_image, resize_image
from dips.errors import ImageError
from dips.evaluate.boxes import FRAME, boxes_at_thresholds
from dips.evaluate.protocol import FRAMED
from dips.system.console import log
from dips.system.files import atomic_file
from dips.types import FloatArray, Sample

__all__ = ["shown_photos", "write_attention", "write_sheets"]

_SIDE = 480  # photos are shown no larger
_QUALITY = 90
_ATTENTION = 2  # photos whose attention is drawn


def shown_photos(samples: Sequence[Sample], count: int) -> list[Sample]:
    """``count`` readable photos with boxes, evenly over the split: nobody chose them by how they look."""
    boxed = [sample for sample in samples if sample.boxed]
    places = np.linspace(0, len(boxed) - 1, min(count, len(boxed))).round().astype(int)
    return [boxed[i] for i in places if _photo(boxed[i]) is not None]


def write_sheets(folder: Path, record: Mapping[str, Any], shown: Sequence[Sample], seed: Path, what: str) -> list[Path]:
    """Draw the kept maps of all methods that have them.

    Args:
        record: of the table; the boxes stand at the threshold of the largest contour that was chosen on validation,
            at the best of the split where none was.
        seed: folder of the seed that is shown.
        what: name of the split's files.
    """
    columns, photos = [], [photo for sample in shown if (photo := _photo(sample)) is not None]
    for method in record["methods"]:
        maps = MethodFolder(seed / method["name"]).maps(what)
        if not all(sample.id in maps for sample in shown):
            log(f"the sheet leaves out {method['title']}, which was measured for a sheet of other photos")
            continue
        run = method["runs"][0]
        tau = ((run["at_tau"] or {}).get("tau") or run["boxes"]["best_tau"])["v1"]
        found = [maps[sample.id] for sample in shown]
        boxes = [_largest(score_map, photo, tau) for score_map, photo in zip(found, photos, strict=True)]
        columns.append(Column(method["title"], found, boxes))
    if not columns or not photos:
        return _write(folder, file_name("sheet", record), [])  # those of before show what is no more
    at = {bool((method["runs"][0]["at_tau"] or {}).get("tau")) for method in record["methods"] if method["runs"]}
    chosen, best = "the one chosen on validation", "the best of these photos (oracle)"
    words = chosen if at == {True} else best if at == {False} else f"{chosen}, else {best}"
    about = f"{measured_on(record)}; boxes: of the largest contour, threshold: {words}"
    truths = [_scaled(sample, photo) for sample, photo in zip(shown, photos, strict=True)]
    return _write(folder, file_name("sheet", record), method_sheets(photos, truths, columns, about=about))


def write_attention(folder: Path, record: Mapping[str, Any], study: Study, shown: Sequence[Sample]) -> list[Path]:
    """Draw the attention of the study's transformer in every block and head, for the first photos."""
    network = study.transformer.network
    side = round(max(study.config.harvest.sizes) / network.patch) * network.patch
    pictures = []
    for sample in shown[:_ATTENTION]:
        if (photo := _photo(sample)) is None:
            continue
        square = torch.from_numpy(resize_image(photo, (side, side))).to(study.device).permute(2, 0, 1)[None].float() / 255
        pictures.append(attention_sheet(photo, network.attention_by_block(square)[0].cpu().numpy(), about=measured_on(record)))
    return _write(folder, file_name("attention", record), pictures)


def _photo(sample: Sample) -> ByteImage | None:
    try:
        photo = read_image(sample.path, max_side=_SIDE)
    except ImageError:
        return None
    scale = _SIDE / max(photo.shape[:2])
    return photo if scale >= 1 else resize_image(photo, (round(photo.shape[1] * scale), round(photo.shape[0] * scale)))


def _scaled(sample: Sample, photo: ByteImage) -> NDArray[Any]:
    """The true boxes in the pixels of the picture."""
    width, height = sample.frame or image_size(sample.path)
    assert sample.boxes is not None  # of shown_photos
    return np.asarray(sample.boxes * np.array([photo.shape[1] / width, photo.shape[0] / height] * 2, np.float32))


def _largest(score_map: FloatArray, photo: ByteImage, tau: float) -> NDArray[Any]:
    """The box ``(1, 4)`` that MaxBoxAcc judges, of the largest contour in the protocol's frame, in the picture's pixels."""
    levels = boxes_at_thresholds(FRAMED.resized(score_map, None))
    scale = np.array([photo.shape[1], photo.shape[0]] * 2) / FRAME
    box = levels.at(tau, multi_contour=False)
    return np.asarray(box[(box[:, 2:] > box[:, :2]).all(1)] * scale)  # without foreground it is a point


def _write(folder: Path, stem: str, pictures: Sequence[ByteImage]) -> list[Path]:
    for old in folder.glob("*.jpg"):
        if re.fullmatch(rf"{re.escape(stem)}-\d+", old.stem):  # not those of another split
            old.unlink()
    paths = []
    for number, picture in enumerate(pictures, start=1):
        _, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        paths.append(folder / f"{stem}-{number}.jpg")
        with atomic_file(paths[-1], "wb") as file:
            file.write(data.tobytes())
    return paths
