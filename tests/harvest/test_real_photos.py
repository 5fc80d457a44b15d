"""Do the linear maps find birds? On real photos, with the embedded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dips.config import HarvestConfig, PredictConfig
from dips.data import load_data
from dips.data.images import image_size, read_image, resize_image
from dips.harvest.attention import normalised
from dips.harvest.features import linear_maps
from dips.harvest.proposals import propose
from dips.harvest.squares import SquareReader
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.inputs import to_tensor
from dips.models.networks import Networks
from dips.models.weights.resolve import EMBEDDED, resolve
from dips.types import FloatArray, Sample


def largest_box_iou(level_map: FloatArray, sample: Sample) -> float:
    """IoU of the largest Otsu box of a map with the best of the ground-truth boxes."""
    boxes = propose(level_map[None], min_area=0.0, frame=224).boxes
    x0, y0, x1, y1 = boxes[((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax()]
    width, height = sample.frame or image_size(sample.path)
    assert sample.boxes is not None
    true: NDArray[np.float64] = sample.boxes / np.array([width, height, width, height])
    inter = np.clip(np.minimum(x1, true[:, 2]) - np.maximum(x0, true[:, 0]), 0, None) * np.clip(
        np.minimum(y1, true[:, 3]) - np.maximum(y0, true[:, 1]), 0, None
    )
    union = (x1 - x0) * (y1 - y0) + (true[:, 2] - true[:, 0]) * (true[:, 3] - true[:, 1]) - inter
    return float((inter / union).max())


@pytest.mark.slow
def test_linear_maps_beat_the_mean_attention(real_data: Path, tmp_path: Path) -> None:
    if any(item.path() is None for item in EMBEDDED):
        pytest.skip("the packages of the embedded networks are not installed (extra 'demo')")
    pytest.importorskip("onnx", reason="the package onnx is not installed (extra 'demo')")
    torch.set_num_threads(1)
    transformer, cnn = resolve("embedded", role="transformer"), resolve("tf_efficientnet_lite0", role="cnn")
    frozen = FrozenNetworks(
        Classifier.from_weights(cnn, 20), side=224, transformer=load_transformer(transformer), key_sides=(224,)
    )
    data = load_data(real_data / "birds20", split="test")
    shown = [s for s in data.samples if s.boxes is not None and len(s.boxes)]
    samples = shown[:: max(1, len(shown) // 16)][:16]
    reader = SquareReader(samples, Store(tmp_path / "store"))
    maps, _ = linear_maps(
        reader,
        dict.fromkeys(reader.digests, 0),
        load=lambda: frozen,
        names={},
        classes=1,
        config=HarvestConfig(),
        store=Store(tmp_path / "store"),
        shelf=None,
        device=torch.device("cpu"),
    )
    cpu = torch.device("cpu")
    networks = {
        "fast": Networks(frozen, config=PredictConfig(mode="fast"), device=cpu, linear=maps.fast),
        "accurate": Networks(frozen, config=PredictConfig(mode="accurate"), device=cpu, linear=maps.accurate),
    }
    ious: dict[str, list[float]] = {"attention": [], "fast": [], "accurate": []}
    for sample in samples:
        look = frozen.look(to_tensor([resize_image(read_image(sample.path), (224, 224))]))
        found = {name: item.judge(look)[0] for name, item in networks.items()}
        found["attention"] = look.transformed[0].attention.mean(1)
        for name, score_map in found.items():
            ious[name].append(largest_box_iou(normalised(score_map)[0].numpy(), sample))
    mean = {name: round(float(np.mean(values)), 3) for name, values in ious.items()}
    assert min(mean["fast"], mean["accurate"]) > mean["attention"] + 0.1, mean
