"""The report of a run folder, from what the folder holds (``dips report``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.errors import RunError
from dips.export.report import ReportPhoto, write_report

__all__ = ["write_run_report"]


def write_run_report(
    run: str | Path, out: str | Path | None = None, *, photos: Sequence[Mapping[str, Any]] | None = None
) -> Path:
    """Write ``report.html`` from the run's settings, metrics and, if there is one, its last evaluation.

    Args:
        out: another place for it.
        photos: pictures of an evaluation; default: those of ``evaluation.json``.

    Raises:
        RunError: the folder is no finished run, or a file of it is missing or damaged.
    """
    folder = Path(run)
    record = _read(folder / "run.json")
    if record is None:
        raise RunError(f"{folder} holds no finished run (run.json is missing); finish it with 'dips train ... --resume'")
    evaluation = _read(folder / "evaluation.json")
    shown = photos if photos is not None else (evaluation or {}).get("shown", [])
    path = folder / "report.html" if out is None else Path(out)
    try:
        parts: dict[str, Any] = {
            "evaluation": None if evaluation is None else _evaluation(record, evaluation),
            "metrics": _metrics(folder / "metrics.jsonl"),
            "settings_toml": (folder / "config.toml").read_text(encoding="utf-8"),
            "environment": record["environment"],
            "weights": [{"role": role, **item} for role, item in record["weights"].items()],
            "photos": [_photo(item) for item in shown],
        }
    except (OSError, LookupError, TypeError, ValueError, AttributeError, cv2.error) as error:
        raise RunError(
            f"{folder}: run.json, metrics.jsonl, config.toml or evaluation.json is missing or damaged ({error}); "
            "evaluate again, or copy the run again"
        ) from error
    write_report(path, title=folder.resolve().name, **parts)
    return path


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


def _photo(item: Mapping[str, Any]) -> ReportPhoto:
    data = np.frombuffer(base64.b64decode(item["jpeg"]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"the picture of {item['id']} cannot be read")
    return ReportPhoto(f"{item['id']}: {item['label']}", np.ascontiguousarray(image[:, :, ::-1]), item["iou"], item["group"])


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
