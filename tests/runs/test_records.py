"""``run.json`` and ``model.json``: typed, of any version that had the same keys, and read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dips.errors import RunError
from dips.runs.identity import class_names, identity
from dips.runs.records import RunRecord, read_model_record, read_run_record
from dips.system.records import write_json

WEIGHTS = {
    "arch": "test_vit",
    "source": "file",
    "origin": "/w/test_vit.safetensors",
    "sha256": "0" * 64,
    "note": "",
    "licence": "",
}
RUN: dict[str, Any] = {
    "data": "photos",
    "classes": ["none", "tower"],
    "background": 0,
    "photos": {"train": 8, "val": 2, "skipped": 1},
    "skipped": [{"path": "photos/a.jpg", "why": "it is empty"}],
    "weights": {"transformer": WEIGHTS},
    "accuracy": {"classifier": 50.0, "linear_probe": 50},
    "selection": "epoch 1 of 1",
    "label_free": False,
    "validation": {"v2": 40.0},
    "best_tau": {"v2": 0.4, "run": 0.3},
    "seed": 0,
    "seconds": {"harvest": 1.5, "training": 2},
    "environment": {"torch": "2.6"},
}
MODEL: dict[str, Any] = {
    "schema": 2,
    "localizer": None,
    "classifier": {"arch": "resnet18", "classes": 2},
    "linear": {"channels": [128, 256, 512, 384], "stages": 3, "outputs": 1, "key_sides": [224]},
    "sha256": "0" * 64,
    "meta": {
        "classes": ["none", "tower"],
        "background": 0,
        "thresholds": {"fast": {"v2": 0.4, "run": 0.3}, "accurate": {"v2": 0.5, "run": 1}},
        "mode": "fast",
        "unet_share": 0,
        "temper": 2.0,
        "photo_side": 480,
    },
}


def test_a_run_of_before_the_version_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    record = read_run_record(tmp_path)
    assert record.schema_version == 1 and record.seconds.training == 2 and record.weights["transformer"].arch == "test_vit"
    write_json(tmp_path / "run.json", record)
    again = json.loads((tmp_path / "run.json").read_text())
    assert again.pop("several") == 0 and again.pop("problems") == [] and again.pop("class_accuracy") is None, "not listed then"
    assert again.pop("reviewed") == [] and again.pop("review_gain") is None and record.labels == "image labels"
    assert list(again) == ["schema_version", *RUN] and {key: again[key] for key in RUN} == RUN
    assert read_run_record(tmp_path) == record


def test_the_accuracy_by_class_comes_back(tmp_path: Path) -> None:
    by_class = {"mean": 50.0, "worst": "tower", "lowest": 0.0, "photos": 1}
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "class_accuracy": by_class}))
    record = read_run_record(tmp_path)
    assert record.class_accuracy is not None and "worst 'tower': 0.0% of 1 photo" in record.class_accuracy.words()
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "class_accuracy": {**by_class, "lowest": "none"}}))
    with pytest.raises(RunError, match=r"run\.json is damaged .*class_accuracy.*copy the run again"):
        read_run_record(tmp_path)


def test_a_path_that_is_no_text_comes_back(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "data": "photos\udcff"}))
    record: RunRecord = read_run_record(tmp_path)
    assert record.data == "photos\udcff"
    write_json(tmp_path / "run.json", record)
    assert read_run_record(tmp_path) == record


@pytest.mark.parametrize("name", sorted(RUN))
def test_every_key_is_needed_and_typed(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({key: value for key, value in RUN.items() if key != name}))
    with pytest.raises(RunError, match=rf"run\.json is damaged .*`{name}`.*copy the run again"):
        read_run_record(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**RUN, name: [[]]}))
    with pytest.raises(RunError, match=rf"run\.json is damaged .*\$\.{name}.*copy the run again"):
        read_run_record(tmp_path)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no finished run \(model\.json is missing\); give the folder"):
        read_model_record(tmp_path)
    with pytest.raises(RunError, match=r"cannot read .*run\.json.*copy the run again"):
        read_run_record(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "schema_version": 2}))
    with pytest.raises(RunError, match=r"another version of DiPS \(schema 2, this one reads 1\); copy the run again"):
        read_run_record(tmp_path)


def test_a_model_is_told_by_its_json(tmp_path: Path) -> None:
    assert identity(tmp_path) == {"model": ""} and identity(tmp_path / "no.onnx") == {"model": "", "file": ""}
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    assert len(identity(tmp_path)["model"]) == 64 and class_names(tmp_path) == ("none", "tower")
    record = read_model_record(tmp_path)
    assert record.localizer is None and record.linear is not None and record.linear.stages == 3
    assert record.meta.thresholds["accurate"]["run"] == 1
    with pytest.raises(RunError, match=r"no\.onnx is not a file that 'dips export' wrote"):
        class_names(tmp_path / "no.onnx")


def test_a_model_of_another_version_is_refused(tmp_path: Path) -> None:
    old = {**MODEL, "schema": 1, "meta": {"classes": ["none", "tower"], "best_tau": {"v2": 0.4}, "sst_share": 0.6}}
    (tmp_path / "model.json").write_text(json.dumps(old))
    with pytest.raises(RunError, match=r"another version of DiPS \(schema 1, this one reads 2\); copy the run again"):
        read_model_record(tmp_path)


@pytest.mark.parametrize("name", sorted(set(MODEL) - {"schema"}))
def test_every_key_of_a_model_is_needed_and_typed(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.json").write_text(json.dumps({key: value for key, value in MODEL.items() if key != name}))
    with pytest.raises(RunError, match=rf"model\.json is damaged .*`{name}`.*copy the run again"):
        read_model_record(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, name: [[]]}))
    with pytest.raises(RunError, match=rf"model\.json is damaged .*\$\.{name}.*copy the run again"):
        read_model_record(tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": ["none", "tower", "mast"]}, "it names 3 classes, its classifier has 2"),
        ({"classes": ["tower", "tower"]}, "its class names repeat"),
        ({"classes": []}, "its background class is none of its classes"),
        ({"background": 2}, "its background class is none of its classes"),
        ({"background": -1}, "its background class is none of its classes"),
        ({"background": None}, "it has 2 classes of objects, its linear maps have 1"),
        ({"thresholds": {"fast": {"run": 1.5}}}, "Expected `float` <= 1.0"),
        ({"thresholds": {"unet": {"v1": -0.1}}}, "Expected `float` >= 0.0"),
        ({"mode": "slow"}, "Invalid enum value 'slow'"),
        ({"photo_side": 0}, "Expected `int` >= 1"),
        ({"temper": 0}, "Expected `float` > 0.0"),
        ({"unet_share": 2}, "Expected `float` <= 1.0"),
    ],
)
def test_a_model_that_contradicts_itself_is_damaged(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, "meta": {**MODEL["meta"], **changed}}))
    with pytest.raises(RunError, match=rf"model\.json is damaged \({words}.*; copy the run again"):
        read_model_record(tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"background": 2}, "its background class is none of its classes"),
        ({"classes": ["tower", "tower"]}, "its class names repeat"),
        ({"weights": {}}, "its weights lack those of the transformer"),
        ({"weights": {"transformers": WEIGHTS}}, "its weights lack those of the transformer"),
    ],
)
def test_a_run_that_contradicts_itself_is_damaged(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**RUN, **changed}))
    with pytest.raises(RunError, match=rf"run\.json is damaged \({words}.*; copy the run again"):
        read_run_record(tmp_path)


def test_records_need_no_torch() -> None:
    code = "import sys; import dips.runs.identity; sys.exit(any(name in sys.modules for name in ('torch', 'onnxruntime')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
