"""What all formats share: classes, and their names."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dips.errors import RunError
from dips.formats.records import PredictionRecord
from dips.system.spreadsheet import from_cell

from .conftest import Item, write


@pytest.mark.parametrize("name", ["coco", "yolo", "labelstudio"])
def test_two_models_in_one_file_are_refused(items: list[Item], tmp_path: Path, name: str) -> None:
    other = (replace(items[0][0], name="x.png", class_scores={"mast": 1.0}, label="mast"), "x")
    with pytest.raises(RunError, match=r"x\.png was predicted with other classes"):
        write(name, [items[0], other], tmp_path)
    assert not (tmp_path / f"{name}.json").exists()


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=20)


@settings(max_examples=60)
@given(st.lists(names, min_size=1, max_size=4, unique=True))
def test_any_class_name(classes: list[str]) -> None:
    record = PredictionRecord(
        path="x.png",
        name="x.png",
        folder="",
        width=9,
        height=9,
        label=classes[-1],
        label_score=1.0,
        class_scores=dict.fromkeys(classes, 1.0),
        background=None,
        boxes=(),
        threshold=0.5,
        min_area=0.0,
        min_score=0.0,
        max_boxes=9,
        model="",
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("coco", "yolo", "csv"):
            write(kind, [(record, "x")], folder)
        read = yaml.safe_load((folder / "yolo" / "data.yaml").read_text(encoding="utf-8"))
        assert read["names"] == dict(enumerate(classes))
        categories = json.loads((folder / "coco.json").read_text(encoding="utf-8"))["categories"]
        assert [category["name"] for category in categories] == classes
        with (folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
            assert [from_cell(row["label"]) for row in csv.DictReader(file)] == [classes[-1]]
