"""The classifier's pooled features of all harvested photos, computed once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dips.harvest.harvest import Harvest
from dips.harvest.store import Store
from dips.models.classifier import Classifier
from dips.models.weights.resolve import Weights
from dips.system.console import track

__all__ = ["pooled_features"]

_BATCH = 32


@torch.inference_mode()
def pooled_features(
    classifier: Classifier, weights: Weights, harvest: Harvest, store: Store, side: int, device: torch.device
) -> Tensor:
    """Return the pooled CNN features ``(N, F) float32`` of all harvested photos on the CPU; the store holds them from then on.

    Args:
        classifier: with ``weights`` in the layers below the last; ends on ``device`` in evaluation mode.
        side: of the square that it sees, in pixels.
    """
    shelf = store.shelf(
        "cnn",
        {"version": 1, "weights": weights.sha256, "arch": weights.arch, "side": side, "squares": harvest.squares.folder.name},
    )
    missing = shelf.missing(harvest.digests)
    classifier.to(device).eval()
    for start in track(range(0, len(missing), _BATCH), "classifier", -(-len(missing) // _BATCH)):
        digests = missing[start : start + _BATCH]
        features = classifier.features(harvest.batch(digests, side, device)).cpu().numpy()
        shelf.put({digest: {"pooled": row} for digest, row in zip(digests, features, strict=True)})
    return torch.from_numpy(np.stack([shelf.require(digest)["pooled"] for digest in harvest.digests]).astype(np.float32))
