"""The CSV of an evaluation, a line per photo, and measured photos on their way into it through a file.

In: measured photos. Out: lines at one threshold for all photos, which is known only after the last of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dips.data.listing import class_name
from dips.evaluate.measure import Measured
from dips.evaluate.result import ImageRow
from dips.system.files import as_text, atomic_file
from dips.system.spreadsheet import as_cell

__all__ = ["TemporaryRows", "write_rows"]

_COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "iou", "correct_30", "correct_50", "correct_70"),
    *("iou_largest", "correct_v1", "error", "oracle_iou", "oracle_tau"),
)


def write_rows(path: Path, rows: Iterable[ImageRow], *, classes: Sequence[str]) -> None:
    """Write a CSV with a line per photo, as :class:`~dips.evaluate.result.ImageRow`, whole or not at all.

    Names that a spreadsheet would compute have an apostrophe before them, see :func:`dips.system.spreadsheet.as_cell`.

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


class TemporaryRows:
    """Measured photos in an open temporary file, about 6 KB each.

    >>> from tempfile import TemporaryFile
    >>> with TemporaryFile() as file:
    ...     rows = TemporaryRows(file)
    ...     rows.add(Measured("owl/1.jpg", 3, (3, 7)))
    ...     [row.id for row in rows.at({"v1": 0.5, "30": 0.5, "50": 0.5, "70": 0.5})]
    ['owl/1.jpg']
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, photo: Measured) -> None:
        """Write the next photo to the file."""
        head = [photo.id, photo.label, photo.predicted, photo.n_true, photo.thresholds, photo.peak]
        self._file.write(json.dumps(head).encode() + b"\n")
        np.save(self._file, np.stack([photo.single, photo.multiple, photo.kinds.astype(np.float64)]))

    def at(self, tau: Mapping[str, float]) -> Iterator[ImageRow]:
        """Return all photos in their order, at the thresholds ``v1``, ``30``, ``50`` and ``70``."""
        self._file.seek(0)
        while line := self._file.readline():
            id, label, predicted, n_true, thresholds, peak = json.loads(line)
            single, multiple, kinds = np.load(self._file, allow_pickle=False)
            photo = Measured(id, label, tuple(predicted), n_true, thresholds, peak, single, multiple, kinds.astype(np.int8))
            yield photo.row(tau)
