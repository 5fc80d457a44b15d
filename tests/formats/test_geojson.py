"""GeoJSON, as shapely reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely.geometry

from .conftest import LABELS, Item, boxes_of, mask_of, write

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


def test_reviewed_photos(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    folder = write("geojson", [*reviewed_items[:2], items[2]], tmp_path) / "geojson"
    several, ring, empty = (json.loads((folder / f"{stem}.geojson").read_text(encoding="utf-8")) for _, stem in items)
    assert [each.get("reviewed", False) for each in (several, ring, empty)] == [True, True, False]
    assert ring["features"] == empty["features"] == []
    assert [feature["properties"]["classification"]["name"] for feature in several["features"]] == LABELS
    assert [bool(feature["properties"]["measurements"]) for feature in several["features"]] == [True, False, False, False]
    assert several["features"][2]["geometry"]["coordinates"] == [[[159, 119], [160, 119], [160, 120], [159, 120], [159, 119]]]
