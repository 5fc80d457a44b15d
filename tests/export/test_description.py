"""What an exported file says about itself: read back as written, and checked wherever it comes from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.config import PredictConfig
from dips.errors import RunError
from dips.export.description import Description, is_onnx, parse_description
from dips.export.onnx_model import load_onnx

pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

CLASSES = ("none", "bird", "left")
CONFIG = PredictConfig(size=50, threshold=0.7)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def vars_of() -> dict[str, Any]:
    return {
        "classes": CLASSES,
        "background": None,
        "settings": dataclasses.asdict(CONFIG),
        "side": 96,
        "photo_side": 48,
        "weights": {},
        "model": "",
        "dips": "0.1.0",
    }


def test_a_name_tells_an_exported_model(tmp_path: Path) -> None:
    (tmp_path / "run.onnx").mkdir()
    assert is_onnx("a/b.onnx") and is_onnx(Path("B.ONNX")) and not is_onnx("runs/onnx") and not is_onnx(tmp_path / "run.onnx")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 1}, "schema 1, this one reads 2"),
        ({"schema": 3}, "schema 3, this one reads 2"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", 3, None]}, "classes"),
        ({"classes": ["a", "a", "b"]}, "class names"),
        ({"classes": 3}, "classes"),
        ({"background": 3}, "background"),
        ({"background": "none"}, "background"),
        ({"side": 10**9}, "side"),
        ({"side": "96"}, "side"),
        ({"photo_side": -1}, "photo_side"),
        ({"predict": {"threshold": 7}}, "threshold"),
        ({"predict": {"treshold": 0.5}}, "treshold"),
        ({"predict": {"sst_share": 0.6}}, "sst_share"),
        ({"predict": {"mode": "slow"}}, "mode"),
        ({"predict": None}, "predict"),
        ({"weights": {"encoder": {"arch": "resnet18", "licence": ""}}}, "of the weights 'encoder' it lacks note"),
        ({"weights": {"teacher": {}}}, "of the weights 'teacher' it lacks arch, note, licence"),
        ({"weights": {"classifier": {"notex": "", "arch": "", "licence": ""}}}, "of the weights 'classifier' it lacks note"),
        ({"weights": {"classifier": {"note": None, "arch": "", "licence": ""}}}, "weights"),
        ({"more": 1}, "more"),
        ({"precision": "int4"}, "int4"),
        ({"depth": {"rule": "fixed", "scales": []}}, "two values"),
        ({"depth": {"rule": "auto", "scales": [[2, 1]]}}, "black must lie below white"),
    ],
)
def test_descriptions_are_checked(redescribed: Callable[..., Path], changes: dict[str, Any], words: str) -> None:
    problem = "was written by another version" if "schema" in changes else "is damaged"
    with pytest.raises(RunError, match=rf"changed\.onnx {problem} .*{words}.*; export the run again"):
        load_onnx(redescribed(**changes))


@given(
    st.dictionaries(st.sampled_from(["schema", "classes", "background", "predict", "side", "weights"]), json_values), st.text()
)
def test_any_description_is_read_or_refused(changes: dict[str, Any], text: str) -> None:
    good = json.loads(Description(**{**vars_of(), "photo_side": None}).to_json())
    for said in (json.dumps(good | changes), json.dumps(changes), text):
        try:
            parse_description(said, "it.onnx")
        except RunError as error:
            assert str(error).startswith("it.onnx ")


@given(
    st.lists(st.text(), min_size=1, unique=True),
    st.floats(0, 1),
    st.integers(1, 8192),
)
def test_descriptions_come_back(classes: list[str], threshold: float, side: int) -> None:
    config = dataclasses.replace(CONFIG, threshold=threshold)
    changes = {"classes": tuple(classes), "side": side, "background": len(classes) - 1, "settings": dataclasses.asdict(config)}
    said = Description(**vars_of() | changes)
    assert parse_description(said.to_json(), "it.onnx") == said and said.predict == config
