"""A small DINOv2 as an exporter writes it: anonymous, transposed MatMul constants and folded positions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dips.errors import WeightsError
from dips.models.weights.readers import read_state

onnx = pytest.importorskip("onnx")

WIDTH, HIDDEN = 4, 8
LINEAR = {
    "attention.attention.query": (WIDTH, WIDTH),
    "attention.attention.key": (WIDTH, WIDTH),
    "attention.attention.value": (WIDTH, WIDTH),
    "attention.output.dense": (WIDTH, WIDTH),
    "mlp.fc1": (HIDDEN, WIDTH),
    "mlp.fc2": (WIDTH, HIDDEN),
}


def dinov2(path: Path, *, drop: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """Write the file; gives the true parameters by transformers' name."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        return rng.standard_normal(shape).astype(np.float32)

    true = {"embeddings.cls_token": draw(1, 1, WIDTH)}
    true["embeddings.patch_embeddings.projection.weight"] = draw(WIDTH, 3, 2, 2)
    true["embeddings.patch_embeddings.projection.bias"] = draw(WIDTH)
    true |= {"layernorm.weight": draw(WIDTH), "layernorm.bias": draw(WIDTH)}
    nodes, constants = [], {"onnx::Concat_7": draw(1, 1, WIDTH), "onnx::Reshape_9": draw(1, 9, WIDTH)}
    for block in range(2):
        layer = f"encoder.layer.{block}."
        for name in ("norm1", "norm2"):
            true |= {f"{layer}{name}.weight": draw(WIDTH), f"{layer}{name}.bias": draw(WIDTH)}
        true |= {f"{layer}layer_scale{i}.lambda1": draw(WIDTH) for i in (1, 2)}
        for number, (name, (rows, columns)) in enumerate(LINEAR.items()):
            true |= {f"{layer}{name}.weight": draw(rows, columns), f"{layer}{name}.bias": draw(rows)}
            anonymous, out = f"onnx::MatMul_{block}{number}", f"/{block}/{number}"
            constants[anonymous] = true[f"{layer}{name}.weight"].T
            nodes.append(onnx.helper.make_node("MatMul", ["x", anonymous], [out]))
            inputs = [f"backbone.{layer}{name}.bias", out]
            nodes.append(onnx.helper.make_node("Add", inputs[:: 1 if number % 2 else -1], [f"{out}b"]))
    linear = {f"encoder.layer.{block}.{name}.weight" for block in range(2) for name in LINEAR}
    kept = constants | {f"backbone.{name}": value for name, value in true.items() if name not in linear}
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in kept.items() if name != drop]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], tensors)), path)
    return true | {"class": constants["onnx::Concat_7"], "patches": constants["onnx::Reshape_9"]}


def test_every_parameter_gets_timms_name(tmp_path: Path) -> None:
    true = dinov2(tmp_path / "d.onnx")
    state = {name: value.numpy() for name, value in read_state(tmp_path / "d.onnx").items()}
    np.testing.assert_array_equal(state["pos_embed"], np.concatenate([true["class"], true["patches"]], axis=1))
    np.testing.assert_array_equal(state["cls_token"], true["embeddings.cls_token"])
    for block in range(2):
        layer = f"encoder.layer.{block}."
        qkv = [true[f"{layer}attention.attention.{part}.weight"] for part in ("query", "key", "value")]
        np.testing.assert_array_equal(state[f"blocks.{block}.attn.qkv.weight"], np.concatenate(qkv))
        np.testing.assert_array_equal(state[f"blocks.{block}.mlp.fc1.weight"], true[f"{layer}mlp.fc1.weight"])
        np.testing.assert_array_equal(state[f"blocks.{block}.attn.proj.weight"], true[f"{layer}attention.output.dense.weight"])
        np.testing.assert_array_equal(state[f"blocks.{block}.ls2.gamma"], true[f"{layer}layer_scale2.lambda1"])
    assert len(state) == 6 + 2 * 14


def test_incomplete_graph_is_refused(tmp_path: Path) -> None:
    for missing in ("onnx::Concat_7", "onnx::MatMul_01", "backbone.layernorm.bias"):
        dinov2(tmp_path / "d.onnx", drop=missing)
        with pytest.raises(WeightsError, match=r"d\.onnx: cannot make out"):
            read_state(tmp_path / "d.onnx")


def test_other_networks_keep_their_names(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    nodes = [onnx.helper.make_node("MatMul", ["x", "c"], ["y"]), onnx.helper.make_node("Add", ["y", "fc.bias"], ["z"])]
    tensors = [onnx.numpy_helper.from_array(weight, "c"), onnx.numpy_helper.from_array(np.ones(3, np.float32), "fc.bias")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], tensors)), tmp_path / "n.onnx")
    state = read_state(tmp_path / "n.onnx")
    assert torch.equal(state["fc.weight"], torch.from_numpy(weight.T.copy()))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(WeightsError, match=r"dips-wsol\[demo\]"):
        read_state(tmp_path / "d.onnx")


def tensor_in(location: str, **more: str) -> Any:
    tensor = onnx.TensorProto(name="fc.weight", data_type=onnx.TensorProto.UINT8, dims=[6])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


WHERE = ("secret.txt", "sub/../secret.txt", "../secret.txt", "absolute", "link.bin", "missing.bin", "")


@pytest.mark.parametrize("where", WHERE)
def test_tensors_in_other_files_are_not_read(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, tmp_path):
        (place / "secret.txt").write_bytes(b"secret")
    (folder / "link.bin").symlink_to(tmp_path / "secret.txt")
    monkeypatch.chdir(folder)
    location = str(tmp_path / "secret.txt") if where == "absolute" else where
    own = onnx.numpy_helper.from_array(np.ones(3, np.float32), "fc.bias")
    for number, tensor in enumerate((tensor_in(location), tensor_in(location, offset="2", length="4"))):
        path = folder / f"{number}.onnx"
        path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [own, tensor])).SerializeToString())
        with pytest.raises(WeightsError, match=r"\.onnx keeps tensors in other files, which are not read; save it again"):
            read_state(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"data_type": 1, "dims": [5], "raw_data": b"123"},
        {"data_type": 99, "dims": [1], "raw_data": b"1234"},
        {"data_type": 0, "dims": [1]},
        {"data_type": 8, "dims": [1], "raw_data": b"1234"},
        {"data_type": 1, "dims": [1 << 40]},
    ],
)
def test_a_damaged_tensor_is_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.TensorProto(name="a", **fields)])
    (tmp_path / "d.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(WeightsError, match=r"d\.onnx"):
        read_state(tmp_path / "d.onnx")
