"""The report of a run folder, from what the folder holds (``dips report``)."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import msgspec

from dips.errors import RunError
from dips.report.page import write_report
from dips.report.photo_section import PhotoSection
from dips.report.photos import PHOTOS, REMEDY, ROWS, read_shown
from dips.report.records import Evaluation, Run, with_words
from dips.system.files import file_sha256
from dips.system.records import read_record
from dips.system.spreadsheet import from_cell

__all__ = ["write_run_report"]

_COLUMNS = {"id", "label", "predicted", "true_boxes", "iou", "error", "oracle_iou"}


def write_run_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write ``report.html`` from the run's settings, metrics and, if there is one, its last evaluation.

    Args:
        run: the run folder.
        out: another path for it.

    Returns:
        The file.

    Raises:
        RunError: the folder is not a finished run, or a file of it is missing or damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a run folder; give the folder that 'dips train --out' wrote")
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} holds no finished run (run.json is missing); finish it with 'dips train ... --resume'")
    evaluation, photos = None, None
    if (folder / "evaluation.json").is_file():
        evaluation = read_record(folder / "evaluation.json", Evaluation, remedy=REMEDY)
        evaluation = msgspec.structs.replace(evaluation, methods=[with_words(method) for method in evaluation.methods])
        photos = _photos(folder, evaluation)
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
    return path


def _photos(folder: Path, evaluation: Evaluation) -> PhotoSection:
    """Return lines and pictures, as far as they are here and of this very evaluation."""
    foreign = [name for name, digest in evaluation.files.items() if not _has_digest(folder / name, digest)]
    rows = [] if ROWS in foreign else _rows(folder / ROWS, evaluation.n_images)
    if not evaluation.files:
        return PhotoSection(rows, None, "this run was evaluated by an earlier version, which kept no score maps")
    if PHOTOS in foreign:
        return PhotoSection(rows, None, f"{PHOTOS} is missing in the run folder, or belongs to another evaluation")
    shown = read_shown(folder / PHOTOS)
    return PhotoSection(rows, shown, "" if shown.photos else "the evaluation was run without photos for the report")


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _rows(path: Path, count: int) -> list[dict[str, str]]:
    """Return the lines of the CSV, whose numbers are numbers; none if it is not there or not of this evaluation."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if len(rows) != count or not all(row.keys() >= _COLUMNS for row in rows):
            return []
        for row in rows:
            row.update({name: from_cell(row[name]) for name in ("id", "label", "predicted")})
            numbers = int(row["true_boxes"]), float(row["iou"] or 0), float(row["oracle_iou"] or 0)
            if not all(map(math.isfinite, numbers)):
                raise ValueError(f"no number for {row['id']}")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}") from error
    return rows


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl``, whose names depend on the settings; none if it is not there."""
    lines = _text(path).splitlines() if path.is_file() else []
    try:
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines if line.strip()]
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path} ({error}); {REMEDY}") from error
