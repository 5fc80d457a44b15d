"""A model as an ONNX file: the same answers as torch's, and written only then."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dips.data.images import resize_image
from dips.errors import ConfigError, RunError
from dips.export.description import Description
from dips.export.graph import Graph
from dips.export.onnx_model import OnnxNetworks, load_onnx
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.types import PhotoBatch

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")


from dips.export.onnx import compare_answers, export_onnx, to_bytes  # noqa: E402

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
Export = Callable[..., tuple[Networks, bytes]]
Predict = Callable[..., list[Prediction]]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", ["all", "fast", "accurate", "unet"])
def test_batch_and_size_are_free(
    mode: str,
    file: Path,
    networks: Networks,
    small: tuple[Networks, bytes],
    export: Export,
) -> None:
    if mode == "all":
        data = file.read_bytes()
    elif mode == "fast":
        networks, data = small
    else:
        networks, data = export(mode, flip=False)
    exported = OnnxNetworks(data, "it", "cpu")
    assert exported.side == networks.side == {"all": 144, "fast": 40, "accurate": 144, "unet": 50}[mode]
    generator = np.random.default_rng(0)
    for count, height, width in ((1, networks.side, networks.side), (3, 200, 131), (2, 20, 30), (1, 1, 300), (1, 50, 50)):
        coarse = generator.integers(0, 256, (count, 5, 5, 3), np.uint8)
        squares = [resize_image(photo, (width, height)) for photo in coarse]
        with torch.inference_mode():
            maps, probabilities = Graph(networks)(torch.from_numpy(np.stack(squares)))
        said = exported.answer(PhotoBatch(np.stack(squares)))
        np.testing.assert_allclose(said.maps, maps.numpy(), atol=1e-4)
        np.testing.assert_allclose(said.probabilities, probabilities.numpy(), atol=1e-4)
        assert said.maps.dtype == said.probabilities.dtype == np.float32
        np.testing.assert_allclose(said.probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(("classes", "background"), [(1, None), (2, 0), (3, None), (3, 1), (7, None), (7, 6)])
def test_any_number_of_classes(classes: int, background: int | None, export: Export) -> None:
    """One object class has one map; of more than five the likeliest five of each photo have a part in it."""
    networks, data = export("fast", flip=False, classes=classes, background=background)
    assert networks.linear is not None and len(networks.linear.bias) == classes - (background is not None)
    exported = OnnxNetworks(data, "it", "cpu")
    coarse = np.random.default_rng(1).integers(0, 256, (6, 5, 5, 3), np.uint8)
    squares = PhotoBatch(np.stack([resize_image(photo, (40, 40)) for photo in coarse]))
    here, there = networks.answer(squares), exported.answer(squares)
    np.testing.assert_allclose(there.maps, here.maps, atol=1e-4)
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-4)
    assert here.probabilities.shape == (6, classes) and np.ptp(here.maps, axis=0).mean() > 0.05
    if len(networks.linear.bias) > 5:
        objects = np.delete(here.probabilities, [] if background is None else background, axis=1)
        chosen = {tuple(sorted(row)) for row in np.argsort(-objects, axis=1)[:, :5].tolist()}
        assert len(chosen) > 1, "another five in another photo: the choice is in the graph, not a constant"


def test_only_the_accurate_file_holds_the_transformer(export: Export, small: tuple[Networks, bytes]) -> None:
    """Its weights, not only its name: each is looked for as it lies in memory."""
    accurate, held = export("accurate", flip=False)
    transformer = accurate.frozen.transformer
    assert transformer is not None

    def inside(data: bytes, part: torch.nn.Module) -> list[bool]:
        matrices = [value.detach().numpy() for value in part.parameters() if value.ndim > 1 and value.numel() > 500]
        return [each.tobytes() in data or each.T.tobytes() in data for each in matrices]

    assert inside(held, transformer.blocks[0]) == [True] * 4, "attention and MLP; of the last block only the keys are needed"
    assert not any(inside(small[1], transformer))
    kinds = {node.op_type for node in onnx.load_from_string(small[1]).graph.node}
    assert not kinds & {"Softplus", "LayerNormalization", "Erf"}
    assert len(held) - len(small[1]) > sum(value.nbytes for value in transformer.blocks[0].parameters())


def test_nothing_is_written_above_the_tolerance(
    tmp_path: Path,
    photos: Path,
    small: tuple[Networks, bytes],
    monkeypatch: pytest.MonkeyPatch,
    make_networks: MakeNetworks,
    make_description: MakeDescription,
) -> None:
    networks, data = small
    monkeypatch.setattr("dips.export.onnx.to_bytes", lambda networks, about: data)
    paths = sorted(photos.iterdir())
    with pytest.raises(RunError, match=r"x\.onnx was not written: largest difference .* more than the tolerance of 1e-12"):
        export_onnx(networks, tmp_path / "x.onnx", about=make_description(networks), photos=paths, tolerance=1e-12)
    broken = make_networks("fast")
    broken.frozen.classifier.head.bias.data[:] = float("nan")
    with pytest.raises(RunError, match=r"nan in probabilities.* more than the tolerance.*weights are damaged"):
        export_onnx(broken, tmp_path / "x.onnx", about=make_description(broken), photos=paths[:1], tolerance=1.0)
    assert list(tmp_path.iterdir()) == []
    assert export_onnx(networks, tmp_path / "x.onnx", about=make_description(networks), photos=paths).photos == 5


def test_no_file_is_overwritten(tmp_path: Path, networks: Networks, photos: Path, make_description: MakeDescription) -> None:
    old = tmp_path / "x.onnx"
    old.write_text("mine")
    for path, words in ((old, "already exists"), (tmp_path / "x.bin", "must end in .onnx")):
        with pytest.raises(RunError, match=words):
            export_onnx(networks, path, about=make_description(networks), photos=sorted(photos.iterdir()))
    assert old.read_text() == "mine" and list(tmp_path.iterdir()) == [old]


def test_without_photos_nothing_can_be_compared(
    tmp_path: Path, small: tuple[Networks, bytes], monkeypatch: pytest.MonkeyPatch, make_description: MakeDescription
) -> None:
    networks, data = small
    monkeypatch.setattr("dips.export.onnx.to_bytes", lambda networks, about: data)
    text = tmp_path / "a.jpg"
    text.write_text("no photo")
    with pytest.raises(RunError, match="--photos"):
        export_onnx(networks, tmp_path / "x.onnx", about=make_description(networks), photos=[text])
    assert list(tmp_path.iterdir()) == [text]


def test_the_file_says_what_it_is_and_nothing_of_this_machine(file: Path, predict: Predict, description: Description) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {item.domain for item in model.opset_import} == {""} and model.opset_import[0].version == 18
    assert "random, for tests" in model.doc_string and model.producer_name == "dips"
    said = json.loads(model.metadata_props[0].value)
    assert said["schema"] == 2 and said["classes"] == list(description.classes) and said["predict"]["threshold"] == 0.7
    data = file.read_bytes()
    assert [text for text in (b"stack_trace", b"site-packages", b".py", str(ROOT).encode()) if text in data] == []
    assert len(data) < 3_000_000, "weights are there once"


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, file: Path, networks: Networks, make_description: MakeDescription
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RunError, match=re.escape('pip install "dips-wsol[export]"')):
        to_bytes(networks, make_description(networks))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=re.escape("bird.onnx needs onnxruntime")) as caught:
        load_onnx(file)
    assert 'pip install "dips-wsol[onnx]"' in str(caught.value)


@pytest.mark.parametrize(("mode", "flip", "background"), [("fast", False, 0), ("fast", True, None), ("unet", False, 2)])
def test_classes_of_objects_are_an_output(
    mode: str, flip: bool, background: int | None, export: Export, photos: Path, tmp_path: Path
) -> None:
    """The same logits of each cell, of photos of any size, and the same classes of the boxes."""
    networks, data = export(mode, flip=flip, background=background, own=True)
    exported = OnnxNetworks(data, "it", "cpu")
    for height, width in ((networks.side, networks.side), (200, 131), (20, 30)):
        coarse = np.random.default_rng(height).integers(0, 256, (3, 5, 5, 3), np.uint8)
        squares = np.stack([resize_image(photo, (width, height)) for photo in coarse])
        with torch.inference_mode():
            _, _, cells = Graph(networks)(torch.from_numpy(squares))
        said = exported.answer(PhotoBatch(squares, localized=(2, 0))).cells
        assert said is not None and said.dtype == np.float32 and said.shape == (2, *cells.shape[1:])
        np.testing.assert_allclose(said, cells.numpy()[[2, 0]], atol=1e-3)
        assert np.ptp(said, axis=(2, 3)).max() > 0.01, "cells differ"
    check = compare_answers(networks, exported, sorted(photos.iterdir()))
    assert check.other_boxes == () and check.probabilities < 1e-3
    (tmp_path / "own.onnx").write_bytes(data)
    found = list(load_onnx(tmp_path / "own.onnx", device="cpu").predict(photos))
    assert any(prediction.box_labels for prediction in found) and all(
        len(prediction.box_labels) == len(prediction.boxes) for prediction in found
    )
    with pytest.raises(ConfigError, match=r"object_class is part of .* export the run with --set predict\.object_class=photo"):
        load_onnx(tmp_path / "own.onnx", settings=["predict.object_class=photo"])


def test_without_classes_of_objects_there_are_two_outputs(small: tuple[Networks, bytes]) -> None:
    graph = onnx.load_from_string(small[1]).graph
    assert [item.name for item in graph.output] == ["score_map", "probabilities"]
