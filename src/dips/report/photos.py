"""The photos of an evaluation that its report shows: which ones, and the file beside ``evaluation.json`` that holds them.

In: score maps as they are measured, then what was measured. Out: ``evaluation-photos.json``::

    {"schema_version": 1, "threshold": 0.41, "min_area": 0.005, "min_score": 0.0, "max_boxes": 100, "background": null,
     "photos": [
      {"id", "size": [width, height], "label", "predicted", "true_boxes": [[x0, y0, x1, y1], ...] or null,
       "jpeg": the plain photo, small, "map": score map divided by "peak", its maximum, PNG of 8 bits}, ...]}

Boxes are in pixels of the upright photo, end exclusive; files are base64. The map belongs to the whole photo, whatever its own
sides. Memory grows neither with the photos that are measured nor with those that are shown.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.data.images import image_size, read_image
from dips.data.listing import class_name
from dips.errors import ImageError, RunError
from dips.evaluate.result import ImageRow
from dips.pictures.overlay import thumbnail
from dips.system.console import log, track
from dips.system.files import as_text, atomic_file
from dips.types import FloatArray, Sample

__all__ = ["MAP_SIDE", "PHOTOS", "PHOTO_SIDE", "ROWS", "MapSpool", "Rule", "choose", "read_shown", "small_map", "write_shown"]

ROWS, PHOTOS = "evaluation.csv", "evaluation-photos.json"
"""What an evaluation leaves in the run folder beside ``evaluation.json``: a line per photo, and the photos to be shown."""

PHOTO_SIDE, MAP_SIDE = 320, 112
"""Pixels of the longer sides of photos and maps in the file, at most."""

_BYTES_EACH = 40_000
"""What a photo with its map may take as base64, on average; most take less."""


class Rule(NamedTuple):
    """How a score map becomes boxes: see :func:`dips.scoremaps.levels.boxes_from_map`; photos of ``background`` get none."""

    threshold: float
    min_area: float
    min_score: float
    max_boxes: int
    background: str | None


class MapSpool:
    """Score maps in an open temporary file, small: only the last photo tells which of them are shown. 3 to 8 KB each."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = [0]
        self._peaks: list[float] = []

    def add(self, score_map: FloatArray) -> None:
        """Write the next photo's map ``(h, w)`` in [0, 1] down."""
        levels, peak = small_map(score_map)
        self._ends.append(self._ends[-1] + self._file.write(_encoded(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 9])))
        self._peaks.append(peak)

    def read(self, position: int) -> tuple[bytes, float]:
        """The PNG of a photo's map and what its white is worth."""
        start, end = self._ends[position : position + 2]
        self._file.seek(start)
        png = self._file.read(end - start)
        self._file.seek(0, 2)
        return png, self._peaks[position]


def small_map(score_map: FloatArray) -> tuple[NDArray[np.uint8], float]:
    """A map ``(h, w)`` in [0, 1] as 8-bit levels of its maximum, no side longer than ``MAP_SIDE``; and the maximum."""
    height, width = score_map.shape
    size = min(width, MAP_SIDE), min(height, MAP_SIDE)
    small = np.asarray(score_map, np.float32)
    if size != (width, height):
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA))
    small = np.clip(small, 0, 1)
    peak = float(small.max())
    levels = np.rint(small * (255 / peak)) if peak > 0 else np.zeros_like(small)
    return np.minimum(levels, 255).astype(np.uint8), peak


def choose(ious: Sequence[float | None], count: int) -> list[int]:
    """Positions of the photos that are shown: the worst, the best and an even sample of the others, a third each.

    Args:
        ious: by photo; None where there is no true box. Such photos are in the sample only.
        count: photos at most.

    Returns:
        No position twice, and those first that are needed most: worst, best and sampled ones take turns.
    """
    known = sorted((iou, position) for position, iou in enumerate(ious) if iou is not None)
    ranked = [position for _, position in known]
    third = min((count + 2) // 3, (len(ranked) + 1) // 2)
    worst, best = ranked[:third], ranked[third:][::-1][:third]
    between = [*ranked[third : len(ranked) - len(best)], *(position for position, iou in enumerate(ious) if iou is None)]
    room = min(max(0, count - len(worst) - len(best)), len(between))
    sample = [between[int(place)] for place in (np.arange(room) + 0.5) * (len(between) / max(1, room))]
    turns = [group[turn] for turn in range(max(third, room)) for group in (worst, best, sample) if turn < len(group)]
    return turns[: max(0, count)]


def write_shown(
    path: Path,
    samples: Sequence[Sample],
    rows: Sequence[ImageRow],
    maps: MapSpool | None,
    *,
    photos: int,
    rule: Rule,
    classes: Sequence[str],
) -> int:
    """Write the file, whole or not at all, and say how many photos it holds.

    Args:
        rows: what was measured of each sample.
        maps: of each sample; None where no photo is to be shown.
        photos: how many are shown at most. Fewer are where they would take more than 40 KB each.
        classes: names in label order.

    Raises:
        RunError: it cannot be written.
    """
    chosen = [] if maps is None else choose([row.iou for row in rows], photos)
    left, written = _BYTES_EACH * len(chosen), 0
    with atomic_file(path) as file:
        head = json.dumps({"schema_version": 1, **rule._asdict()})
        file.write(f'{head[:-1]}, "photos": [')
        for position in track(chosen, "photos of the report"):
            assert maps is not None
            try:
                record = _record(samples[position], rows[position], maps.read(position), classes)
            except ImageError as error:  # it has gone since it was measured
                log(f"not shown in the report: {error}")
                continue
            left -= len(record)
            if left < 0:
                log(f"the report shows {written} of {len(chosen)} photos, as their files would be too large")
                break
            file.write(f"{',' if written else ''}\n{record}")
            written += 1
        file.write("\n]}\n")
    return written


def _record(sample: Sample, row: ImageRow, score_map: tuple[bytes, float], classes: Sequence[str]) -> str:
    width, height = image_size(sample.path)
    boxes = sample.boxes
    if boxes is not None and sample.frame is not None:
        boxes = boxes * np.array([width / sample.frame[0], height / sample.frame[1]] * 2, np.float32)
    small = thumbnail(read_image(sample.path, max_side=PHOTO_SIDE), PHOTO_SIDE)
    jpeg = _encoded(".jpg", np.ascontiguousarray(small[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return json.dumps(
        {
            "id": as_text(sample.id),
            "size": [width, height],
            "label": class_name(row.label, classes),
            "predicted": class_name(row.predicted, classes),
            "true_boxes": None if boxes is None else [[round(float(value), 2) for value in box] for box in boxes],
            "peak": score_map[1],
            "map": base64.b64encode(score_map[0]).decode(),
            "jpeg": base64.b64encode(jpeg).decode(),
        }
    )


def _encoded(kind: str, pixels: NDArray[np.uint8], options: Sequence[int]) -> bytes:
    done, data = cv2.imencode(kind, pixels, options)
    assert done  # no picture is known that OpenCV cannot encode
    return data.tobytes()


def read_shown(path: Path) -> dict[str, Any]:
    """What :func:`write_shown` wrote, the files of each photo decoded: ``jpeg`` as bytes, ``map`` as ``(h, w) uint8``.

    Raises:
        RunError: the file is missing or damaged, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != 1:
            raise ValueError(f"schema_version {found['schema_version']}")
        return {**found, "photos": list(_decoded(found["photos"]))}
    except (OSError, LookupError, TypeError, ValueError, cv2.error) as error:
        raise RunError(f"{path} is missing or damaged ({error}); evaluate again, or copy the run again") from error


def _decoded(photos: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for photo in photos:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(photo["map"]), np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
            raise ValueError(f"the score map of {photo['id']} cannot be read")
        yield {**photo, "map": pixels, "jpeg": base64.b64decode(photo["jpeg"])}
