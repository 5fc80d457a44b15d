"""GeoJSON, as shapely reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely.geometry

from .conftest import Item, boxes_of, mask_of, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def test_geojson(items: list[Item], tmp_path: Path) -> None:
    write("geojson", items, tmp_path)
    for record, stem in items:
        found = json.loads((tmp_path / "geojson" / f"{stem}.geojson").read_text())
        assert found["type"] == "FeatureCollection" and len(found["features"]) == len(record.boxes)
        for index, feature in enumerate(found["features"]):
            shape = shapely.geometry.shape(feature["geometry"])
            mask = mask_of(record, index)
            assert shape.is_valid and feature["properties"]["label"] == record.label
            assert list(shape.bounds) == feature["bbox"] == boxes_of(record)[index].tolist() and shape.area == mask.sum()
            assert feature["properties"]["measurements"] == {"score": record.boxes[index].score}
            rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
            assert np.array_equal(shapely.contains_xy(shape, columns, rows), mask), "the middle of a pixel tells"
