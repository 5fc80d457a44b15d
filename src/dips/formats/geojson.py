"""GeoJSON in pixel coordinates, as QuPath reads it: one file per photo, origin at the upper left corner, y downwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dips.formats.base import Add
from dips.formats.records import BoxRecord, PredictionRecord
from dips.scoremaps.polygons import Ring, polygons
from dips.system.records import write_json

__all__ = ["geojson_writer"]


@contextmanager
def geojson_writer(folder: Path) -> Iterator[Add]:
    """Write ``geojson/NAME.geojson``: the exact polygon of each object, with holes; ``bbox`` is its box.

    A photo without boxes has an empty collection, whose ``state`` says why. ``objectType``, ``classification`` and
    ``measurements`` are QuPath's names. The collection of a photo that a person reviewed has ``"reviewed": true``.

    Raises:
        RunError: a file cannot be written.
    """

    def add(record: PredictionRecord, stem: str) -> None:
        features = [_feature(record, entry) for entry in record.boxes]
        reviewed = {"reviewed": True} if record.reviewed else {}
        collection = {"type": "FeatureCollection", "state": record.state, **reviewed, "features": features}
        write_json(folder / "geojson" / f"{stem}.geojson", collection, indent=None)

    yield add


def _feature(record: PredictionRecord, entry: BoxRecord) -> dict[str, Any]:
    parts = [[_closed(outer), *map(_closed, holes)] for outer, holes in polygons(entry.crop(), entry.corners[:2])]
    is_single = len(parts) == 1
    label, notes = record.label_of(entry), entry.notes()
    return {
        "type": "Feature",
        "bbox": entry.box,
        "geometry": {"type": "Polygon" if is_single else "MultiPolygon", "coordinates": parts[0] if is_single else parts},
        "properties": {
            "photo": record.name,
            "label": label,
            **notes,
            "objectType": "annotation",
            "classification": {"name": label},
            "measurements": {name: value for name, value in notes.items() if name == "score"},
        },
    }


def _closed(ring: Ring) -> Ring:
    return [*ring, ring[0]]
