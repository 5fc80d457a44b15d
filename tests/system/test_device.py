"""Devices, seeds, and what a run records of its environment."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dips.errors import RunError
from dips.system.device import environment, launch_fabric, pick_device, require_device_name, seed_everything


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "", "meta", "cpu "])
def test_an_unknown_device_names_the_known_ones(name: str) -> None:
    for check in (pick_device, require_device_name):
        with pytest.raises(RunError) as found:
            check(name)
        assert str(found.value) == f"there is no device '{name}'; --device takes auto, cpu, cuda, mps"


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(RunError, match=r"'cuda:99' cannot be used.*--device cpu"):
        pick_device("cuda:99")
    with pytest.raises(RunError, match=r"'cuda:1000' cannot be used.*--device cpu"):
        pick_device("cuda:1000")


@pytest.mark.parametrize(("given", "threads"), [("", 2), ("3", 3)])
def test_torch_keeps_to_the_cores_of_a_container(monkeypatch: pytest.MonkeyPatch, given: str, threads: int) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr("dips.system.device.usable_cores", lambda: 2)
    try:
        torch.set_num_threads(3)
        pick_device("cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


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


SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "2",
    "SLURM_JOB_NAME": "train.sh",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "n[1-2]",
}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (SLURM, ""),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "0"}, ""),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but torchrun did not start this process; it computes alone"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "3", "MASTER_PORT": "29500"}, "WORLD_SIZE is 4"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is two"),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}, ""),
        ({"LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "x", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "2"}, ""),
    ],
)
def test_what_a_cluster_leaves_in_the_environment_starts_no_second_process(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fabric = launch_fabric("cpu")
    assert (fabric.world_size, fabric.is_global_zero) == (1, True)
    fabric.barrier()
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(said) for line in lines] == ([True] if said else [])


def test_copies_that_srun_started_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        RunError, match=r"srun started this command 2 times, .*; use srun --ntasks=1, or start it with torchrun"
    ):
        launch_fabric("cpu")
