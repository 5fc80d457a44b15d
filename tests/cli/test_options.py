"""Options that stand for settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dips.cli.options import predict_settings
from dips.errors import ConfigError

from .conftest import Dips, Tiny

NONE: dict[str, Any] = {"tile": None, "mode": None, "threshold": None, "min_score": None, "min_area": None, "max_boxes": None}


def test_options_are_settings_of_prediction() -> None:
    assert predict_settings(None, **NONE) == []
    given = predict_settings(["predict.flip=true"], **{**NONE, "tile": "auto", "mode": "accurate", "threshold": 0.4})
    assert given == ["predict.tile=-1", "predict.mode=accurate", "predict.threshold=0.4", "predict.flip=true"]
    assert predict_settings([], **{**NONE, "tile": "512", "min_score": 0, "max_boxes": 3}) == [
        *("predict.tile=512", "predict.min_score=0", "predict.max_boxes=3")
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1.5}, "--threshold must be between 0 and 1"),
        ({"min_area": 2}, "--min-area must be between 0 and 1"),
        ({"min_score": -1}, "--min-score must be between 0 and 1"),
        ({"threshold": float("nan")}, "--threshold must be between 0 and 1"),
        ({"max_boxes": 0}, "--max-boxes must be between 1"),
        ({"tile": "large"}, "--tile takes a side in pixels"),
    ],
)
def test_values_out_of_range_name_the_option(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predict_settings(None, **{**NONE, **options})


@pytest.mark.parametrize(("name", "value"), [("threshold", 0.5), ("min_area", 0.1), ("max_boxes", 3), ("tile", "auto")])
def test_an_option_and_the_same_setting_contradict_each_other(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"predict.{name} is given by --{name.replace('_', '-')}, too"):
        predict_settings([f"predict.{name} = 1"], **{**NONE, name: value})


def test_short_options_predict_what_the_settings_do(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photo = next((tiny.data / "test" / "tower").iterdir())
    short = ("--threshold", "0.25", "--min-score", "0.1", "--min-area", "0.01", "--mode", "accurate", "--max-boxes", "2")
    names = ("threshold=0.25", "min_score=0.1", "min_area=0.01", "mode=accurate", "max_boxes=2")
    long = [f"--set=predict.{name}" for name in names]
    for out, options in (("short", short), ("long", long)):
        given = ("--weights", tiny.weights, "--format", "json")
        assert dips("predict", tiny.run, photo, "--out", tmp_path / out, *given, *options).code == 0
    first, second = (json.loads((tmp_path / out / "predictions.json").read_text()) for out in ("short", "long"))
    assert first == second and first["predictions"][0]["threshold"] == 0.25
    said = dips("predict", tiny.run, photo, "--out", tmp_path / "other", "--mode", "acurate")
    assert said.code == 2 and "one of fast, accurate, unet" in said.err
