"""An exported file predicts where nothing of the extra train is installed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dips.export.description import Description
from dips.export.onnx_model import load_onnx
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
Predict = Callable[..., list[Prediction]]

ROOT = Path(__file__).parents[2]
HEAVY = "torch torchvision timm segmentation_models_pytorch sklearn scipy numba matplotlib jinja2 lightning_fabric safetensors"
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r}.split() else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
MAIN = "from dips.cli import main\nsys.exit(main())"


def without_torch(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs in a process that finds nothing of the extra train, and no onnx."""
    blocker = WITHOUT.format(names=f"{HEAVY} onnx onnxscript")
    return subprocess.run(
        [sys.executable, "-c", blocker + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_prediction_needs_no_torch(
    tmp_path: Path, file: Path, networks: Networks, photos: Path, predict: Predict, description: Description
) -> None:
    made_of = without_torch(
        MAIN,
        "predict",
        file,
        photos,
        "--out",
        tmp_path / "out",
        "--format",
        "json,overlays,masks,coco,csv,camera-points",
        "--tile",
        "48",
    )
    assert made_of.returncode == 0, made_of.stderr
    assert "5 photos" in made_of.stdout
    assert made_of.stderr.startswith("tiles of 48 pixels besides the whole photo, threshold 0.7; encoder random, for tests\n")
    plain = Predictor(networks, config=dataclasses.replace(networks.config, tile=48), classes=description.classes, background=0)
    for path, here in zip(sorted(photos.iterdir()), predict(plain, *sorted(photos.iterdir())), strict=True):
        record = json.loads((tmp_path / "out" / "json" / f"{path.stem}.json").read_text())
        assert record["label"] == here.label and record["threshold"] == pytest.approx(0.7)
        boxes = np.array([entry["box"] for entry in record["boxes"]], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(boxes, here.boxes, atol=1)
        assert record["priority"] == pytest.approx(here.priority, abs=0.02)
    again = without_torch(MAIN, "boxes", tmp_path / "out", "--out", tmp_path / "again", "--threshold", "0.5")
    assert again.returncode == 0, again.stderr


def test_python_needs_no_torch(file: Path, photos: Path) -> None:
    done = without_torch(
        "import dips\nmodel = dips.load(sys.argv[1])\nprint(*[p.label for p in model.predict(sys.argv[2])])", file, photos
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 5


@pytest.mark.parametrize("command", ["train data --out run", "predict run photos --out out", "evaluate run data", "export run"])
def test_other_commands_say_what_to_install(tmp_path: Path, command: str, photos: Path) -> None:
    words = [
        str(photos) if word == "photos" else str(tmp_path / word) if word in ("out", "run") else word
        for word in command.split()
    ]
    done = without_torch(MAIN, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r'dips: error: this needs \w+, which is not installed; pip install "dips-wsol\[train\]"\n', done.stderr)


def test_what_python_says_without_torch() -> None:
    done = without_torch("import dips\ndips.fit")
    assert done.returncode == 1 and 'pip install "dips-wsol[train]"' in done.stderr.splitlines()[-1]


def test_doctor_needs_no_torch() -> None:
    done = without_torch(MAIN, "doctor")
    assert done.returncode == 0 and "FAILED" not in done.stdout and "torch is not installed" in done.stdout


def test_the_example_of_the_page_runs(file: Path, photos: Path, predict: Predict) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import json.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert '"tower.onnx"' in example and '"photo.jpg"' in example
    code = example.replace('"tower.onnx"', repr(str(file))).replace('"photo.jpg"', repr(str(photos / "1.png")))
    done = without_torch(code)
    assert done.returncode == 0, done.stderr
    (expected,) = predict(load_onnx(file).predictor, photos / "1.png")
    label, box = done.stdout.splitlines()
    assert label.split()[0] == expected.label and float(label.split()[1]) == pytest.approx(expected.label_score, abs=0.02)
    assert [int(value) for value in box.split()] == pytest.approx(expected_extent(expected), abs=4)


def expected_extent(prediction: Prediction) -> list[int]:
    rows, columns = np.nonzero(prediction.score_map > prediction.threshold * prediction.score_map.max())
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
