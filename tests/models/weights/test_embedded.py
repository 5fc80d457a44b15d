"""The two real packages of weights; skipped where they are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dips.models import backbones
from dips.models.classifier import Classifier
from dips.models.inputs import to_tensor
from dips.models.localizer import Localizer
from dips.models.names import cnn_config
from dips.models.weights.resolve import EMBEDDED, Role, Weights, resolve


def embedded(role: Role) -> Weights:
    item = next(item for item in EMBEDDED if item.role == role)
    if item.path() is None:
        pytest.skip(f"the package {item.distribution} is not installed (extra 'demo')")
    if role == "transformer":
        pytest.importorskip("onnx", reason="the package onnx is not installed (extra 'demo')")
    found = resolve("embedded", role=role)
    assert item.file.partition("/")[0] not in sys.modules, "the package's code was run"
    return found


def test_transformer() -> None:
    found = embedded("transformer")
    assert found.title == "DINOv2-S, saliency-tuned (embedded)"
    model = backbones.load_transformer(found)  # strict
    assert (model.patch, model.heads, model.dim, model.prefix) == (14, 6, 384, 1)
    images = torch.rand(1, 3, 56, 70, generator=torch.Generator().manual_seed(0))
    features = model(images)

    block: Any = model.last.block
    tokens = []
    handle = block.norm1.register_forward_hook(lambda _m, _i, out: tokens.append(out))
    model(images)
    handle.remove()
    q, k, _ = block.attn.qkv(tokens[0]).unflatten(-1, (3, 6, 64)).permute(2, 0, 3, 1, 4)
    matrix = (q @ k.transpose(-2, -1) / 8).softmax(-1)
    torch.testing.assert_close(features.attention, matrix[:, :, 0, 1:].unflatten(-1, (4, 5)), rtol=1e-4, atol=1e-6)
    # every block was read: identical or zero blocks would mean a wrong mapping
    weights = {name: value for name, value in found.state.items() if name.endswith("attn.qkv.weight")}
    assert len({round(value.std().item(), 6) for value in weights.values()}) == 12


def test_cnn_loads_all_tensors() -> None:
    found = embedded("cnn")
    net = backbones.load_cnn(found)
    loaded = net.state_dict()
    assert len(found.state) == len(loaded) == 296
    assert all(torch.equal(left, right) for left, right in zip(found.state.values(), loaded.values(), strict=True))


def test_cnn_knows_birds(real_data: Path) -> None:
    """59 of ImageNet's 1000 classes are birds: on photos of birds they hold most of the probability, not a seventeenth."""
    net = backbones.load_cnn(embedded("cnn"))
    normalise = backbones.Normalise(**cnn_config("tf_efficientnet_lite0"))
    birds = [*range(7, 25), *range(80, 101), *range(127, 147)]
    paths = sorted((real_data / "birds20" / "test").rglob("*.jpg"))[::40][:8]
    images = to_tensor([np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in paths])
    with torch.no_grad():
        probability = net(normalise(images)).softmax(1)[:, birds].sum(1)
    assert probability.mean() > 0.5


def test_classifier_and_localizer_start_from_them() -> None:
    found = embedded("cnn")
    classifier = Classifier.from_weights(found, 3)
    localizer = Localizer.from_weights(found)
    stem = classifier.body.state_dict()["conv_stem.weight"]
    assert torch.equal(localizer.net.encoder.model.state_dict()["conv_stem.weight"], stem)
    assert torch.equal(stem, next(iter(found.state.values())))
