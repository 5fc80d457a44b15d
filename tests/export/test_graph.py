"""The traced module gives the answers of the networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dips.data.images import read_image, resize_image
from dips.export.description import Description
from dips.export.graph import Graph
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.types import PhotoBatch

MakePhoto = Callable[..., Path]
MakeNetworks = Callable[..., Networks]
MakeDescription = Callable[[Networks], Description]
Predict = Callable[..., list[Prediction]]


def test_the_networks_say_something(networks: Networks, photos: Path) -> None:
    """Else every comparison below would be empty."""
    squares = [resize_image(read_image(path), (96, 96)) for path in sorted(photos.iterdir())]
    said = networks.answer(PhotoBatch(np.stack(squares)))
    assert (
        np.ptp(said.maps) > 0.2 and np.ptp(said.maps, axis=0).mean() > 0.05 and np.ptp(said.probabilities, axis=0).max() > 0.01
    )


def test_the_graph_leaves_squares_as_they_are(networks: Networks) -> None:
    square = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    said = networks.answer(PhotoBatch(square))
    with torch.inference_mode():
        maps, probabilities = Graph(networks)(torch.from_numpy(square))
    np.testing.assert_allclose(maps.numpy(), said.maps, atol=1e-6)
    np.testing.assert_allclose(probabilities.numpy(), said.probabilities, atol=1e-6)
