"""``predictions.json``: the records of all photos in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dips.formats.base import Add, JsonArray
from dips.formats.records import SCHEMA_VERSION, PredictionRecord
from dips.system.files import atomic_file
from dips.system.records import to_json

__all__ = ["predictions_writer"]


@contextmanager
def predictions_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``predictions.json``: ``{"schema_version": 1, "predictions": [...]}``, one line per photo.

    Photos that could not be read follow under the key ``failed``, as names with reasons; it is omitted if there are none.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(folder / "predictions.json") as file:
        file.write(f'{{"schema_version": {SCHEMA_VERSION}, "predictions": [')
        predictions = JsonArray(file)

        def add(record: PredictionRecord, stem: str) -> None:
            predictions.add(record)

        yield add
        file.write("\n]" + (f', "failed": {to_json(failed)}' if failed else "") + "}\n")
