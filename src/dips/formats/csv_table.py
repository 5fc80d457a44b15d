"""CSV: a line per box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dips.data.camera import CAMERA_COLUMNS, Camera
from dips.formats.base import Add
from dips.formats.records import PredictionRecord
from dips.scoremaps.rle import area
from dips.system.files import atomic_file
from dips.system.spreadsheet import as_cell

__all__ = ["csv_writer"]

_COLUMNS = ("photo", "width", "height", "label", "label_score", "x0", "y0", "x1", "y1", "score", "mask_pixels", "state")
_BOX_COLUMNS = 6


@contextmanager
def csv_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``boxes.csv``; a photo without boxes has one line, whose columns of the box are empty.

    ``state`` is that of :class:`~dips.formats.records.PredictionRecord`; photos that ``failed`` stand at the end, with no more
    than their name. The last columns, :data:`~dips.data.camera.CAMERA_COLUMNS`, are always there, and empty where nothing is
    known.

    Names that a spreadsheet would compute have an apostrophe before them, see :func:`dips.system.spreadsheet.as_cell`.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(folder / "boxes.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*_COLUMNS, *CAMERA_COLUMNS])

        def add(record: PredictionRecord, stem: str) -> None:
            photo = [as_cell(record.name), record.width, record.height, as_cell(record.label), record.label_score]
            values = (record.camera or Camera()).columns().values()
            camera = [as_cell(value) if isinstance(value, str) else value for value in values]
            for entry in record.boxes:
                rows.writerow([*photo, *entry.box, entry.score, area(entry.mask.counts), record.state, *camera])
            if not record.boxes:
                rows.writerow([*photo, *[""] * _BOX_COLUMNS, record.state, *camera])

        yield add
        for name in failed or {}:
            rows.writerow([as_cell(name), *[""] * (len(_COLUMNS) - 2), "failed", *[""] * len(CAMERA_COLUMNS)])
