"""What evaluations write: the keys that every JSON has, and the CSV with a line per photo."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dips.evaluate.protocol import Protocol
from dips.evaluate.result import ImageRow, MapResult
from dips.runtime import atomic_file

__all__ = ["CENTRE_NOTE", "REPLICATES", "baseline", "summary", "write_rows"]

CENTRE_NOTE = "a centred Gaussian; does not look at the photo"

REPLICATES = 1000
"""Resamples of the photos behind each bootstrap interval."""

_COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "tau", "iou", "iou_largest", "correct_30", "correct_50", "correct_70"),
    *("correct_v1", "error", "best_iou", "best_tau"),
)


def summary(result: MapResult, protocol: Protocol) -> dict[str, Any]:
    """The main numbers of a method, in percent, with the protocol that they belong to; None where there is nothing to count."""
    boxes = result.boxes.record(curves=False)
    same = ("n_images", "n_boxes", "max_box_acc", "max_box_acc_v2", "max_box_acc_at", "gt_known", "top1_loc", "top5_loc")
    return {
        "protocol": f"{protocol.words}, {len(result.boxes.taus)} thresholds; maximum over thresholds on this split (oracle)",
        "protocol_name": protocol.name,
        **{name: boxes[name] for name in same},
        "pxap": result.pxap,
        "top1_cls": boxes["class_top1"],
        "top5_cls": boxes["class_top5"],
        "best_tau": boxes["best_tau"],
        "intervals": boxes["intervals"],
    }


def baseline(result: MapResult) -> dict[str, Any]:
    """What is told of a method beside the own one."""
    boxes = result.boxes.record(curves=False)
    names = ("max_box_acc", "max_box_acc_v2", "max_box_acc_at", "best_tau", "intervals")
    return {**{name: boxes[name] for name in names}, "pxap": result.pxap}


def write_rows(path: Path, rows: Iterable[ImageRow], *, tau: float, classes: Sequence[str], thresholds: int = 1000) -> None:
    """Write a CSV with a line per photo, as :class:`~dips.evaluate.result.ImageRow`, whole or not at all.

    Args:
        tau: the threshold that the rows were made at.
        classes: names in label order.
        thresholds: length of the grid.

    Raises:
        RunError: the file cannot be written.
    """

    def name(label: int | None) -> str:
        return "" if label is None else _text(classes[label]) if 0 <= label < len(classes) else str(label)

    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            line: list[Any] = [_text(row.id), name(row.label), name(row.predicted), row.n_true, f"{tau:g}"]
            if row.iou is not None and row.iou_largest is not None and row.best_iou is not None and row.best_place is not None:
                line += [f"{row.iou:.6f}", f"{row.iou_largest:.6f}", *(int(row.iou >= delta) for delta in (0.3, 0.5, 0.7))]
                line += [int(row.iou_largest >= 0.5), row.error, f"{row.best_iou:.6f}", f"{row.best_place / thresholds:g}"]
            writer.writerow(line + [""] * (len(_COLUMNS) - len(line)))


def _text(name: str) -> str:
    """The name of a file or folder need not be text."""
    return name.encode("utf-8", "backslashreplace").decode()
