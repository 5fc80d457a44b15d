"""What evaluations write: the keys that every JSON has, and the CSV with a line per photo."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dips.data.listing import class_name
from dips.evaluate.protocol import Protocol
from dips.evaluate.result import ImageRow, MapResult
from dips.system.files import as_text, atomic_file

__all__ = ["CENTRE_NOTE", "REPLICATES", "fingerprints", "shared_photos", "summary", "write_json"]
__all__ += ["write_rows"]

CENTRE_NOTE = "a centred Gaussian; does not look at the photo"

REPLICATES = 1000
"""Resamples of the photos behind each bootstrap interval."""

_COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "iou", "correct_30", "correct_50", "correct_70"),
    *("iou_largest", "correct_v1", "error", "oracle_iou", "oracle_tau"),
)


def summary(
    own: tuple[str, str, MapResult],
    others: Mapping[str, tuple[str, MapResult]],
    protocol: Protocol,
    taus: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """What every evaluation says, in percent; None where there is nothing to count. The keys are those of docs/metrics.md.

    Args:
        own: name, note and result of the method that is evaluated.
        others: note and result by name of what it is compared with.
        protocol: what the numbers belong to.
        taus: by method, thresholds that were chosen for it on a validation split; those of one method suit no other.
    """
    name, note, result = own
    methods = [{"name": name, "own": True, "note": note, **result.record(taus.get(name))}]
    methods += [
        {"name": name, "own": False, "note": note, **other.record(taus.get(name))} for name, (note, other) in others.items()
    ]
    boxes = methods[0]["boxes"]
    same = ("n_images", "n_boxes", "max_box_acc", "max_box_acc_v2", "max_box_acc_at", "gt_known", "top1_loc", "top5_loc")
    return {
        "protocol": f"{protocol.words}, {len(result.boxes.taus)} thresholds; maximum over thresholds on this split (oracle)",
        "protocol_name": protocol.name,
        **{key: boxes[key] for key in same},
        "pxap": result.pxap,
        "top1_cls": boxes["class_top1"],
        "top5_cls": boxes["class_top5"],
        "best_tau": boxes["best_tau"],
        "intervals": boxes["intervals"],
        "at_validation_tau": methods[0]["at_tau"],
        "baselines": {method["name"]: _baseline(method) for method in methods[1:]},
        "methods": methods,
    }


def _baseline(method: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("max_box_acc", "max_box_acc_v2", "max_box_acc_at", "best_tau", "intervals")
    return {**{key: method["boxes"][key] for key in keys}, "at_validation_tau": method["at_tau"], "pxap": method["pxap"]}


def fingerprints(paths: Iterable[Path]) -> str:
    """What a record says of its photos, so that none of them helps to choose a threshold that it is measured at: four bytes per
    photo, which follow from where it lies, or would lie, as base64."""
    marks = [hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=4).digest() for path in paths]
    return base64.b64encode(b"".join(sorted(marks))).decode()


def shared_photos(first: str, second: str) -> int:
    """How many photos two records have in common, less what chance may account for.

    Raises:
        ValueError: not what :func:`fingerprints` gives.
    """
    one, other = (np.frombuffer(base64.b64decode(text, validate=True), np.uint32) for text in (first, second))
    common = len(np.intersect1d(one, other))
    return common if common > 10 * len(one) * len(other) / 2**32 + 0.5 else 0


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        json.dump(result, file, indent=2)


def write_rows(path: Path, rows: Iterable[ImageRow], *, classes: Sequence[str]) -> None:
    """Write a CSV with a line per photo, as :class:`~dips.evaluate.result.ImageRow`, whole or not at all.

    Args:
        classes: names in label order.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            line: list[Any] = [
                as_text(row.id),
                *(class_name(label, classes) for label in (row.label, row.predicted)),
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
