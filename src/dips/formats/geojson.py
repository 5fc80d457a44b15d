"""GeoJSON in pixel coordinates, as QuPath reads it: a file per photo, from its upper left corner, y downwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dips.formats.base import Item, crop_of, whole_box
from dips.scoremaps.polygons import Ring, polygons
from dips.system.files import atomic_file

__all__ = ["write_geojson"]


def write_geojson(items: Iterable[Item], folder: Path) -> None:
    """Write ``geojson/NAME.geojson``: per object its exact polygon, with holes; ``bbox`` is its box.

    A photo without boxes has an empty collection. ``objectType``, ``classification`` and ``measurements`` are QuPath's names.

    Raises:
        RunError: a file cannot be written.
    """
    for item in items:
        features = [_feature(item, entry) for entry in item.record["boxes"]]
        with atomic_file(folder / "geojson" / f"{item.stem}.geojson") as file:
            json.dump({"type": "FeatureCollection", "features": features}, file, ensure_ascii=False)
            file.write("\n")


def _feature(item: Item, entry: Mapping[str, Any]) -> dict[str, Any]:
    x0, y0, _, _ = whole_box(entry)
    parts = [[_closed(outer), *map(_closed, holes)] for outer, holes in polygons(crop_of(item, entry), (x0, y0))]
    one = len(parts) == 1
    return {
        "type": "Feature",
        "bbox": entry["box"],
        "geometry": {"type": "Polygon" if one else "MultiPolygon", "coordinates": parts[0] if one else parts},
        "properties": {
            "photo": item.name,
            "label": item.record["label"],
            "score": entry["score"],
            "objectType": "annotation",
            "classification": {"name": item.record["label"]},
            "measurements": {"score": entry["score"]},
        },
    }


def _closed(ring: Ring) -> Ring:
    return [*ring, ring[0]]
