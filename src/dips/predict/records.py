"""The records of predictions on disk: a JSON per photo, and all photos in one.

In: what :meth:`dips.predict.prediction.Prediction.record` gives. Out: files, each written whole or not at all, and records read
back. A record holds masks as run lengths, so every format of other tools is written from records alone (:mod:`dips.formats`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dips.errors import RunError
from dips.system.files import as_text, atomic_file
from dips.types import Problem

__all__ = [
    "SCHEMA_VERSION",
    "damaged",
    "read_record",
    "skipped_records",
    "write_json",
    "write_predictions",
]

SCHEMA_VERSION = 1
"""Grows when a key of the JSON is renamed, removed or changes its meaning; new keys do not change it."""

Record = dict[str, Any]
_KEYS = {"path", "name", "folder", "width", "height", "label", "label_score", "class_scores", "background", "boxes"}
_KEYS |= {"threshold", "min_area", "min_score", "max_boxes", "model"}


def read_record(file: Path) -> Record:
    """What :meth:`dips.predict.prediction.Prediction.record` gave, from its JSON file.

    Raises:
        RunError: it is damaged.
    """
    try:
        record = json.loads(file.read_bytes())
        if missing := _KEYS - record.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        for entry in record["boxes"]:
            if not isinstance(entry["mask"]["counts"], str):
                raise ValueError("a mask is no string of run lengths")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(file, error) from error
    return dict(record)


def damaged(file: Path, error: Exception) -> RunError:
    """For a record that cannot be what a prediction wrote."""
    return RunError(f"{file} is damaged ({error}); remove it and predict the photo again")


def skipped_records(problems: Iterable[Problem]) -> list[Record]:
    """Photos that were left out, for JSON: ``path`` and ``reason``."""
    return [{"path": as_text(problem.path.as_posix()), "reason": as_text(problem.message)} for problem in problems]


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """One photo's record as a JSON file.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        json.dump(record, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")


def write_predictions(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """All records as one JSON file: ``{"schema_version": 1, "predictions": [...]}``.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(f'{{"schema_version": {SCHEMA_VERSION}, "predictions": [')
        for index, record in enumerate(records):
            file.write(",\n" if index else "\n")
            json.dump(record, file, ensure_ascii=False, allow_nan=False)
        file.write("\n]}\n")
