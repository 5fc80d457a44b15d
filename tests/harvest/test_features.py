"""Pooled features are the classifier's, and computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dips.harvest.features import pooled_features
from dips.models.classifier import Classifier
from dips.models.weights.resolve import Weights
from dips.types import DataSet

Rig = Any


def test_pooled_features(
    rig: Rig, data_of: Callable[..., DataSet], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest = rig.run(data_of([*photos, photos[0]]))
    classifier = Classifier("test_efficientnet", 2).eval()
    weights = Weights("test_efficientnet", "file", "tiny", "0" * 64)
    first = pooled_features(classifier, weights, harvest, rig.store, 48, torch.device("cpu"))
    with torch.no_grad():
        expected = classifier.features(harvest.batch(harvest.digests, 48))
    torch.testing.assert_close(first, expected, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(Classifier, "features", lambda *_: pytest.fail("they are in the store"))
    assert torch.equal(pooled_features(classifier, weights, harvest, rig.store, 48, torch.device("cpu")), first)
