"""The CSV of an evaluation, with one line per photo."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dips.data.labels import class_name
from dips.evaluate.result import ImageRow
from dips.system.files import atomic_file
from dips.system.names import as_text
from dips.system.spreadsheet import as_cell

__all__ = ["write_rows"]

_COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "iou", "correct_30", "correct_50", "correct_70"),
    *("iou_largest", "correct_v1", "error", "oracle_iou", "oracle_tau"),
)


def write_rows(path: Path, rows: Iterable[ImageRow], *, classes: Sequence[str]) -> None:
    """Write a CSV with one :class:`~dips.evaluate.result.ImageRow` per photo, completely or not at all.

    Names that a spreadsheet would evaluate are prefixed with an apostrophe, see :func:`dips.system.spreadsheet.as_cell`.

    Args:
        classes: class names in label order.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            line: list[Any] = [
                as_cell(as_text(row.id)),
                *(as_cell(class_name(label, classes)) for label in (row.label, row.predicted)),
                row.n_true,
            ]
            if row.correct is not None:
                line += [f"{row.iou:.6f}", *(int(row.correct[delta]) for delta in ("30", "50", "70"))]
                line += [
                    f"{row.iou_largest:.6f}",
                    int(row.correct["v1"]),
                    row.error,
                    f"{row.oracle_iou:.6f}",
                    f"{row.oracle_tau:g}",
                ]
            writer.writerow(line + [""] * (len(_COLUMNS) - len(line)))
