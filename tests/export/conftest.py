"""Random networks, their exported file, and photos to ask both about."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dips.config import PredictConfig
from dips.export.description import Description
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor

from ..conftest import random_transformer

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
Export = Callable[..., tuple[Networks, bytes]]
CONFIG = PredictConfig(size=50, flip=True, threshold=0.7, min_area=0.001, batch=2)  # 50: the U-Net must pad
CLASSES = ("none", "bird", "left")


def _networks(
    mode: str,
    *,
    share: float = 0.0,
    flip: bool = True,
    classes: int = 3,
    background: int | None = 0,
    second: bool = False,
    own: bool = False,
) -> Networks:
    torch.manual_seed(0)
    localizer = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4))
    classifier = Classifier("test_efficientnet", classes).eval()
    seen = torch.nn.functional.interpolate(torch.rand(16, 3, 5, 5), (40, 40), mode="bilinear")
    with torch.no_grad():  # else random networks say the same of every photo
        for net, last in ((localizer, localizer.net.segmentation_head[0]), (classifier, classifier.head)):
            said = net.eval()(seen).transpose(0, 1).flatten(1)
            mean, std = said.mean(1), said.std(1)
            last.weight /= std.view(-1, *[1] * (last.weight.ndim - 1))
            last.bias.copy_((last.bias - mean) / std)
    second_look = 48 if mode == "accurate" or second else 0
    config = dataclasses.replace(CONFIG, mode=mode, unet_share=share, second_look=second_look, flip=flip)  # type: ignore[arg-type]
    config = dataclasses.replace(config, object_class="object" if own else "photo")
    sides = (64, 72) if mode == "accurate" else ()  # 8 and 9 patches of 28: with a common divisor and without
    transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
    frozen = FrozenNetworks(classifier, side=40, transformer=transformer if sides else None, key_sides=sides)
    return Networks(
        frozen,
        config=config,
        device=torch.device("cpu"),
        background=background,
        linear=None if mode == "unet" else _linear(frozen, seen, classes - (background is not None)),
        localizer=localizer if mode == "unet" or share else None,
    )


def _linear(frozen: FrozenNetworks, images: Tensor, outputs: int) -> LinearMap:
    """Make random directions whose logits have a standard deviation of 4 on some images."""
    look = frozen.look(images)
    with torch.no_grad():
        blocks = [*look.stages, *(look.keys if frozen.key_sides else [])]
        linear = LinearMap([block.shape[1] for block in blocks], outputs)
        for block, weight in zip(blocks, linear.weights, strict=True):
            weight.normal_()
            said = torch.einsum("bchw,kc->kbhw", block, weight).flatten(1)
            weight *= 4 / len(blocks) ** 0.5 / said.std(1, keepdim=True)
            linear.bias -= 4 / len(blocks) ** 0.5 * said.mean(1) / said.std(1)
    return linear


def _description(networks: Networks) -> Description:
    count = networks.frozen.classifier.classes
    return Description(
        classes=CLASSES[:count] + tuple(f"class {number}" for number in range(len(CLASSES), count)),
        background=networks.background,
        settings=dataclasses.asdict(networks.config),
        side=networks.side,
        photo_side=48,
        weights={"encoder": {"arch": "test_efficientnet", "note": "random, for tests", "licence": "Apache-2.0"}},
        model="0" * 64,
        dips="0.1.0",
    )


@contextmanager
def unmeasured() -> Iterator[None]:
    """Pause the coverage, with which torch's exporter takes nearly twice as long; what it calls here has tests of its own."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def make_networks() -> MakeNetworks:
    """``make_networks(mode, share=0.0, flip=True, classes=3, background=0, second=False)``: random networks.

    Their answers differ from photo to photo; ``share`` is the U-Net's, ``second`` gives ``fast`` a second look.
    """
    return _networks


@pytest.fixture(scope="session")
def make_description() -> MakeDescription:
    """``make_description(networks)``: what their file says about itself."""
    return _description


@pytest.fixture(scope="session")
def networks() -> Networks:
    """All networks that there can be: CNN and transformer with their linear map, and a U-Net."""
    return _networks("accurate", share=0.4)


@pytest.fixture(scope="session")
def description(networks: Networks) -> Description:
    """What their file says about itself."""
    return _description(networks)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> Path:
    folder = tmp_path_factory.mktemp("export-photos")
    for number, size in enumerate(((90, 120), (200, 60), (96, 96), (30, 40), (150, 100))):
        make_photo(folder / f"{number}.png", size, seed=number, box=(5, 5, 20 + 2 * number, 25))
    return folder


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory, networks: Networks, photos: Path) -> Path:
    """The exported file of ``networks``."""
    pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
    pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")
    from dips.export.onnx import export_onnx

    path = tmp_path_factory.mktemp("exported") / "bird.onnx"
    with unmeasured():
        check = export_onnx(networks, path, about=_description(networks), photos=sorted(photos.iterdir()))
    assert check.photos == 5 and check.other_boxes == () and 0 < check.score_map < 1e-4 and check.probabilities < 1e-4
    assert "5 photos" in check.line() and "in 5 of 5" in check.line()
    return path


@pytest.fixture(scope="session")
def export() -> Export:
    """``export(mode, **more)``: networks as ``make_networks`` makes them, and their file, which takes seconds."""
    pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
    from dips.export.onnx import to_bytes

    @cache
    def make(mode: str, **more: Any) -> tuple[Networks, bytes]:
        networks = _networks(mode, **more)
        with unmeasured():
            return networks, to_bytes(networks, _description(networks))

    return make


@pytest.fixture(scope="session")
def small(export: Export) -> tuple[Networks, bytes]:
    """Networks of the mode ``fast``, and their file."""
    return export("fast")


@pytest.fixture
def change(file: Path, tmp_path: Path) -> Callable[..., Path]:
    """``change(lambda model: ...)`` writes a changed copy of the exported file."""

    onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")

    def write(edit: Callable[[Any], object]) -> Path:
        model = onnx.load(file)
        edit(model)
        path = tmp_path / "changed.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def redescribed(change: Callable[..., Path]) -> Callable[..., Path]:
    """``redescribed(side=3, ...)`` writes a copy of the exported file that says something else about itself."""

    def write(**changes: Any) -> Path:
        def edit(model: Any) -> None:
            onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
            written = json.loads(model.metadata_props[0].value)
            onnx.helper.set_model_props(model, {"dips": json.dumps(written | changes)})

        return change(edit)

    return write


@pytest.fixture(scope="session")
def predict() -> Callable[..., list[Prediction]]:
    """``predict(predictor, *photos)``; a photo that cannot be read fails the test."""

    def run(predictor: Predictor, *paths: Path) -> list[Prediction]:
        def refuse(path: Path, reason: str) -> None:
            raise AssertionError(reason)

        return list(predictor.photos(paths, refuse))

    return run
