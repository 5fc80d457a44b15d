"""Reads weight files into a flat dictionary of tensors, without timm, and without running code from the file.

``.safetensors`` is read by safetensors, ``.pth``/``.pt``/``.bin`` by torch with ``weights_only``, ``.onnx`` from its
initialisers. The usual wrappers of a state dict are removed; names are otherwise unchanged.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dips.errors import WeightsError

__all__ = ["SUFFIXES", "read_state", "unwrap"]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".onnx")

_WRAPPERS = ("teacher", "state_dict", "model")
_MAX_WRAPPERS = 16  # a dictionary in a file may contain itself
_PREFIXES = ("module.", "backbone.")
_MAX_CLAIM = 8  # weights may be shared by several names, but a tensor that repeats one value can claim any size
_DAMAGED = "is damaged or incomplete; fetch it again"
_CODE = ("Unsupported global", "Unsupported class", "Trying to")  # how torch words that it refuses to run something


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one weight file onto the CPU, floating ones as float32.

    Raises:
        WeightsError: the file is missing, damaged, of an unknown kind, holds other objects than tensors, claims far more
            numbers than it stores, or is an ONNX file that stores tensors in other files, or the package ``onnx`` is not
            installed.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}; check --weights and DIPS_WEIGHTS")
    if path.suffix == ".safetensors":
        raw: Any = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt", ".bin"):
        raw = _read_torch(path)
    elif path.suffix == ".onnx":
        from dips.models.weights.onnx_reader import read_onnx

        raw = read_onnx(path)
    else:
        raise WeightsError(f"{path}: unknown kind of weight file; there are {', '.join(SUFFIXES)}")
    state = unwrap(raw)
    if not state:
        raise WeightsError(f"{path} holds no tensors of a network; save its state_dict")
    claimed, size = sum(value.numel() * value.element_size() for value in state.values()), path.stat().st_size
    if claimed > _MAX_CLAIM * size + 2**20:
        raise WeightsError(
            f"{path} claims {claimed:,} bytes of weights in a file of {size:,}: it repeats a few values; save contiguous copies"
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def unwrap(raw: Any) -> dict[str, Tensor]:
    """Return the network's own state dict from what training programs save.

    Descends into ``teacher``, ``state_dict`` and ``model``, removes the prefixes ``module.`` and ``backbone.``, and
    drops what lies beside a ``backbone.`` (projection heads of self-supervised training). For a dictionary that is wrapped
    endlessly, the result is empty.
    """
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(raw, Mapping):
            break
        inner = next((raw[key] for key in _WRAPPERS if isinstance(raw.get(key), Mapping)), None)
        if inner is None:
            break
        raw = inner
    if not isinstance(raw, Mapping):
        return {}
    state = {name: value for name, value in raw.items() if isinstance(name, str) and isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = inside or state
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} {_DAMAGED} ({error})") from error


def _read_torch(path: Path) -> Any:
    try:
        # DINO's training checkpoints hold their command line beside the tensors; a Namespace cannot run code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if any(words in str(error) for words in _CODE):
            raise WeightsError(
                f"{path} holds Python objects beside tensors, which could run code when loaded, and is refused; "
                "save the tensors alone, best as .safetensors"
            ) from error
        raise WeightsError(f"{path} {_DAMAGED}") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise WeightsError(
            f"{path} {_DAMAGED} ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
