"""Stored squares as tensors, and the classifier's pooled features of them, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dips.data.images import resize_image
from dips.harvest.harvest import Harvest
from dips.harvest.store import Store
from dips.models.classifier import Classifier
from dips.models.weights.resolve import Weights
from dips.system.console import track

__all__ = []


def squares_batch(harvested: Harvest, digests: Sequence[str], side: int, device: torch.device) -> Tensor:
    squares = np.stack([resize_image(harvested.square(d), (side, side)) for d in digests])
    return torch.from_numpy(squares).to(device).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def pooled_features(
    classifier: Classifier, weights: Weights, harvested: Harvest, store: Store, side: int, device: torch.device
) -> Tensor:
    """Pooled CNN features ``(N, F)`` of all harvested photos, from the store where they are."""
    shelf = store.shelf(
        "cnn",
        {"version": 1, "weights": weights.sha256, "arch": weights.arch, "side": side, "squares": harvested.squares.folder.name},
    )
    todo = shelf.missing(harvested.digests)
    classifier.to(device).eval()
    for start in track(range(0, len(todo), 32), "classifier", -(-len(todo) // 32)):
        keys = todo[start : start + 32]
        values = classifier.features(squares_batch(harvested, keys, side, device)).cpu().numpy()
        shelf.put({key: {"pooled": value} for key, value in zip(keys, values, strict=True)})
    return torch.from_numpy(np.stack([_pooled(shelf.get(d)) for d in harvested.digests]))


def _pooled(record: dict[str, Any] | None) -> np.ndarray[Any, Any]:
    assert record is not None
    return np.asarray(record["pooled"], np.float32)
