"""The report of a run folder, from what the folder holds (``dips report``)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dips.errors import RunError
from dips.report.page import write_report
from dips.report.photopage import PhotoPage
from dips.report.photos import PHOTOS, ROWS, read_shown
from dips.system.files import file_sha256

__all__ = ["write_run_report"]

_COLUMNS = {"id", "label", "predicted", "true_boxes", "iou", "error", "oracle_iou"}


def write_run_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write ``report.html`` from the run's settings, metrics and, if there is one, its last evaluation.

    Args:
        out: another place for it.

    Raises:
        RunError: the folder is no finished run, or a file of it is missing or damaged.
    """
    folder = Path(run)
    record = _read(folder / "run.json")
    if record is None:
        raise RunError(f"{folder} holds no finished run (run.json is missing); finish it with 'dips train ... --resume'")
    evaluation = _read(folder / "evaluation.json")
    path = folder / "report.html" if out is None else Path(out)
    try:
        parts: dict[str, Any] = {
            "evaluation": None if evaluation is None else _evaluation(record, evaluation),
            "metrics": _metrics(folder / "metrics.jsonl"),
            "settings_toml": (folder / "config.toml").read_text(encoding="utf-8"),
            "environment": record["environment"],
            "weights": [{"role": role, **item} for role, item in record["weights"].items()],
            "photos": None if evaluation is None else _photos(folder, evaluation),
        }
    except (OSError, LookupError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise RunError(
            f"{folder}: run.json, metrics.jsonl, config.toml, evaluation.json or {ROWS} is missing or damaged ({error}); "
            "evaluate again, or copy the run again"
        ) from error
    write_report(path, title=folder.resolve().name, **parts)
    return path


def _photos(folder: Path, evaluation: Mapping[str, Any]) -> PhotoPage:
    """Lines and pictures, as far as they are here and of this very evaluation."""
    known = evaluation.get("files", {})
    strange = [name for name, digest in known.items() if not _is(folder / name, digest)]
    rows = [] if ROWS in strange else _rows(folder / ROWS, evaluation["n_images"])
    if not known:
        return PhotoPage(rows, None, "this run was evaluated by an earlier version, which kept no score maps")
    if PHOTOS in strange:
        return PhotoPage(rows, None, f"{PHOTOS} is missing in the run folder, or of another evaluation")
    shown = read_shown(folder / PHOTOS)
    return PhotoPage(rows, shown, "" if shown["photos"] else "the evaluation was asked for none")


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _rows(path: Path, count: int) -> list[dict[str, str]]:
    """The lines of the CSV, whose numbers are numbers; none if it is not there or not of this evaluation."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != count or not all(row.keys() >= _COLUMNS for row in rows):
        return []
    for row in rows:
        numbers = int(row["true_boxes"]), float(row["iou"] or 0), float(row["oracle_iou"] or 0)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{ROWS} has no numbers for {row['id']}")
    return rows


def _evaluation(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = record["accuracy"]
    return {
        "data": evaluation["data"],
        "split": evaluation["split"],
        "methods": [{**method, "name": method["name"].replace("_", " ")} for method in evaluation["methods"]],
        "classes": evaluation["classes"],
        "classifiers": [
            {"name": f"CNN, {evaluation['split']}", "accuracy": evaluation["top1_cls"]},
            {"name": "CNN, validation", "accuracy": accuracy["classifier"]},
            {"name": "linear on class tokens, validation", "accuracy": accuracy["linear_probe"]},
        ],
        "tau_source": record["selection"],
        "selection": record["selection"],
        "label_free": record["label_free"],
        "notes": [evaluation["protocol"]],
        "note": evaluation.get("note", ""),
    }


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); evaluate again, or copy the run again") from error
    return found if isinstance(found, dict) else None
