"""CSV: a line per box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dips.formats.base import Add
from dips.formats.records import PredictionRecord
from dips.scoremaps.rle import area
from dips.system.files import atomic_file
from dips.system.spreadsheet import as_cell

__all__ = ["csv_writer"]

_COLUMNS = ("photo", "width", "height", "label", "label_score", "x0", "y0", "x1", "y1", "score", "mask_pixels", "reviewed")


@contextmanager
def csv_writer(folder: Path) -> Iterator[Add]:
    """Write ``boxes.csv``; a photo without boxes has one line, whose columns of the box are empty. ``reviewed`` is 1 where a
    person reviewed the photo.

    Names that a spreadsheet would compute have an apostrophe before them, see :func:`dips.system.spreadsheet.as_cell`.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(folder / "boxes.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_COLUMNS)

        def add(record: PredictionRecord, stem: str) -> None:
            photo, reviewed = [as_cell(record.name), record.width, record.height], int(bool(record.reviewed))
            for entry in record.boxes:
                label = record.label_of(entry)
                pixels = area(entry.mask.counts) if entry.mask else ""
                score = entry.notes().get("score", "")
                rows.writerow([*photo, as_cell(label), record.class_scores[label], *entry.box, score, pixels, reviewed])
            if not record.boxes:
                rows.writerow([*photo, as_cell(record.label), record.label_score, *[""] * 6, reviewed])

        yield add
