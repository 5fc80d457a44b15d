"""Devices that tensors are computed on, launching on several of them, and seeds."""

from __future__ import annotations

import os
import platform
import random
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from dips.errors import RunError
from dips.system.console import log
from dips.system.environment import command_line, torchrun_rank, usable_cores

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


__all__ = ["environment", "launch_fabric", "pick_device", "require_device_name", "seed_everything", "synchronise"]


def require_device_name(name: str) -> None:
    """Check that this is the name of a device, though perhaps not of one on this machine; needs no torch.

    Raises:
        RunError: there is no device of this name.
    """
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", name):
        raise RunError(f"there is no device '{name}'; --device takes auto, cpu, cuda, mps")


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device named ``name``; ``auto`` selects CUDA, else Apple's MPS, else the CPU.

    Raises:
        RunError: there is no such device, or it cannot be used.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    require_device_name(name)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"the device '{name}' cannot be used here ({error}); try --device cpu") from error
    if not os.environ.get("OMP_NUM_THREADS") and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())  # torch does not know a container's limits
    return device


def launch_fabric(name: str = "auto") -> Fabric:
    """Return a launched Fabric on the device named ``name``; under ``torchrun`` one per process, each with its own device.

    Other variables that a cluster sets in the environment are ignored: this process then computes alone.

    Raises:
        RunError: there is no such device, or it cannot be used, or another program started several copies of this process.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    processes = 1
    if torchrun_rank() is None:
        _refuse_copies()
    else:
        processes = int(os.environ["WORLD_SIZE"])
    if processes > 1:
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if ":" in name:
            raise RunError(f"--device {name}: under torchrun each process gets its own device; leave out the number")
        # the other processes wait while the first one harvests, which may take hours
        strategy = DDPStrategy(timeout=timedelta(days=7), cluster_environment=TorchElasticEnvironment())
        fabric = Fabric(accelerator=name, devices=local_processes, num_nodes=processes // local_processes, strategy=strategy)
    else:
        device = pick_device(name)
        devices = [device.index or 0] if device.type == "cuda" else 1
        fabric = Fabric(accelerator=device.type, devices=devices, plugins=[LightningEnvironment()])
    fabric.launch()
    return fabric


def _refuse_copies() -> None:
    """Check that no launcher but ``torchrun`` started this process several times; log a note if it only looks like that."""
    copies = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if copies not in ("", "1"):
        raise RunError(
            f"srun started this command {copies} times, and all of them would write the same files; use srun --ntasks=1, or "
            "start it with torchrun to train on several devices"
        )
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        log(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but torchrun did not start this process; it computes alone (torchrun "
            "trains on several devices)"
        )


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work, so that elapsed time can be measured."""
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
    """Return versions and hardware, as recorded by every run.

    Args:
        device: the device that did the work; default: the fastest one here.
    """
    import torch

    gpu = torch.cuda.is_available() and (device is None or device.type == "cuda")
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": platform.platform(),
        "cpus": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if gpu else "cpu" if device is None else device.type,
        "command": command_line(),
    }
