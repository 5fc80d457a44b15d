"""Devices, seeds, and what a run records of its environment."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dips.errors import RunError
from dips.system.device import environment, pick_device, seed_everything


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(RunError) as found:
        pick_device("gpu")
    assert str(found.value) == "there is no device 'gpu'; --device takes auto, cpu, cuda, mps"


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(RunError, match=r"'cuda:99' cannot be used.*--device cpu"):
        pick_device("cuda:99")


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_seeds(seed: int) -> None:
    draws = []
    for _ in range(2):
        seed_everything(seed)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]
    seed_everything(seed + 1)
    assert float(torch.rand(())) != draws[0][2]


def test_environment_can_be_written() -> None:
    import json

    record = json.loads(json.dumps(environment()))
    assert record["torch"] == torch.__version__ and record["cpus"] >= 1
