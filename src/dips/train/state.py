"""What a run writes while it trains: ``metrics.jsonl``, and the state from which it resumes.

The state is one safetensors file (weights, their average, the optimiser, the best weights so far) with the scalars as JSON in
its header: a single rename replaces it as a whole, and no pickle is read. Random numbers need no state: they follow from the
seed, the epoch and the step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dips.errors import RunError
from dips.system.files import atomic_file
from dips.system.records import Record

__all__ = [
    "METRICS",
    "STATE",
    "Progress",
    "append_metrics",
    "flatten_optimizer",
    "load_state",
    "restore_optimizer",
    "save_state",
    "trim_metrics",
]

T = TypeVar("T")

METRICS = "metrics.jsonl"
STATE = "resume.safetensors"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the current epoch.
        updates: finished steps of all epochs, as the moving average counts them.
        best_epoch: epoch of the best weights, counted from 1; 0 = none yet.
        best_metrics: its validation metrics.
        sums: losses summed over the epoch's steps so far.
        epoch_seconds: time spent in this epoch so far.
        seconds: time spent in whole epochs.
        run: what a resumed run must have in common with this one: settings, number of photos and processes.

    Example:
        >>> Progress(epoch=2, step=5).best_epoch
        0
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    run: dict[str, Any] = field(default_factory=dict)


class _MetricsLine(Record, frozen=True, kw_only=True):
    """The part of a line of ``metrics.jsonl`` that is read back; the other keys are losses and validation results by name."""

    epoch: int = 0


def save_state(path: Path, progress: Any, parts: dict[str, dict[str, Tensor]]) -> None:
    """Write the state atomically.

    Args:
        progress: the scalars, a dataclass: :class:`Progress`, or that of another loop.
        parts: tensors by name for each part of the state: ``model``, ``average``, ``optimizer``, ``best``.
    """
    tensors = {
        f"{part}/{name}": value.detach().to("cpu", copy=True).contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    text = json.dumps(asdict(progress))
    with atomic_file(path, "wb") as file:
        file.write(save(tensors, {"progress": text, "sha256": _checksum(text, tensors)}))


def _checksum(progress: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the scalars and of tensors on the CPU."""
    digest = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_state(path: Path, kind: type[T]) -> tuple[T, dict[str, dict[str, Tensor]]]:
    """Read what :func:`save_state` wrote: the scalars as a dataclass of type ``kind``, tensors on the CPU.

    Raises:
        RunError: the file is damaged.
    """
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            # Python's JSON, as validation may have returned NaN, which no other parser reads
            notes = file.metadata()
            progress = msgspec.convert(json.loads(notes["progress"]), kind)
            for key in file.keys():  # noqa: SIM118 - not a dict
                tensors[key] = file.get_tensor(key)
            if _checksum(notes["progress"], tensors) != notes["sha256"]:
                raise ValueError("its checksum does not match")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise RunError(f"{path} cannot be resumed from ({error}); remove it and train from the start") from error
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    return progress, parts


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as tensors named ``parameter.entry``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, each in state.items()
        for key, value in each.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo :func:`flatten_optimizer`, keeping the groups of ``optimizer``."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if value.shape == parameter.shape and value.dim() > 1:
                # The file holds contiguous layouts; one that differs from the parameter's may round differently.
                entries[key] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def append_metrics(path: Path, record: dict[str, Any]) -> None:
    """Append one line and flush it to the disk; what is not finite becomes null."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space") from error


def trim_metrics(path: Path, epoch: int) -> None:
    """Drop the lines of epochs after ``epoch`` (counted from 1) and a last line cut short by a kill."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(msgspec.DecodeError, RecursionError):
            if msgspec.json.decode(line, type=_MetricsLine).epoch <= epoch:
                lines.append(line + "\n")
    with atomic_file(path) as file:
        file.writelines(lines)
