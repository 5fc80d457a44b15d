"""Which part of the work this process does as one of several tasks: from ``--shard``, or from the scheduler's variables.

A single stray variable changes nothing: all variables of a scheduler must be set, and there must be several tasks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dips.errors import ConfigError
from dips.system.environment import torchrun_rank

__all__ = ["Turn", "parse_turn", "scheduled_turn"]

_KUBERNETES = "JOB_COMPLETION_INDEX"
_MOST_REAL_STEPS = 0xFFFF0000  # of Slurm; higher ids denote batch scripts and interactive shells


class Turn(NamedTuple):
    """The index of this process among several tasks.

    Attributes:
        number: index of the task, from 0.
        of: number of tasks.
        source: the variables it was read from, with their values; empty if the user specified it.
    """

    number: int
    of: int
    source: str = ""


def parse_turn(text: str, environment: Mapping[str, str] = os.environ) -> Turn:
    """Parse ``--shard``: ``I/N``, counted from 1, or ``auto/N`` with the number from a scheduler such as Kubernetes.

    Raises:
        ConfigError: it is neither, or the scheduler provides no such number.

    >>> parse_turn("17/400")
    Turn(number=16, of=400, source='')
    """
    match = re.fullmatch(r"\s*(auto|\d+)\s*/\s*(\d+)\s*", text, flags=re.ASCII)
    if match is None:
        raise ConfigError(f"--shard takes I/N, the I-th of N tasks, e.g. 17/400, or auto/N, not '{text}'")
    of = int(match[2])
    if match[1] == "auto":
        return _numbered(of, environment)
    number = int(match[1])
    if not 1 <= number <= of:
        raise ConfigError(f"--shard {text}: the tasks are counted from 1 to {of}")
    return Turn(number - 1, of)


def _numbered(of: int, environment: Mapping[str, str]) -> Turn:
    turn = Turn(0, 1) if of == 1 else scheduled_turn(environment)
    if turn is None and (text := environment.get(_KUBERNETES)) is not None:
        turn = Turn(_number(_KUBERNETES, text), of, f"{_KUBERNETES}={text}")
    if turn is None:
        raise ConfigError(f"--shard auto/{of}: no scheduler says which task this is; give its number, --shard I/{of}")
    if turn.number >= of or turn.of != of:
        raise ConfigError(f"--shard auto/{of}: {turn.source} is no task of {of}; give N as the scheduler has it")
    return turn


def scheduled_turn(environment: Mapping[str, str] = os.environ) -> Turn | None:
    """Return which of several tasks this process is, according to its scheduler; None without a scheduler, or with one task.

    Raises:
        ConfigError: the variables contradict each other.
    """
    for find in _SCHEDULERS:
        turn = find(environment)
        if turn is not None and turn.of > 1:
            if not 0 <= turn.number < turn.of:
                raise ConfigError(f"{turn.source} is no task of {turn.of}; say which one this is, --shard I/{turn.of}")
            return turn
    return None


def unnumbered_task(environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable, with its value, of a scheduler that numbers its tasks but does not provide their total."""
    return f"{_KUBERNETES}={environment[_KUBERNETES]}" if _KUBERNETES in environment else ""


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text, flags=re.ASCII):
        raise ConfigError(f"{name}={text} is no number of a task; say which one this is, --shard I/N, or 1/1 to work alone")
    return int(text)


def _slurm_array(environment: Mapping[str, str]) -> Turn | None:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "STEP")]
    if not all(environment.get(name) for name in names):
        return None
    task, count, low, step = (_number(name, environment[name]) for name in names)
    number, rest = divmod(task - low, max(1, step))
    if rest or not 0 <= number < max(1, count):
        raise ConfigError(
            f"SLURM_ARRAY_TASK_ID={task} is no place in a range of {count} tasks from {low}; submit a range, e.g. "
            f"--array=1-{count}: what is done is not done again"
        )
    return Turn(number, count, f"SLURM_ARRAY_TASK_ID={task}")


def _grid_engine(environment: Mapping[str, str]) -> Turn | None:
    names = [f"SGE_TASK_{name}" for name in ("ID", "FIRST", "LAST", "STEPSIZE")]
    if not all(environment.get(name, "undefined") not in ("", "undefined") for name in names):
        return None
    task, first, last, step = (_number(name, environment[name]) for name in names)
    step = max(1, step)
    return Turn((task - first) // step, (last - first) // step + 1, f"SGE_TASK_ID={task}")


def _torchrun(environment: Mapping[str, str]) -> Turn | None:
    rank = torchrun_rank(environment)
    return None if rank is None else Turn(rank, int(environment["WORLD_SIZE"]), f"RANK={rank} of torchrun")


def _srun(environment: Mapping[str, str]) -> Turn | None:
    """Return the task of a job step; batch scripts and interactive shells have the same variables, but run alone."""
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID")
    if not all(environment.get(name) for name in names) or "SLURM_PTY_PORT" in environment:
        return None
    task, count, step = (_number(name, environment[name]) for name in names)
    return Turn(task, count, f"SLURM_PROCID={task} of srun") if step < _MOST_REAL_STEPS else None


def _counted(index: str, count: str) -> Callable[[Mapping[str, str]], Turn | None]:
    """Return a function that reads a task from two variables, its index from 0 and the number of tasks."""

    def find(environment: Mapping[str, str]) -> Turn | None:
        if not (environment.get(index) and environment.get(count)):
            return None
        task = _number(index, environment[index])
        return Turn(task, _number(count, environment[count]), f"{index}={task}")

    return find


_SCHEDULERS = (
    _slurm_array,
    _grid_engine,
    _counted("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    _counted("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),  # of Google Cloud Batch
    _counted("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    _torchrun,
    _srun,
)
