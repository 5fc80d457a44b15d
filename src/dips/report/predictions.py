"""The photos of a prediction in the report's form: from a folder written by ``dips predict``, or a new run's own photos.

In: predictions, one at a time. Out: a :class:`~dips.report.photo_section.PhotoSection`, or ``training-photos.json`` of a run
(:class:`~dips.report.photos.ShownPhotos`). Only a line per photo, and a small picture of each shown one, are kept in memory.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import cv2
from msgspec import UNSET

from dips.data.depth import Depth
from dips.data.images import encode_image, image_size
from dips.data.labels import class_name
from dips.data.split import spread
from dips.errors import ImageError
from dips.formats.records import PredictionRecord, read_prediction
from dips.predict.map_files import restore_prediction
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.predict.results import locate, moved, read_records
from dips.report.doubts import Predicted, choose_doubtful
from dips.report.photo_section import PhotoRow, PhotoSection
from dips.report.photos import Rule, ShownPhoto, ShownPhotos, file_boxes, small_map, small_photo, write_photos
from dips.system.console import counted, log, track
from dips.system.environment import quoted
from dips.system.names import as_text, as_url
from dips.types import Sample

__all__ = ["TRAINING_PHOTOS", "prediction_section", "write_training_photos"]

TRAINING_PHOTOS = "training-photos.json"
"""File that a training writes to the run folder: the finished model's predictions for validation and training photos."""

_TRAINING_COUNT = 96  # number of these photos; a second or two with the default settings, whatever the size of the data
_TRAINING_SQUARES, _LEAST_COUNT = 288, 6  # limit of squares processed for tiled photos, and minimum number of photos
_SIZED = 20  # photos whose number of tiles is checked


def prediction_section(folder: Path, *, photos: int = 300, photos_dir: Path | None = None) -> PhotoSection:
    """Return the photos of a folder written by ``dips predict`` or ``dips boxes``, without running a network.

    A photo's class is given by its folder, if that has the name of one of the model's classes.

    Args:
        photos: maximum number of photos to show: those with doubts (:mod:`dips.report.doubts`), and a sample of the others.
        photos_dir: where the photos are now, see :func:`dips.predict.results.moved`.

    Raises:
        RunError: it is not such a folder, is unfinished, one of its files is damaged, or its photos are not in ``photos_dir``.
    """
    rows: list[PhotoRow] = []
    stems: list[str] = []
    facts: list[Predicted] = []
    rule, least = None, 0.0
    for file, record in read_records(folder, photos_dir):
        calibration = record.calibration or None
        rule = rule or Rule(
            record.threshold, record.min_area, record.min_score, record.max_boxes, record.background, calibration
        )
        least = max(least, record.min_score, 0.0 if calibration is None else calibration.gate)
        rows.append(_row(record))
        stems.append(file.relative_to(folder / "json").as_posix().removesuffix(".json"))
        row, nothing = rows[-1], record.label == record.background
        facts.append(
            Predicted(row.label, row.predicted, nothing, row.probability, row.boxes, row.score, row.share, row.reviewed)
        )
    assert rule is not None  # an empty folder is an error
    chosen = choose_doubtful(facts, photos, rule.calibration)
    shown: list[ShownPhoto] = []
    lost: list[Path] = []
    for index in track(chosen, "photos of the report"):
        record = moved(read_prediction(folder / "json" / f"{stems[index]}.json"), photos_dir)
        prediction = restore_prediction(record, folder / "maps" / f"{stems[index]}.png")
        boxes = [(*box.box, box.certainty) for box in record.boxes]
        try:
            path = locate(prediction.path, folder, photos_dir)
            names = [record.label_of(box) for box in record.boxes]
            names = names if record.cell_classes or set(names) - {record.label} else []
            shown.append(_shown(prediction, rows[index].id, path, label=rows[index].label, boxes=boxes, names=names))
        except ImageError:
            lost.append(prediction.path)
    missing = ""
    if lost:
        first = as_url(lost[0]) or lost[0]
        missing = f"not where predicted: {len(lost)} of {counted(len(chosen), 'photo')} to be shown, e.g. {first}"
        remedy = "call dips from the folder in which they were predicted, or say where they are now with --photos-dir"
        log(f"{missing}; {remedy if photos_dir is None else f'copy them to where they were below {photos_dir}'}")
    elsewhere = "" if photos_dir is None else f" --photos-dir {quoted(photos_dir)}"
    return PhotoSection(
        rows,
        ShownPhotos(**rule._asdict(), photos=shown),
        missing,
        command=f"dips boxes {quoted(folder)} {{}} --out NEW{elsewhere}",
        review=f"dips view {quoted(folder)}{elsewhere}",
        min_score=least,
    )


def write_training_photos(
    path: Path, predictor: Predictor, parts: Iterable[tuple[str, Sequence[Sample]]], *, classes: Sequence[str]
) -> int:
    """Predict some of a run's own photos and write the file for its report, completely or not at all.

    Args:
        path: the file.
        parts: name and photos of each part, the most informative one first; it is shown first, others if there is room.
        classes: class names in label order.

    Returns:
        Number of photos in the file.

    Raises:
        RunError: the file cannot be written.
    """
    chosen: dict[Path, tuple[str, Sample]] = {}
    parts = list(parts)
    most = _most(predictor, [sample for _, samples in parts for sample in samples])
    for part, samples in parts:
        chosen |= {item.path: (part, item) for item in spread(samples, most - len(chosen)) if item.path not in chosen}
    config, background = predictor.config, predictor.background
    rule = Rule(
        config.threshold,
        config.min_area,
        max(0.0, config.min_score),
        config.max_boxes,
        None if background is None else classes[background],
        predictor.calibration,
    )

    def shown() -> Iterator[ShownPhoto]:
        predictions = predictor.photos(chosen, lambda _, reason: log(f"not shown in the report: {reason}"))
        for prediction in track(predictions, "photos of the report", total=len(chosen)):
            part, sample = chosen[prediction.path]
            boxes = [
                (*box, score) for box, score in zip(prediction.boxes.tolist(), prediction.box_scores.tolist(), strict=True)
            ]
            try:
                yield _shown(
                    prediction,
                    as_text(sample.id),
                    sample.path,
                    label=class_name(sample.label, classes),
                    boxes=boxes,
                    names=[as_text(name) for name in prediction.box_labels],
                    part=part,
                    true_boxes=file_boxes(sample, prediction.size),
                )
            except ImageError as error:
                log(f"not shown in the report: {error}")

    return write_photos(path, shown(), rule=rule, most=len(chosen))


def _most(predictor: Predictor, samples: Sequence[Sample]) -> int:
    """Return how many photos to predict, fewer if each has many tiles."""
    looks = []
    for sample in spread(samples, _SIZED):
        with suppress(ImageError):  # reported when the photo is read
            looks.append(predictor.looks(image_size(sample.path)))
    typical = statistics.median(looks) if looks else 1
    return min(_TRAINING_COUNT, max(_LEAST_COUNT, int(_TRAINING_SQUARES / typical)))


def _row(record: PredictionRecord) -> PhotoRow:
    areas = [(x1 - x0) * (y1 - y0) / (record.width * record.height) for x0, y0, x1, y1 in (box.box for box in record.boxes)]
    scores = [box.score for box in record.boxes if box.score is not UNSET]
    reviewed = bool(record.reviewed)
    is_empty = reviewed and not record.boxes and record.label != record.background  # whatever was predicted is not there
    folders = [record.folder, *PurePosixPath(record.name).parent.parts]
    return PhotoRow(
        id=record.name,
        label=next((name for name in reversed(folders) if name in record.class_scores), ""),
        predicted="" if is_empty else record.label,
        probability=None if reviewed else record.label_score,
        boxes=len(record.boxes),
        score=max(scores, default=None),
        share=max(areas, default=None),
        reviewed=reviewed,
    )


def _shown(
    prediction: Prediction,
    id: str,
    path: Path,
    *,
    label: str,
    boxes: list[tuple[float, float, float, float, float]],
    names: list[str],
    part: str = "",
    true_boxes: list[tuple[float, float, float, float]] | None = None,
) -> ShownPhoto:
    levels, peak = small_map(prediction.grid)
    return ShownPhoto(
        id=id,
        size=prediction.size,
        label=label,
        predicted=as_text(prediction.label),
        true_boxes=true_boxes,
        peak=peak,
        map=encode_image(levels, ".png", cv2.IMWRITE_PNG_COMPRESSION, 9),
        jpeg=small_photo(path, Depth.at(prediction.scale)),
        found=boxes,
        names=names or UNSET,
        probability=round(prediction.label_score, 6),
        part=part,
        min_area=prediction.min_area,
        min_score=prediction.min_score,
    )
