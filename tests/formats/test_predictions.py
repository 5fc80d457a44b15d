"""All records in one file, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dips.formats.predictions import predictions_writer
from dips.predict.prediction import Prediction
from dips.system.records import to_json

from .conftest import Item, write

MakePrediction = Callable[..., Prediction]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_json_for_all(make_prediction: MakePrediction, tmp_path: Path, count: int) -> None:
    records = [make_prediction().record(path=f"{index}.jpg") for index in range(count)]
    with predictions_writer(tmp_path) as add:
        for record in records:
            add(record, "stem")
    expected = {"schema_version": 1, "predictions": [json.loads(to_json(record)) for record in records]}
    assert json.loads((tmp_path / "predictions.json").read_text()) == expected


def test_a_failure_leaves_the_old_file(make_prediction: MakePrediction, tmp_path: Path) -> None:
    (tmp_path / "predictions.json").write_text("old")
    with pytest.raises(ValueError, match="broken off"), predictions_writer(tmp_path) as add:
        add(make_prediction().record(), "stem")
        raise ValueError("broken off")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("predictions.json", "old")]


def test_reviewed_photos(reviewed_items: list[Item], tmp_path: Path) -> None:
    several, ring, empty = json.loads(
        (write("json", reviewed_items, tmp_path) / "predictions.json").read_text(encoding="utf-8")
    )["predictions"]
    assert several["reviewed"] and ring["reviewed"] and ring["boxes"] == [] and empty["boxes"][0]["review"] == "drawn"
