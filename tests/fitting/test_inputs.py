"""What a training is made of, and what another one must share to go on with it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest

from dips.config import Config
from dips.fitting.inputs import TrainingInputs
from dips.types import DataSet

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

Parts = tuple[DataSet, DataSet]
PrepareParts = Callable[..., TrainingInputs]


def test_frozen_networks_of_the_inputs(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, passes: Counter[str]
) -> None:
    prepare_parts(parts, config=plain_config)
    inputs = prepare_parts(parts, config=plain_config)  # the store has the maps, so that no transformer was needed
    passes.clear()
    frozen = inputs.frozen()
    assert frozen.classifier is inputs.classifier and frozen.side == 64 and frozen.key_sides == (64,)
    assert passes == {"loads": 1}


@pytest.mark.parametrize("change", ["label", "photo", "weights", "maps"])
def test_what_a_resumed_training_must_share(
    parts: Parts, prepare_parts: PrepareParts, tiny_config: Config, change: str
) -> None:
    inputs = prepare_parts(parts)
    config, train = tiny_config, parts[0]
    if change == "label":
        train = dataclasses.replace(train, samples=(dataclasses.replace(train.samples[0], label=1), *train.samples[1:]))
    elif change == "photo":
        train = dataclasses.replace(train, samples=train.samples[2:])
    elif change == "maps":
        config = config.replace(**{"harvest.flip": True})
    other = prepare_parts((train, parts[1]), config=config)
    if change == "weights":
        weights = {**inputs.weights, "encoder": dataclasses.replace(inputs.weights["encoder"], sha256="1" * 64)}
        other = dataclasses.replace(inputs, weights=weights)
    assert other.origin != inputs.origin == prepare_parts(parts).origin
