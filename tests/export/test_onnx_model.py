"""Prediction with an exported file: as the run predicts, by a reader that trusts no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.errors import ConfigError, RunError
from dips.export.description import Description
from dips.export.onnx_model import OnnxNetworks, load_onnx
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.types import PhotoBatch

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
Predict = Callable[..., list[Prediction]]


@pytest.mark.parametrize("settings", [[], ["predict.tile=48", "predict.min_area=0.01"], ["predict.threshold=0.9"]])
def test_the_same_predictions(
    file: Path, networks: Networks, photos: Path, settings: list[str], predict: Predict, description: Description
) -> None:
    model = load_onnx(file, settings=settings, device="cpu")
    assert (
        model.classes == description.classes
        and model.background == 0
        and model.description.weights["encoder"]["note"] == "random, for tests"
    )
    plain = Predictor(networks, config=model.predictor.config, classes=description.classes, background=0)
    paths = sorted(photos.iterdir())
    pairs = list(zip(model.predict(photos), predict(plain, *paths), strict=True))
    for there, here in pairs:
        assert there.path == here.path and there.label == here.label and there.size == here.size
        np.testing.assert_allclose(there.grid, here.grid, atol=1e-4)
        np.testing.assert_allclose(there.boxes, here.boxes, atol=1)
        assert there.priority == pytest.approx(here.priority, abs=0.02)
    assert any(len(there.boxes) for there, _ in pairs)


def test_settings_of_an_exported_model(file: Path, predict: Predict, networks: Networks) -> None:
    assert load_onnx(file).predictor.config == networks.config
    assert load_onnx(file, settings="predict.threshold=0.2").predictor.config.threshold == 0.2
    assert load_onnx(file, settings=["predict.threshold=-1"]).predictor.config.threshold == networks.config.threshold
    assert load_onnx(file, settings=["predict.tile=-1"]).predictor.tile == 48
    for name in ("mode=fast", "unet_share=0", "size=64", "flip=false"):
        with pytest.raises(ConfigError, match=rf"predict\.{name.split('=')[0]} is part of .*bird\.onnx.*--set predict\.{name}"):
            load_onnx(file, settings=[f"predict.{name}"])
    with pytest.raises(ConfigError, match=r"train\.epochs=3: a trained model takes only"):
        load_onnx(file, settings=["train.epochs=3"])
    with pytest.raises(ConfigError, match=r"did you mean 'predict\.threshold'"):
        load_onnx(file, settings=["predict.treshold=0.3"])


def test_files_that_are_no_model(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(RunError, match=r"cannot read .*x\.onnx"):
        load_onnx(path)
    for data in (b"", b"no model", file.read_bytes()[:-1000], np.random.default_rng(0).bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"x\.onnx is (damaged|an ONNX model, but none)"):
            load_onnx(path)


def test_models_of_others_are_refused(change: Callable[..., Path]) -> None:
    with pytest.raises(RunError, match="none that 'dips export' wrote"):
        load_onnx(change(lambda model: model.ClearField("metadata_props")))


def test_other_inputs_and_answers_are_refused(change: Callable[..., Path], redescribed: Callable[..., Path]) -> None:
    def rename(model: Any) -> None:
        model.graph.output[0].name = "other"
        model.graph.node.append(onnx.helper.make_node("Identity", ["score_map"], ["other"]))

    with pytest.raises(RunError, match="its inputs or outputs are not those that"):
        load_onnx(change(rename))
    exported = OnnxNetworks(redescribed(classes=["a", "b"]).read_bytes(), "it", "cpu")
    with pytest.raises(RunError, match="other shapes"):
        exported.answer(PhotoBatch(np.zeros((1, 96, 96, 3), np.uint8)))


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "ABSOLUTE"])
def test_a_file_cannot_name_others(
    change: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """Weights in other files, of which a stranger's model could send any."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "weights.bin").write_bytes(bytes(1 << 20))
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    monkeypatch.chdir(inside)

    def outsource(model: Any) -> None:
        tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = str(tmp_path / "weights.bin") if location == "ABSOLUTE" else location
        for key, value in (("location", where), ("offset", "0"), ("length", str(length))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    with pytest.raises(RunError, match=r"changed\.onnx refers to other files"):
        load_onnx(change(outsource))


@pytest.mark.parametrize(("name", "value"), [("group", 0), ("group", -1), ("strides", 0)])
def test_onnxruntime_itself_says_nothing_on_the_terminal(
    change: Callable[..., Path], capfd: pytest.CaptureFixture[str], name: str, value: int
) -> None:
    """It writes errors in red beside those that it raises."""

    def damage(model: Any) -> None:
        node = next(node for node in reversed(model.graph.node) if node.op_type == "Conv")
        attribute = next(attribute for attribute in node.attribute if attribute.name == name)
        if name == "group":
            attribute.i = value
        else:
            attribute.ints[:] = [value] * len(attribute.ints)

    damaged = change(damage)
    with pytest.raises(RunError, match=r"changed\.onnx cannot be run"):
        load_onnx(damaged, device="cpu").predictor.networks.answer(PhotoBatch(np.zeros((1, 96, 96, 3), np.uint8)))
    assert capfd.readouterr().err == ""


def test_operators_that_onnxruntime_does_not_have_are_refused(change: Callable[..., Path]) -> None:
    def foreign(model: Any) -> None:
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
        model.graph.node[0].domain = "com.example"

    with pytest.raises(RunError, match="cannot be run by this onnxruntime"):
        load_onnx(change(foreign))


def test_devices(file: Path, monkeypatch: pytest.MonkeyPatch, description: Description) -> None:
    for name in ("mps", "tpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(RunError, match="give cpu, cuda"):
            load_onnx(file, device=name)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RunError, match=r"onnxruntime-gpu.*--device cpu"):
        load_onnx(file, device="cuda")
    assert load_onnx(file, device="auto").classes == description.classes


def test_threads_sleep_while_they_wait(file: Path) -> None:
    session = OnnxNetworks(file.read_bytes(), str(file), "cpu")._session
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("given", "taken"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_threads(monkeypatch: pytest.MonkeyPatch, given: str, taken: int | None) -> None:
    from dips.export.onnx_model import _threads

    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert _threads() == taken if taken else 1 <= _threads() <= (os.cpu_count() or 1)
