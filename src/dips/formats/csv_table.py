"""CSV: one line per box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import UNSET

from dips.data.camera import CAMERA_COLUMNS, Camera
from dips.formats.base import Add
from dips.formats.records import PredictionRecord
from dips.scoremaps.rle import area
from dips.system.files import atomic_file
from dips.system.spreadsheet import as_cell

__all__ = ["csv_writer"]

_PHOTO_COLUMNS = ("photo", "width", "height")
_BOX_COLUMNS = ("label", "label_score", "x0", "y0", "x1", "y1", "score", "mask_pixels")
_MORE_COLUMNS = ("state", "reviewed", "priority", *CAMERA_COLUMNS)


@contextmanager
def csv_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``boxes.csv``; a photo without boxes has one line with empty box columns.

    ``reviewed`` is 1 if a person reviewed the photo. ``state`` is that of :class:`~dips.formats.records.PredictionRecord`;
    ``failed`` photos come last, with only their name and state. ``priority`` is empty in predictions by earlier versions. The
    last columns, :data:`~dips.data.camera.CAMERA_COLUMNS`, are always present, and empty if unknown.

    Names that a spreadsheet would evaluate are prefixed with an apostrophe, see :func:`dips.system.spreadsheet.as_cell`.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(folder / "boxes.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*_PHOTO_COLUMNS, *_BOX_COLUMNS, *_MORE_COLUMNS])

        def add(record: PredictionRecord, stem: str) -> None:
            photo, reviewed = [as_cell(record.name), record.width, record.height], int(bool(record.reviewed))
            values = (record.camera or Camera()).columns().values()
            camera = [as_cell(value) if isinstance(value, str) else value for value in values]
            more = [record.state, reviewed, "" if record.priority is UNSET else record.priority, *camera]
            for entry in record.boxes:
                pixels = area(entry.mask.counts) if entry.mask else ""
                score = entry.notes().get("score", "")
                found = [as_cell(record.label_of(entry)), record.label_score_of(entry), *entry.box, score, pixels]
                rows.writerow([*photo, *found, *more])
            if not record.boxes:
                nothing = [as_cell(record.label), record.label_score, *[""] * (len(_BOX_COLUMNS) - 2)]
                rows.writerow([*photo, *nothing, *more])

        yield add
        for name in failed or {}:
            before, after = [""] * (len(_PHOTO_COLUMNS) - 1 + len(_BOX_COLUMNS)), [""] * (len(_MORE_COLUMNS) - 1)
            rows.writerow([as_cell(name), *before, "failed", *after])
