"""GeoJSON in geographic coordinates: one point per photo, where its camera was; the objects are somewhere in front of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import UNSET

from dips.data.camera import Camera
from dips.formats.base import Add, JsonArray
from dips.formats.records import PredictionRecord
from dips.system.console import counted, log
from dips.system.files import atomic_file
from dips.system.records import to_json

__all__ = ["camera_points_writer"]

_HEAD = {"type": "FeatureCollection", "name": "camera-points", "description": "where the camera was, not the objects"}


@contextmanager
def camera_points_writer(folder: Path, failed: Mapping[str, str] | None = None) -> Iterator[Add]:
    """Write ``camera-points.geojson``: longitude and latitude of each photo's camera, WGS84, and what the photo shows.

    A photo without a recorded position has no geometry; neither have ``failed`` photos, which come last with only their name
    and ``state``. ``score`` is that of the best box; boxes that a person adjusted or drew have none. The altitude is only a
    property: GeoJSON's third coordinate is the height above the ellipsoid, which most cameras do not record.

    Raises:
        RunError: the file cannot be written.
    """
    count = placed = 0
    with atomic_file(folder / "camera-points.geojson") as file:
        file.write(to_json(_HEAD)[:-1] + ', "features": [')
        features = JsonArray(file)

        def add(record: PredictionRecord, stem: str) -> None:
            nonlocal count, placed
            feature = _feature(record)
            count, placed = count + 1, placed + (feature["geometry"] is not None)
            features.add(feature)

        yield add
        for name in failed or {}:
            features.add({"type": "Feature", "geometry": None, "properties": {"photo": name, "state": "failed"}})
        file.write("\n]}\n")
    if placed < count:
        log(f"camera-points: {count - placed} of {counted(count, 'photo')} do not say where they were taken and have no point")


def _feature(record: PredictionRecord) -> dict[str, Any]:
    camera = record.camera or Camera()
    is_placed = camera.longitude is not None
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [camera.longitude, camera.latitude]} if is_placed else None,
        "properties": {
            "photo": record.name,
            "state": record.state,
            "label": record.label,
            "label_score": record.label_score,
            "boxes": len(record.boxes),
            "score": max((entry.score for entry in record.boxes if entry.score is not UNSET), default=None),
            **camera.columns(),
        },
    }
