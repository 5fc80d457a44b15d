"""The report of a run or of a prediction, from the contents of its folder (``dips report``)."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import msgspec

from dips.errors import ConfigError, RunError
from dips.report.page import write_report
from dips.report.photo_section import PhotoRow, PhotoSection
from dips.report.photos import PHOTOS, REMEDY, ROWS, ShownPhoto, ShownPhotos, predicted_of, read_shown
from dips.report.predictions import TRAINING_PHOTOS, prediction_section
from dips.report.records import Evaluation, Run, with_words
from dips.system.console import log
from dips.system.environment import quoted
from dips.system.files import file_sha256
from dips.system.records import read_record
from dips.system.spreadsheet import from_cell

__all__ = ["write_folder_report", "write_run_report"]

_AGAIN = "'dips evaluate' creates them"
_COLUMNS = {"id", "label", "predicted", "true_boxes", "iou", "error", "oracle_iou"}


def write_folder_report(folder: str | Path, *, photos: int = 300, photos_dir: Path | None = None) -> Path:
    """Write ``report.html`` to a run folder, or to one written by ``dips predict`` or ``dips boxes``; return the file.

    Args:
        photos: maximum number of photos of a prediction to show.
        photos_dir: where its photos are now, if they were moved.

    Raises:
        RunError: it is neither, is unfinished, one of its files is missing or damaged, its photos are not in ``photos_dir``, or
            none of them is where it was: an existing report is then unchanged.
        ConfigError: ``photos_dir`` is given for a run.
    """
    folder = Path(folder)
    if (folder / "run.json").is_file() or not (folder / "json").is_dir():
        if photos_dir is not None:
            raise ConfigError(f"--photos-dir is for predictions; {folder} is none, and the report of a run opens no photo")
        return write_run_report(folder)
    path = folder / "report.html"
    section = prediction_section(folder, photos=photos, photos_dir=photos_dir)
    if section.missing and not section.pictures:
        raise RunError(
            f"none of the photos of {folder} is found, so {path.name} is not written; say where they are now with --photos-dir"
        )
    write_report(path, title=folder.resolve().name, photos=section)
    _warn(section)
    return path


def write_run_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write ``report.html`` from the run's settings, metrics and photos: those of its last evaluation, or of the training.

    Args:
        run: the run folder.
        out: another path for the report.

    Returns:
        The file.

    Raises:
        RunError: the folder is not a finished run, or one of its files is missing or damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; give one that 'dips train --out' or 'dips predict --out' wrote")
    if not (folder / "run.json").is_file():
        raise RunError(
            f"{folder} holds neither a finished run (run.json is missing) nor a prediction (json/ is missing); give a folder "
            "that 'dips train --out' or 'dips predict --out' wrote; finish a run with 'dips train ... --resume', "
            "a prediction with the command that began it"
        )
    evaluation, photos = None, None
    if (folder / "evaluation.json").is_file():
        evaluation = read_record(folder / "evaluation.json", Evaluation, remedy=REMEDY)
        evaluation = msgspec.structs.replace(evaluation, methods=[with_words(method) for method in evaluation.methods])
        photos = _photos(folder, evaluation)
    elif (folder / TRAINING_PHOTOS).is_file():
        shown = read_shown(folder / TRAINING_PHOTOS, remedy="train again, or copy the run again")
        photos = PhotoSection([_row(photo, shown) for photo in shown.photos], shown, command=_command(folder))
    path = folder / "report.html" if out is None else Path(out)
    write_report(
        path,
        title=folder.resolve().name,
        run=read_record(folder / "run.json", Run, remedy=REMEDY),
        evaluation=evaluation,
        metrics=_metrics(folder / "metrics.jsonl"),
        settings_toml=_text(folder / "config.toml"),
        photos=photos,
    )
    _warn(photos)
    return path


def _warn(photos: PhotoSection | None) -> None:
    if photos is not None and photos.filling:
        log(f"warning: {photos.filling}")


def _photos(folder: Path, evaluation: Evaluation) -> PhotoSection:
    """Return the rows and pictures, if they exist and belong to this very evaluation."""
    foreign = [name for name, digest in evaluation.files.items() if not _has_digest(folder / name, digest)]
    rows = [] if ROWS in foreign else _rows(folder / ROWS, evaluation.n_images)
    if not evaluation.files:
        return PhotoSection(rows, None, f"this run was evaluated by an earlier version, which kept no score maps; {_AGAIN}")
    if PHOTOS in foreign:
        missing = f"{PHOTOS} is missing in the run folder, or belongs to another evaluation; {_AGAIN}"
        return PhotoSection(rows, None, missing)
    shown = read_shown(folder / PHOTOS)
    pictured = {photo.id: photo for photo in shown.photos}
    rows = [_with_boxes(row, pictured[row.id], shown) if row.id in pictured else row for row in rows]
    missing = "" if shown.photos else f"the evaluation was run without photos for the report; {_AGAIN}"
    return PhotoSection(rows, shown, missing, command=_command(folder))


def _command(run: Path) -> str:
    return f"dips predict {quoted(run)} PHOTOS {{}} --out NEW"


def _with_boxes(row: PhotoRow, photo: ShownPhoto, shown: ShownPhotos) -> PhotoRow:
    """Return the row completed by the boxes found in the photo's small map."""
    found = predicted_of((photo.map, photo.peak), shown.rule_of(photo), label=row.label, predicted=row.predicted)
    return row._replace(boxes=found.boxes, score=found.score, share=found.share)


def _row(photo: ShownPhoto, shown: ShownPhotos) -> PhotoRow:
    """Return the row of a photo that was predicted when the run was trained."""
    row = PhotoRow(
        photo.id,
        photo.label,
        photo.predicted,
        true_boxes=len(photo.true_boxes or ()),
        probability=None if photo.probability is msgspec.UNSET else photo.probability,
        part="" if photo.part is msgspec.UNSET else photo.part,
    )
    if photo.found is msgspec.UNSET:
        return _with_boxes(row, photo, shown)
    areas = [(x1 - x0) * (y1 - y0) / (photo.size[0] * photo.size[1]) for x0, y0, x1, y1, _ in photo.found]
    score = photo.found[0][4] if photo.found else None
    return row._replace(boxes=len(photo.found), score=score, share=max(areas, default=None))


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _rows(path: Path, count: int) -> list[PhotoRow]:
    """Return the rows of the CSV; none if it does not exist or is not of this evaluation."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        if len(lines) != count or not all(line.keys() >= _COLUMNS for line in lines):
            return []
        rows = [
            PhotoRow(
                from_cell(line["id"]),
                from_cell(line["label"]),
                from_cell(line["predicted"]),
                int(line["true_boxes"]),
                iou=float(line["iou"]) if line["iou"] else None,
                error=line["error"],
                oracle_iou=float(line["oracle_iou"]) if line["oracle_iou"] else None,
            )
            for line in lines
        ]
        for row in rows:
            if not math.isfinite((row.iou or 0) + (row.oracle_iou or 0)):
                raise ValueError(f"no number for {row.id}")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}") from error
    return rows


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl``, whose names depend on the settings; none if it does not exist."""
    lines = _text(path).split("\n") if path.is_file() else []
    try:
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines if line.strip()]
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path} ({error}); {REMEDY}") from error
