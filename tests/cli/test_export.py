"""``dips export`` and ``dips predict FILE.onnx``: the shared tiny run goes out, and predicts the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dips as package
from dips.export.onnx_model import OnnxModel

from .conftest import Dips, Tiny

for _name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_name, reason=f"{_name} is missing; it is in the extra dev")


@pytest.fixture(scope="module")
def file(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPS_OFFLINE", "1")
        path = tmp_path_factory.mktemp("exported") / "tower.onnx"
        model = package.load(tiny.run, device="cpu", weights=[str(tiny.weights)])
        assert not isinstance(model, OnnxModel)
        found = model.export(path)
        assert found.photos == 18 and found.score_map < 1e-3
    return path


def test_an_exported_run_predicts_the_same(dips: Dips, tiny: Tiny, file: Path, tmp_path: Path) -> None:
    photos = tiny.data / "test"
    settings = ["--format", "json", "--set", "predict.threshold=0.6"]
    assert dips("predict", file, photos, "--out", tmp_path / "a", *settings).code == 0
    assert dips("predict", tiny.run, photos, "--out", tmp_path / "b", "--weights", tiny.weights, *settings).code == 0
    files = sorted((tmp_path / "a" / "json").rglob("*.json"))
    assert len(files) == 6
    for path in files:
        one, two = (
            json.loads((tmp_path / kind / "json" / path.relative_to(tmp_path / "a" / "json")).read_text()) for kind in "ab"
        )
        assert one["label"] == two["label"] and one["background"] == two["background"] and one["threshold"] == 0.6
        assert len(one["boxes"]) == len(two["boxes"])
        for there, here in zip(one["boxes"], two["boxes"], strict=True):
            np.testing.assert_allclose(there["box"], here["box"], atol=1)
        assert len(one["model"]) == 12 and one["model"] == two["model"], "the file knows which run it is"


def test_the_file_tells_its_run(tiny: Tiny, file: Path) -> None:
    model = package.load(file)
    assert isinstance(model, OnnxModel)
    run = json.loads((tiny.run / "run.json").read_text())
    assert model.classes == tuple(run["classes"]) and model.background == run["background"]
    predict = model.description.predict
    assert predict.threshold == run["best_tau"]["run"] and (predict.mode, predict.unet_share) == ("fast", 0)
    assert set(model.description.weights) == {"classifier", "teacher"}, (
        "not the transformer, nor the U-Net that the run has, too"
    )
    assert str(tiny.weights) not in file.read_bytes().decode("latin-1")


def test_export_on_the_command_line(dips: Dips, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["export", tiny.run, "--set", "predict.mode=unet", "--photos", tiny.data / "test"]
    said = dips(*command)
    assert said.code == 0, said.err
    assert (
        said.out.startswith(f"model     {tmp_path / 'run.onnx'} (")
        and "compared  largest difference to torch on 6 photos" in said.out
    )
    assert f"exporting to {tmp_path / 'run.onnx'}\n" in said.err
    assert said.out.endswith("next      dips predict run.onnx PHOTOS --out DIR\n")
    model = package.load("run.onnx")
    assert isinstance(model, OnnxModel) and set(model.description.weights) == {"classifier", "encoder", "teacher"}
    again = dips("export", tiny.run, "--out", "run.onnx", "--photos", tiny.data / "test")
    assert again.code == 2 and "run.onnx already exists" in again.err


def test_the_accurate_mode_takes_the_transformer_along(dips: Dips, tiny: Tiny, tmp_path: Path, file: Path) -> None:
    accurate = tmp_path / "accurate.onnx"
    command = ["export", tiny.run, "--out", accurate, "--set", "predict.mode=accurate", "--photos", tiny.data / "test"]
    said = dips(*command, "--weights", tiny.weights)
    assert said.code == 0, said.err
    model = package.load(accurate)
    assert isinstance(model, OnnxModel) and model.description.predict.mode == "accurate"
    thresholds = json.loads((tiny.run / "model.json").read_text())["meta"]["thresholds"]
    assert model.description.predict.threshold == thresholds["accurate"]["run"]
    assert set(model.description.weights) == {"transformer", "classifier"}
    assert accurate.stat().st_size > file.stat().st_size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "tflite"], "--format: 'tflite' is unknown; there is only onnx"),
        (["--tolerance", "0"], "--tolerance must be a number above 0"),
        (["--tolerance", "nan"], "--tolerance must be a number above 0"),
        (["--out", "model.bin"], "must end in .onnx"),
        (["--photos", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_exported(
    dips: Dips, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = dips("export", tiny.run, "--weights", tiny.weights, *arguments)
    assert said.code == 2 and words in said.err and list(tmp_path.iterdir()) == []


def test_training_photos_that_are_gone(dips: Dips, tiny: Tiny, tmp_path: Path) -> None:
    import shutil

    moved = Path(shutil.copytree(tiny.run, tmp_path / "moved"))
    record = json.loads((moved / "run.json").read_text())
    (moved / "run.json").write_text(json.dumps({**record, "data": str(tmp_path / "gone")}))
    said = dips("export", moved, "--weights", tiny.weights, "--out", tmp_path / "x.onnx")
    assert said.code == 2 and "--photos" in said.err and not (tmp_path / "x.onnx").exists()


def test_what_an_exported_model_refuses(dips: Dips, tiny: Tiny, file: Path, tmp_path: Path) -> None:
    for more, words in (
        (["--weights", tiny.weights], "contains all weights that it needs"),
        (["--set", "predict.size=96"], "predict.size is part of"),
        (["--set", "predict.mode=unet"], "predict.mode is part of"),
        (["--device", "mps"], "give cpu, cuda"),
    ):
        said = dips("predict", file, tiny.data / "test", "--out", tmp_path / "out", *more)
        assert said.code == 2 and words in said.err and not (tmp_path / "out").exists()
    for command in (["evaluate", file, tiny.data], ["export", file]):
        said = dips(*command)
        assert said.code == 2 and "is not a run folder" in said.err, said.err
