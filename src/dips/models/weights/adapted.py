"""Weights made by ``dips adapt``: a safetensors file whose header records which network it is, and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dips.errors import WeightsError
from dips.system.files import atomic_file
from dips.system.records import Record, parse_record, to_json

__all__ = ["Adapted", "read_adapted", "write_adapted"]

_KEY = "dips.adapted"
_REMEDY = "make it again with 'dips adapt'"


class Adapted(Record, frozen=True, kw_only=True):
    """The record of an adaptation, stored as JSON in the header under ``dips.adapted``.

    Attributes:
        arch: timm's name.
        note: what a reader of any result must know about the weights.
        licence: licence of the initial weights, if known.
        source: the initial weights, as described by :meth:`~dips.models.weights.resolve.Weights.record`, including their hash.
        photos: number of photos trained on.
        fingerprint: SHA-256 over the hashes of these photos' files, independent of their order.
        settings: settings of the stage ``adapt``.
        steps: number of optimiser steps.
        seconds: time from the first step to the last, with the checks and saves between them; interruptions do not count.
        checks: losses and indicators of collapse, by name; the first check is before any step.
        environment: versions and hardware.
    """

    schema_version: int = 1
    arch: str
    note: str
    licence: str = ""
    source: dict[str, str] = msgspec.field(default_factory=dict)
    photos: int = 0
    fingerprint: str = ""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    checks: list[dict[str, Any]] = msgspec.field(default_factory=list)
    environment: dict[str, Any] = msgspec.field(default_factory=dict)


def write_adapted(path: Path, state: Mapping[str, Tensor], record: Adapted) -> None:
    """Write weights with their record, atomically.

    Args:
        state: tensors as timm names them.

    Raises:
        RunError: the file cannot be written.
    """
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    with atomic_file(path, "wb") as file:
        file.write(save(tensors, {"format": "pt", _KEY: to_json(record)}))


def read_adapted(path: Path) -> Adapted | None:
    """Return the record of a weight file; None for a file of any other origin. No tensor is loaded.

    Raises:
        WeightsError: the record is damaged, or of another version.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError, ValueError):
        return None  # what is wrong is reported when the tensors are read
    return None if text is None else parse_record(text, Adapted, source=path, remedy=_REMEDY, error=WeightsError)
