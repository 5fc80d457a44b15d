"""The traced module gives the answers of the networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.parametrize(("mode", "share"), [("fast", 0.0), ("accurate", 0.0), ("accurate", 0.4), ("unet", 0.0)])
def test_the_networks_say_something(make_networks: MakeNetworks, photos: Path, mode: str, share: float) -> None:
    """Else every comparison below would be empty."""
    networks = make_networks(mode, share=share)
    side = networks.side
    squares = [resize_image(read_image(path), (side, side)) for path in sorted(photos.iterdir())]
    said = networks.answer(PhotoBatch(np.stack(squares)))
    assert (
        np.ptp(said.maps) > 0.2 and np.ptp(said.maps, axis=0).mean() > 0.05 and np.ptp(said.probabilities, axis=0).max() > 0.01
    )


@pytest.mark.parametrize(("mode", "share"), [("fast", 0.0), ("accurate", 0.0), ("accurate", 0.4), ("unet", 0.0)])
def test_the_graph_leaves_squares_as_they_are(make_networks: MakeNetworks, mode: str, share: float) -> None:
    networks = make_networks(mode, share=share)
    square = np.random.default_rng(0).integers(0, 256, (1, networks.side, networks.side, 3), np.uint8)
    said = networks.answer(PhotoBatch(square))
    with torch.inference_mode():
        maps, probabilities = Graph(networks)(torch.from_numpy(square))
    np.testing.assert_allclose(maps.numpy(), said.maps, atol=5e-5)  # sizes are changed by convolutions, which round otherwise
    np.testing.assert_allclose(probabilities.numpy(), said.probabilities, atol=1e-6)


def test_the_graph_holds_what_the_mode_needs(make_networks: MakeNetworks) -> None:
    def kinds(mode: str, share: float = 0.0) -> set[str]:
        names = {type(module).__name__ for module in Graph(make_networks(mode, share=share)).modules()}
        return names & {"Classifier", "Transformer", "LinearMap", "Localizer"}

    assert kinds("fast") == {"Classifier", "LinearMap"}
    assert kinds("fast", 0.3) == {"Classifier", "LinearMap", "Localizer"}
    assert kinds("accurate") == {"Classifier", "LinearMap", "Transformer"}
    assert kinds("unet") == {"Classifier", "Localizer"}
