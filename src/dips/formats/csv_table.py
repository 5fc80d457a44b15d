"""CSV: a line per box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dips.data.camera import CAMERA_COLUMNS, Camera
from dips.formats.base import Add
from dips.formats.records import PredictionRecord
from dips.scoremaps.rle import area
from dips.system.files import atomic_file
from dips.system.spreadsheet import as_cell

__all__ = ["csv_writer"]

_COLUMNS = ("photo", "width", "height", "label", "label_score", "x0", "y0", "x1", "y1", "score", "mask_pixels", "reviewed")
_BOX_COLUMNS = 6


@contextmanager
def csv_writer(folder: Path) -> Iterator[Add]:
    """Write ``boxes.csv``; a photo without boxes has one line, whose columns of the box are empty. ``reviewed`` is 1 where a
    person reviewed the photo.

    The last columns, :data:`~dips.data.camera.CAMERA_COLUMNS`, are always there, and empty where nothing is known.

    Names that a spreadsheet would compute have an apostrophe before them, see :func:`dips.system.spreadsheet.as_cell`.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(folder / "boxes.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*_COLUMNS, *CAMERA_COLUMNS])

        def add(record: PredictionRecord, stem: str) -> None:
            photo, reviewed = [as_cell(record.name), record.width, record.height], int(bool(record.reviewed))
            values = (record.camera or Camera()).columns().values()
            camera = [as_cell(value) if isinstance(value, str) else value for value in values]
            for entry in record.boxes:
                label = record.label_of(entry)
                pixels = area(entry.mask.counts) if entry.mask else ""
                score = entry.notes().get("score", "")
                found = [as_cell(label), record.class_scores[label], *entry.box, score, pixels]
                rows.writerow([*photo, *found, reviewed, *camera])
            if not record.boxes:
                nothing = [as_cell(record.label), record.label_score, *[""] * _BOX_COLUMNS]
                rows.writerow([*photo, *nothing, reviewed, *camera])

        yield add
