"""CSV, a line per box."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from .conftest import CLASSES, Item, mask_of, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def test_csv(items: list[Item], tmp_path: Path) -> None:
    with (write("csv", items, tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [record.name for record, _ in items for _ in record.boxes or [None]]
    assert [float(rows[0][name]) for name in ("x0", "y0", "x1", "y1")] == list(items[0][0].boxes[0].box)
    assert rows[0]["label"] == CLASSES[1] and int(rows[0]["mask_pixels"]) == mask_of(items[0][0], 0).sum()
    assert rows[-1]["label"] == "none" and rows[-1]["x0"] == rows[-1]["score"] == ""
