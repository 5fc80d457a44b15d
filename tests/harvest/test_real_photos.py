"""Does the refinement find birds? On real photos, with the embedded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dips.config import HarvestConfig
from dips.data import load_data
from dips.data.images import image_size
from dips.harvest.harvester import Harvester
from dips.harvest.proposals import propose
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.weights.resolve import EMBEDDED, resolve
from dips.types import DataSet, FloatArray, Sample


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
def test_refined_maps_beat_the_mean_attention(real_data: Path, tmp_path: Path) -> None:
    if any(item.role == "transformer" and item.path() is None for item in EMBEDDED):
        pytest.skip("the package of the embedded transformer is not installed (extra 'demo')")
    pytest.importorskip("onnx", reason="the package onnx is not installed (extra 'demo')")
    torch.set_num_threads(1)
    weights = resolve("embedded", role="transformer")
    data = load_data(real_data / "birds20", split="test")
    shown = [s for s in data.samples if s.boxes is not None and len(s.boxes)]
    samples = tuple(shown[:: max(1, len(shown) // 16)][:16])
    part = DataSet(data.root, data.classes, samples)
    store = Store(tmp_path / "store")
    config = HarvestConfig(sizes=(224,), refine="dataset")
    found = Harvester(config, 64, store, weights, lambda: load_transformer(weights), torch.device("cpu")).run(part)
    ious: dict[str, list[float]] = {"attention": [], "refined": []}
    for sample, digest in zip(found.samples, found.digests, strict=True):
        refined = found.refined(digest)
        assert refined is not None
        ious["attention"].append(largest_box_iou(found.mean_attention(digest), sample))
        ious["refined"].append(largest_box_iou(refined, sample))
    mean = {name: round(float(np.mean(values)), 3) for name, values in ious.items()}
    assert mean["refined"] > mean["attention"] + 0.1, mean
