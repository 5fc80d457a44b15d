"""An exported model in 8 bits: what is quantised and what is not, near enough, and what stops it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dips.config import PredictConfig
from dips.errors import RunError
from dips.export.description import Description
from dips.export.onnx_model import load_onnx
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap
from dips.models.localizer import Localizer
from dips.models.networks import Networks

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

from dips.export.int8 import _outer_convolutions, to_int8  # noqa: E402
from dips.export.onnx import export_onnx, to_bytes  # noqa: E402

MakePhoto = Callable[..., Path]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    return [make_photo(folder / f"{n}.png", (80, 60), seed=n, box=(5, 5, 20 + 2 * n, 25)) for n in range(6)]


@pytest.fixture(scope="module", params=["fast", "unet"])
def networks(request: pytest.FixtureRequest) -> Networks:
    torch.manual_seed(0)
    classifier = Classifier("test_efficientnet", 2)
    linear = LinearMap(classifier.stage_channels, 2)
    for weight in linear.weights:
        weight.normal_(std=0.3)
    return Networks(
        FrozenNetworks(classifier, side=64),
        config=PredictConfig(mode=request.param, size=64, flip=True, threshold=0.5),
        device=torch.device("cpu"),
        linear=linear,
        localizer=Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)),
    )


@pytest.fixture(scope="module")
def about(networks: Networks) -> Description:
    return Description(
        classes=("none", "bird"),
        background=None,
        settings=dataclasses.asdict(networks.config),
        side=64,
        photo_side=None,
        weights={},
        model="0" * 64,
        dips="0.1.0",
    )


@pytest.fixture(scope="module")
def plain(networks: Networks, about: Description) -> bytes:
    """Their file as it is before it is brought into 8 bits; it takes seconds to make."""
    return to_bytes(networks, about)


@pytest.fixture
def made(plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """``export_onnx`` takes that file."""
    monkeypatch.setattr("dips.export.onnx.to_bytes", lambda networks, about: plain)


@pytest.mark.usefixtures("made")
def test_a_file_in_eight_bits(tmp_path: Path, networks: Networks, about: Description, photos: list[Path]) -> None:
    path = tmp_path / "small.onnx"
    found = export_onnx(networks, path, about=about, photos=photos[:3], calibration=photos[3:])
    assert 1e-5 < found.mean < 0.05 and found.score_map < 0.3, "near torch, but not as near as without quantisation"
    assert list(tmp_path.iterdir()) == [path]
    model = load_onnx(path, device="cpu")
    assert model.description.precision == "int8" and model.description.predict == networks.config
    assert len(list(model.predict(photos))) == 6

    graph = onnx.load(path).graph
    assert {item.domain for item in onnx.load(path).opset_import} == {""}
    made_by = {name: node for node in graph.node for name in node.output}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    inputs = [made_by.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    quantised = [node for node in inputs if node is not None and node.op_type == "DequantizeLinear"]
    assert all(kinds[node.input[0]] == onnx.TensorProto.INT8 for node in quantised)
    plain = len(inputs) - len(quantised)
    if networks.config.mode == "unet":  # of both networks the first and the last convolution, each for photo and mirror image
        assert plain == 8 and len(quantised) > 30
    else:  # of the CNN the first and the last convolution, and the linear map of each of its three stages
        assert plain == 10 and len(quantised) > 25
    scales = {tensor.name: tensor.dims for tensor in graph.initializer}
    assert all(len(scales[node.input[1]]) == 1 for node in quantised), "a scale per channel"


def test_nothing_else_than_photos_calibrates(tmp_path: Path, photos: list[Path]) -> None:
    text = tmp_path / "a.jpg"
    text.write_text("no photo")
    with pytest.raises(RunError, match=r"calibration of --int8"):
        to_int8(b"", 64, [text])
    with pytest.raises(RunError, match="cannot bring the model into 8 bits"):
        to_int8(b"no model", 64, photos)


def test_the_same_bytes_again(plain: bytes, photos: list[Path]) -> None:
    one, two = (to_int8(plain, 64, photos) for _ in range(2))
    for first, second in zip(one.graph.initializer, two.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(first), onnx.numpy_helper.to_array(second))


@pytest.mark.usefixtures("made")
def test_a_broken_model_is_not_written(
    tmp_path: Path, networks: Networks, about: Description, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes, side: int, photos: Sequence[Path], depth: object) -> Any:
        model = onnx.load_from_string(data)
        weights = next(t for t in model.graph.initializer if len(t.dims) == 4)
        weights.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weights.dims), np.nan, np.float32), weights.name))
        return model

    monkeypatch.setattr("dips.export.onnx.to_int8", broken)
    # the first weights are the classifier's, whose maps are those of the mode fast
    words = f"{'nan' if networks.config.mode == 'fast' else '[0-9].*'} in the mean .* by up to nan"
    with pytest.raises(RunError, match=f"was not written: in 8 bits score maps differ by {words}; give other training photos"):
        export_onnx(networks, tmp_path / "a.onnx", about=about, photos=photos[:3], calibration=photos[3:])
    assert not list(tmp_path.iterdir())


def _convolutions(**shapes: tuple[str, str, tuple[int, ...], int]) -> list[Any]:
    """Nodes and weights ``name=(input, output, shape of the weights, group)``."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", [before, f"{name}.weight"], [after], name, group=group)
        for name, (before, after, _, group) in shapes.items()
    ]
    weights = [
        helper.make_tensor(f"{name}.weight", onnx.TensorProto.FLOAT, shape, np.zeros(shape).ravel())
        for name, (_, _, shape, _) in shapes.items()
    ]
    return [nodes, weights]


def test_the_outer_convolutions_of_two_looks() -> None:
    """The crop's place comes from the first look, whose last convolution is still its last one."""
    (stem, depth, last, again, inner, end), weights = _convolutions(
        stem=("photo", "a", (8, 3, 3, 3), 1),
        depth=("a", "b", (8, 1, 3, 3), 8),
        last=("b", "logits", (2, 8, 1, 1), 1),
        again=("crop", "c", (8, 3, 3, 3), 1),
        inner=("c", "d", (8, 8, 1, 1), 1),
        end=("d", "more", (2, 8, 1, 1), 1),
    )
    place = onnx.helper.make_node("Transpose", ["logits"], ["grid"], "place", perm=[0, 2, 3, 1])
    sample = onnx.helper.make_node("GridSample", ["photo", "grid"], ["crop"], "sample")
    graph = onnx.helper.make_graph([stem, depth, last, place, sample, again, inner, end], "two looks", [], [], weights)
    assert sorted(_outer_convolutions(graph)) == ["again", "end", "last", "stem"]
    sample.input[:] = ["logits", "photo"]  # where the crop shows what the first look saw, that one leads on
    graph = onnx.helper.make_graph([stem, depth, last, sample, again, inner, end], "one way", [], [], weights)
    assert sorted(_outer_convolutions(graph)) == ["again", "end", "stem"]


def test_what_only_resizes_stays_in_float() -> None:
    (small, stem, inner, end), weights = _convolutions(
        small=("photo", "square", (7, 1, 1, 12), 1),
        stem=("square", "a", (8, 3, 3, 3), 1),
        inner=("a", "b", (8, 1, 3, 3), 8),
        end=("b", "logits", (2, 8, 1, 1), 1),
    )
    graph = onnx.helper.make_graph([small, stem, inner, end], "resized", [], [], weights)
    assert sorted(_outer_convolutions(graph)) == ["end", "small", "stem"]
