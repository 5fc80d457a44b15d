"""GeoJSON in pixel coordinates, as QuPath and QGIS read it: a file per photo, from its upper left corner, y downwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.export.formats.base import Item, crop_of, outlines, whole_box
from dips.runtime import atomic_file

__all__ = ["write_geojson"]


def write_geojson(items: Iterable[Item], folder: Path) -> None:
    """Write ``geojson/NAME.geojson``: a polygon with holes per object; ``bbox`` is its box.

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
    # two points are a hair without area, as at a corner where two pixels meet
    parts = [(ring, [hole for hole in holes if len(hole) > 2]) for ring, holes in outlines(crop_of(item, entry), (x0, y0))]
    polygons = [[_ring(outline), *map(_ring, holes)] for outline, holes in parts if len(outline) > 2]
    one = len(polygons) == 1
    return {
        "type": "Feature",
        "bbox": entry["box"],
        "geometry": {"type": "Polygon" if one else "MultiPolygon", "coordinates": polygons[0] if one else polygons},
        "properties": {
            "photo": item.name,
            "label": item.record["label"],
            "score": entry["score"],
            "objectType": "annotation",  # QuPath's
            "classification": {"name": item.record["label"]},
        },
    }


def _ring(points: NDArray[np.float64]) -> list[list[float]]:
    rows = [[float(x), float(y)] for x, y in points]
    return [*rows, rows[0]]
