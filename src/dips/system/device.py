"""Where tensors are computed: devices, launching on several of them, seeds."""

from __future__ import annotations

import os
import platform
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from dips.errors import RunError
from dips.system.environment import command_line

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


__all__ = ["environment", "launch_fabric", "pick_device", "seed_everything", "synchronise"]


def pick_device(name: str = "auto") -> torch.device:
    """The torch device called ``name``; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        RunError: the device is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"there is no device '{name}'; --device takes auto, cpu, cuda, mps") from None
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"the device '{name}' cannot be used here ({error}); try --device cpu") from error
    return device


def launch_fabric(name: str = "auto") -> Fabric:
    """A launched Fabric on the device called ``name``; under ``torchrun`` one of several, each with a device of its own.

    Raises:
        RunError: the device is not there.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", "1"))
    if everywhere > 1:
        if ":" in name:
            raise RunError(f"--device {name}: under torchrun each process has a device of its own; write it without a number")
        # others wait for the harvest of the first, which may take hours
        strategy = DDPStrategy(timeout=timedelta(days=7))
        fabric = Fabric(accelerator=name, devices=beside, num_nodes=everywhere // beside, strategy=strategy)
    else:
        place = pick_device(name)
        fabric = Fabric(accelerator=place.type, devices=[place.index or 0] if place.type == "cuda" else 1)
    fabric.launch()
    return fabric


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told, so that a clock can be read."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Versions and hardware, as recorded in every run; ``device`` is the one that was computed on (default: the fastest)."""
    import torch

    gpu = torch.cuda.is_available() and (device is None or device.type == "cuda")
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a class of its own, which no JSON knows
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if gpu else "cpu" if device is None else device.type,
        "command": command_line(),
    }
