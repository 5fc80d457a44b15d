"""An exported file in other engines: nothing that one of them ignores or refuses, and the same numbers in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dips.data.images import resize_image
from dips.export.onnx_model import OnnxNetworks
from dips.models.networks import Networks
from dips.types import PhotoBatch

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

Export = Callable[..., tuple[Networks, bytes]]
KINDS = ["fast", "second", "accurate", "unet", "all"]
PLAIN = {  # attributes that TensorRT (operators.md of its parser, 10.15) or OpenVINO (2026.4) ignores or refuses elsewise
    ("Resize", "antialias"): 0,
    ("Resize", "exclude_outside"): 0,
    ("Resize", "extrapolation_value"): 0.0,
    ("Resize", "keep_aspect_ratio_policy"): b"stretch",
    ("GridSample", "align_corners"): 0,
    ("GridSample", "mode"): b"bilinear",
    ("MaxPool", "ceil_mode"): 0,
    ("MaxPool", "storage_order"): 0,
    ("Cast", "saturate"): 1,
}
REFUSED = {"If", "Loop", "NonZero", "Unique", "Compress", "CenterCropPad", "AffineGrid", "Col2Im", "DynamicQuantizeLinear"}


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, export: Export, file: Path) -> bytes:
    """Files of all modes; ``fast`` is made with flips, ``all`` also with a U-Net beside the accurate map."""
    if request.param == "all":
        return file.read_bytes()
    if request.param == "fast":
        return export("fast")[1]
    if request.param == "second":
        return export("fast", flip=False, second=True)[1]
    return export(request.param, flip=False)[1]


def test_no_engine_ignores_or_refuses_a_part(exported: bytes) -> None:
    graph = onnx.load_from_string(exported).graph
    assert {node.op_type for node in graph.node} & REFUSED == set()
    odd = [
        (node.op_type, item.name, value)
        for node in graph.node
        for item in node.attribute
        if (value := onnx.helper.get_attribute_value(item)) != PLAIN.get((node.op_type, item.name), value)
    ]
    assert odd == []
    resized = [
        {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        for node in graph.node
        if node.op_type == "Resize"
    ]
    assert {item["mode"] for item in resized} <= {b"linear", b"nearest"}, "TensorRT knows no others"
    assert [node.op_type for node in graph.node if "photos" in node.input if node.op_type != "Shape"] == ["Cast"], "TensorRT's"


def test_openvino_says_the_same(exported: bytes) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is missing; it is in the extra dev")
    core = openvino.Core()
    # some processors would compute in bfloat16
    compiled = core.compile_model(core.read_model(exported, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    networks = OnnxNetworks(exported, "it", "cpu")
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    for count, height, width in ((1, networks.side, networks.side), (3, 200, 131), (2, 20, 30), (1, 450, 300)):
        photos = np.stack([resize_image(photo, (width, height)) for photo in coarse[:count]])
        here, there = networks.answer(PhotoBatch(photos)), compiled({"photos": photos})
        np.testing.assert_allclose(there["score_map"], here.maps, atol=1e-4)
        np.testing.assert_allclose(there["probabilities"], here.probabilities, atol=1e-4)
