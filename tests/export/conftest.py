"""Random networks, their exported file, and photos to ask both about."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dips.config import PredictConfig
from dips.export.description import Description
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor

from ..conftest import random_transformer

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
CONFIG = PredictConfig(size=50, flip=True, sst_share=0.6, threshold=0.7, min_area=0.001, batch=2)  # 50: the U-Net must pad
CLASSES = ("none", "bird", "left")


def _networks(share: float, *, flip: bool = True) -> Networks:
    torch.manual_seed(0)
    localizer = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4))
    classifier = Classifier("test_efficientnet", len(CLASSES))
    with torch.no_grad():  # else random networks say the same of every photo
        for net, last in ((localizer, localizer.net.segmentation_head[0]), (classifier, classifier.head)):
            seen = net.eval()(torch.nn.functional.interpolate(torch.rand(16, 3, 5, 5), (40, 40), mode="bilinear"))
            mean, std = seen.transpose(0, 1).flatten(1).mean(1), seen.transpose(0, 1).flatten(1).std(1)
            last.weight /= std.view(-1, *[1] * (last.weight.ndim - 1))
            last.bias.copy_((last.bias - mean) / std)
    extra: dict[str, Any] = {}
    if share > 0:
        key_map = KeyMap((64, 96), 24)
        key_map.weight[:] = 9 * torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
        transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
        extra = {"key_map": key_map, "transformer": transformer}
    return Networks(
        localizer,
        classifier,
        config=dataclasses.replace(CONFIG, sst_share=share, flip=flip),
        classifier_size=40,
        device=torch.device("cpu"),
        **extra,
    )


def _description(networks: Networks) -> Description:
    return Description(
        classes=CLASSES,
        background=0,
        settings=dataclasses.asdict(networks.config),
        side=networks.side,
        photo_side=48,
        weights={"encoder": {"arch": "test_efficientnet", "note": "random, for tests", "licence": "Apache-2.0"}},
        model="0" * 64,
        dips="0.1.0",
    )


@pytest.fixture(scope="session")
def make_networks() -> MakeNetworks:
    """``make_networks(sst_share, flip=True)``: random networks whose answers differ from photo to photo."""
    return _networks


@pytest.fixture(scope="session")
def make_description() -> MakeDescription:
    """``make_description(networks)``: what their file says about itself."""
    return _description


@pytest.fixture(scope="session")
def networks() -> Networks:
    """Networks with a transformer."""
    return _networks(0.6)


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
    check = export_onnx(networks, path, about=_description(networks), photos=sorted(photos.iterdir()))
    assert check.photos == 5 and check.other_boxes == () and 0 < check.score_map < 1e-4 and check.probabilities < 1e-4
    assert "5 photos" in check.line() and "in 5 of 5" in check.line()
    return path


@pytest.fixture(scope="session")
def small() -> tuple[Networks, bytes]:
    """Networks without transformer, and their file."""
    pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
    from dips.export.onnx import to_bytes

    networks = _networks(0.0)
    return networks, to_bytes(networks, _description(networks))


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
