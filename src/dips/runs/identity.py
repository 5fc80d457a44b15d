"""Which model a run folder or an exported file holds, without loading it: needs neither torch nor onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

from dips.errors import RunError
from dips.export.onnx_model import KEY, About, is_onnx
from dips.export.wire import metadata
from dips.system.files import file_sha256

__all__ = ["identity", "known_classes"]


def identity(run: Path) -> dict[str, str]:
    """``model``: SHA-256 of the run's ``model.json``, which knows the weights; ``file``: that of an exported file.

    A run and what was exported from it are the same model. "" where the file is missing or damaged; opening it says why.
    """
    if not is_onnx(run):
        model = run / "model.json"
        return {"model": file_sha256(model) if model.is_file() else ""}
    try:
        return {"model": _about(run).model, "file": file_sha256(run)}
    except RunError:
        return {"model": "", "file": ""}


def known_classes(run: Path) -> tuple[str, ...]:
    """Names of all classes in the model's order.

    Raises:
        RunError: it holds no finished run, or is damaged.
    """
    if is_onnx(run):
        return _about(run).classes
    model = run / "model.json"
    if not model.is_file():
        raise RunError(f"{run} holds no finished run (model.json is missing); give the folder that 'dips train' wrote")
    try:
        return tuple(json.loads(model.read_text(encoding="utf-8"))["meta"]["classes"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{model} is damaged ({error}); copy the run again") from error


def _about(file: Path) -> About:
    try:
        return About.from_json(metadata(file.read_bytes())[KEY])
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{file} is no file that 'dips export' wrote, or a damaged one ({error}); export it again") from error
