"""The photos of an evaluation shown in its report: their choice, and the file beside ``evaluation.json`` that contains them.

In: score maps as they are measured, then the measurements. Out: ``evaluation-photos.json`` (:class:`ShownPhotos`). Memory grows
neither with the number of measured photos nor with that of shown ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from dips.data.depth import Depth
from dips.data.images import decode_image, encode_image, image_size, read_image
from dips.data.labels import class_name
from dips.errors import ImageError, RunError
from dips.evaluate.result import ImageRow
from dips.pictures.overlay import thumbnail
from dips.report.doubts import Predicted, choose_doubtful
from dips.scoremaps.calibration import Calibration, scored_boxes
from dips.system.console import counted, log, track
from dips.system.files import atomic_file
from dips.system.names import as_text
from dips.system.records import Record, read_record, to_json
from dips.types import FloatArray, Sample

__all__ = ["MAP_SIDE", "PHOTOS", "PHOTO_SIDE", "REMEDY", "ROWS", "MapSpool", "Rule", "ShownPhoto", "ShownPhotos"]
__all__ += ["choose_photos", "file_boxes", "predicted_of", "read_shown", "small_map", "small_photo", "write_photos"]
__all__ += ["write_shown"]

ROWS, PHOTOS = "evaluation.csv", "evaluation-photos.json"
"""Files that an evaluation writes to the run folder beside ``evaluation.json``: a line per photo, and the photos to show."""

PHOTO_SIDE, MAP_SIDE = 320, 112
"""Maximum length in pixels of the longer sides of photos and maps in the file."""

REMEDY = "evaluate again, or copy the run again"
"""What to do if a file of an evaluation is missing or damaged."""

_BYTES_PER_PHOTO = 40_000  # average limit for a photo with its map, as base64; most are smaller
_BYTES_ANYWAY = 4_000_000  # total that is always allowed, however few photos there are
_JPEG_QUALITY = 82


class ShownPhoto(Record, frozen=True, kw_only=True):
    """One photo of the file.

    Values known only for a prediction are unset for the photos of an evaluation.

    Attributes:
        size: width and height in pixels of the upright photo.
        label, predicted: names of the true and the predicted class; empty if unknown.
        true_boxes: ``x0 y0 x1 y1`` of the ground truth in these pixels, end exclusive; None if unknown.
        peak: maximum of the score map, in [0, 1].
        map: the score map of the whole photo, of any aspect ratio, divided by ``peak``: 8-bit grey PNG.
        jpeg: the plain photo, small.
        found: the predicted boxes, ``x0 y0 x1 y1 score`` each.
        names: the classes of these boxes, if objects have classes of their own.
        probability: probability of the predicted class.
        part: ``training`` or ``validation``, for a run's own photos.
        min_area, min_score: values for this photo, if they differ from those of the file: tiled photos have their own.
    """

    id: str
    size: tuple[int, int]
    label: str
    predicted: str
    true_boxes: list[tuple[float, float, float, float]] | None
    peak: float
    map: bytes
    jpeg: bytes
    found: list[tuple[float, float, float, float, float]] | msgspec.UnsetType = msgspec.UNSET
    names: list[str] | msgspec.UnsetType = msgspec.UNSET
    probability: float | msgspec.UnsetType = msgspec.UNSET
    part: str | msgspec.UnsetType = msgspec.UNSET
    min_area: float | msgspec.UnsetType = msgspec.UNSET
    min_score: float | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.names and len(self.names) != len(self.found or ()):
            raise ValueError("there are more or fewer classes than boxes")

    def levels(self) -> NDArray[np.uint8]:
        """Return the score map ``(h, w) uint8``; 255 is ``peak``.

        Raises:
            RunError: the map is damaged.
        """
        levels = decode_image(self.map, cv2.IMREAD_UNCHANGED)
        if levels is None or levels.ndim != 2 or levels.dtype != np.uint8:
            raise RunError(f"the score map of {self.id} is damaged; {REMEDY}")
        return np.asarray(levels, np.uint8)


class ShownPhotos(Record, frozen=True, kw_only=True):
    """``evaluation-photos.json``: the rule that turns maps into boxes, see :class:`Rule`, and the photos.

    The most important photos come first. Bytes are base64 in the file.
    """

    schema_version: int = 1
    threshold: float
    min_area: float
    min_score: float
    max_boxes: int
    background: str | None = None
    calibration: Calibration | None = None
    photos: list[ShownPhoto]

    def rule_of(self, photo: ShownPhoto) -> Rule:
        """Return the rule that turns the photo's map into boxes."""
        return Rule(
            self.threshold,
            self.min_area if photo.min_area is msgspec.UNSET else photo.min_area,
            self.min_score if photo.min_score is msgspec.UNSET else photo.min_score,
            self.max_boxes,
            self.background,
            self.calibration,
        )


class Rule(NamedTuple):
    """How to turn a score map into boxes, see :func:`dips.scoremaps.calibration.scored_boxes`; none for ``background``."""

    threshold: float
    min_area: float
    min_score: float
    max_boxes: int
    background: str | None
    calibration: Calibration | None = None


class MapSpool:
    """Small score maps in an open temporary file, 3 to 8 KB each, as the shown ones are only chosen after the last photo.

    >>> import io
    >>> spool = MapSpool(io.BytesIO())
    >>> spool.add(np.full((8, 8), 0.5, np.float32))
    >>> png, peak = spool.read(0)
    >>> png[1:4], peak
    (b'PNG', 0.5)
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = [0]
        self._peaks: list[float] = []

    def add(self, score_map: FloatArray) -> None:
        """Append the next photo's map ``(h, w)`` in [0, 1]."""
        levels, peak = small_map(score_map)
        self._ends.append(self._ends[-1] + self._file.write(encode_image(levels, ".png", cv2.IMWRITE_PNG_COMPRESSION, 9)))
        self._peaks.append(peak)

    def read(self, position: int) -> tuple[bytes, float]:
        """Return the PNG of a photo's map and the score that white represents."""
        start, end = self._ends[position : position + 2]
        self._file.seek(start)
        png = self._file.read(end - start)
        self._file.seek(0, 2)
        return png, self._peaks[position]


def small_map(score_map: FloatArray) -> tuple[NDArray[np.uint8], float]:
    """Return a map ``(h, w)`` in [0, 1] as 8-bit fractions of its maximum, sides at most ``MAP_SIDE``; and the maximum."""
    height, width = score_map.shape
    size = min(width, MAP_SIDE), min(height, MAP_SIDE)
    small = np.asarray(score_map, np.float32)
    if size != (width, height):
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA))
    small = np.clip(small, 0, 1)
    peak = float(small.max())
    levels = np.rint(small * (255 / peak)) if peak > 0 else np.zeros_like(small)
    return np.minimum(levels, 255).astype(np.uint8), peak


def choose_photos(ious: Sequence[float | None], count: int) -> list[int]:
    """Choose the photos to show: the worst, the best and an even sample of the others, a third each.

    Args:
        ious: IoU of each photo, in [0, 1]; None if it has no ground-truth box. Such photos are only part of the sample.
        count: maximum number of photos.

    Returns:
        Their unique indices, the most important first: worst, best and sampled ones alternate.

    >>> choose_photos([0.1, 0.2, 0.5, 0.6, 0.9, None], 3)
    [0, 4, 3]
    """
    ranked = [index for _, index in sorted((iou, index) for index, iou in enumerate(ious) if iou is not None)]
    third = min((count + 2) // 3, (len(ranked) + 1) // 2)
    worst, best = ranked[:third], ranked[third:][::-1][:third]
    others = [*ranked[third : len(ranked) - len(best)], *(index for index, iou in enumerate(ious) if iou is None)]
    room = min(max(0, count - len(worst) - len(best)), len(others))
    sample = [others[int(position)] for position in (np.arange(room) + 0.5) * (len(others) / max(1, room))]
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
    depth: Depth | None = None,
) -> int:
    """Write the file, completely or not at all.

    Args:
        path: the file.
        samples: the evaluated photos.
        rows: the measurements of each photo.
        maps: the score map of each photo; None if no photo is to be shown.
        photos: maximum number of photos to show; fewer if they would need more than 40 KB each and 4 MB together.
        rule: how to turn maps into boxes.
        classes: class names in label order.
        depth: how values of more than 8 bits were reduced to 8.

    Returns:
        Number of photos in the file.

    Raises:
        RunError: the file cannot be written.
    """
    chosen = [] if maps is None else _choose(rows, maps, photos, rule, classes)
    shown_as = depth or Depth()

    def shown() -> Iterator[ShownPhoto]:
        for position in track(chosen, "photos of the report"):
            assert maps is not None
            try:
                yield _shown_photo(samples[position], rows[position], maps.read(position), classes, shown_as)
            except ImageError as error:  # removed after it was measured
                log(f"not shown in the report: {error}")

    return write_photos(path, shown(), rule=rule, most=len(chosen))


def write_photos(path: Path, photos: Iterator[ShownPhoto], *, rule: Rule, most: int) -> int:
    """Write photos, the most important first, completely or not at all; return how many fit.

    Args:
        most: maximum number of photos; they may need 40 KB each on average, or 4 MB together.

    Raises:
        RunError: the file cannot be written.
    """
    left, written = max(_BYTES_PER_PHOTO * most, _BYTES_ANYWAY), 0
    with atomic_file(path) as file:
        head = to_json(ShownPhotos(**rule._asdict(), photos=[]))
        file.write(head.removesuffix("]}"))
        for photo in photos:
            record = to_json(photo)
            left -= len(record)
            if left < 0:
                log(f"the report shows {written} of {counted(most, 'photo')}, as their files would be too large")
                break
            file.write(f"{',' if written else ''}\n{record}")
            written += 1
        file.write("\n]}\n")
    return written


def _choose(rows: Sequence[ImageRow], maps: MapSpool, photos: int, rule: Rule, classes: Sequence[str]) -> list[int]:
    if any(row.iou is not None for row in rows):
        return choose_photos([row.iou for row in rows], photos)
    names = [(class_name(row.label, classes), class_name(row.predicted, classes)) for row in rows]
    facts = [predicted_of(maps.read(i), rule, label=label, predicted=predicted) for i, (label, predicted) in enumerate(names)]
    return choose_doubtful(facts, photos, rule.calibration)


def predicted_of(score_map: tuple[bytes, float], rule: Rule, *, label: str, predicted: str) -> Predicted:
    """Return the prediction found in a small map, given as PNG and peak.

    Raises:
        RunError: the map is damaged.
    """
    png, peak = score_map
    nothing = rule.background is not None and predicted == rule.background
    if nothing or peak <= 0:
        return Predicted(label, predicted, nothing, boxes=0)
    levels = decode_image(png, cv2.IMREAD_UNCHANGED)
    if levels is None or levels.ndim != 2:
        raise RunError(f"a score map of the report is damaged; {REMEDY}")
    boxes, scores, _ = scored_boxes(
        np.asarray(levels * np.float32(peak / 255), np.float32),
        rule.threshold,
        rule.calibration,
        min_area=rule.min_area,
        min_score=rule.min_score,
        max_boxes=rule.max_boxes,
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / levels.size
    score, share = (float(scores[0]), float(areas.max())) if len(boxes) else (None, None)
    return Predicted(label, predicted, False, boxes=len(boxes), score=score, share=share)


def _shown_photo(
    sample: Sample, row: ImageRow, score_map: tuple[bytes, float], classes: Sequence[str], depth: Depth
) -> ShownPhoto:
    size = image_size(sample.path)
    return ShownPhoto(
        id=as_text(sample.id),
        size=size,
        label=class_name(row.label, classes),
        predicted=class_name(row.predicted, classes),
        true_boxes=file_boxes(sample, size),
        peak=score_map[1],
        map=score_map[0],
        jpeg=small_photo(sample.path, depth),
    )


def file_boxes(sample: Sample, size: tuple[int, int]) -> list[tuple[float, float, float, float]] | None:
    """Return the ground-truth boxes in pixels of the file, whose width and height are ``size``; None if unknown."""
    boxes = sample.boxes
    if boxes is None:
        return None
    if sample.frame is not None:
        boxes = boxes * np.array([size[0] / sample.frame[0], size[1] / sample.frame[1]] * 2, np.float32)
    return [(round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)) for x0, y0, x1, y1 in boxes.tolist()]


def small_photo(path: Path, depth: Depth) -> bytes:
    """Return the plain photo as JPEG, its longer side at most ``PHOTO_SIDE`` pixels.

    Raises:
        ImageError: the photo cannot be read.
    """
    small = thumbnail(read_image(path, max_side=PHOTO_SIDE, depth=depth), PHOTO_SIDE)
    return encode_image(small, ".jpg", cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)


def read_shown(path: Path, *, remedy: str = REMEDY) -> ShownPhotos:
    """Read a file written by :func:`write_shown` or :func:`write_photos`.

    Raises:
        RunError: the file is missing or damaged, or of another version.
    """
    return read_record(path, ShownPhotos, remedy=remedy)
