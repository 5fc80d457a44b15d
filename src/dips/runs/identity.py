"""Which model a run folder or an exported file holds, and its settings; needs neither torch nor onnxruntime."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from dips.config import Config, PredictConfig, load_config, require_prediction
from dips.errors import ConfigError, RunError
from dips.export.description import is_onnx, read_description
from dips.runs.records import CONFIG, MODEL, REMEDY, read_model_record
from dips.system.files import file_sha256, is_unused
from dips.system.journal import refuse_other_work
from dips.system.names import as_text

__all__ = ["class_names", "identity", "prediction_settings", "require_new_run", "run_config"]


def identity(run: Path) -> dict[str, str]:
    """Return checksums that identify a model.

    Returns:
        ``model``: SHA-256 of the run's ``model.json``, which contains that of the weights; a run and its exports are the same
        model. ``file``: SHA-256 of an exported file. "" if the file is missing or damaged; opening it reports why.
    """
    if not is_onnx(run):
        return {"model": file_sha256(run / MODEL) if (run / MODEL).is_file() else ""}
    try:
        return {"model": read_description(run).model, "file": file_sha256(run)}
    except RunError:
        return {"model": "", "file": ""}


def run_config(run: Path, settings: Sequence[str] = ()) -> Config:
    """Return the settings that a run was trained with, those of prediction overridden by ``predict.name=value`` strings.

    Raises:
        RunError: the folder holds no run, or its settings are damaged.
        ConfigError: a setting that does not exist, or is fixed by the training.
    """
    require_prediction(settings)
    if not (run / CONFIG).is_file():
        raise RunError(f"{run} is not a run folder ({CONFIG} is missing); give the folder that 'dips train --out' wrote")
    try:
        config = load_config(run / CONFIG)
    except ConfigError as error:
        raise RunError(f"{error}; it is damaged or of another version: {REMEDY}") from error
    return config.override(settings)


def prediction_settings(model: Path, settings: Sequence[str] = ()) -> PredictConfig:
    """Return the settings that a run or an exported file predicts with, overridden by ``predict.name=value`` strings.

    Raises:
        RunError: there is no model, or it is damaged.
        ConfigError: as in :func:`run_config`.
    """
    if not is_onnx(model):
        return run_config(model, settings).predict
    exported = dataclasses.replace(Config(), predict=read_description(model).predict)
    require_prediction(settings)
    return exported.override(settings).predict


def require_new_run(run: Path, config: Config, *, resume: bool, besides: Path | None = None) -> None:
    """Check that a training would overwrite nothing that it must not, before any work is done.

    Args:
        besides: the file of another option, which may lie in the folder.

    Raises:
        RunError: the folder holds something else or, without ``resume``, anything at all.
    """
    settings = run / CONFIG
    if is_unused(run, besides):
        return
    if not resume:
        raise RunError(f"{run} already exists; nothing was changed. Choose another --out, or continue it with --resume")
    if not settings.is_file():
        raise RunError(f"{run} is not a run folder ({CONFIG} is missing); nothing was changed. Choose another --out")
    changed = load_config(settings).differences(config)
    refuse_other_work(
        run,
        "a run",
        [f"other settings ({', '.join(changed)})"] if changed else [],
        remedy="repeat the command with the same settings, or choose another --out",
    )


def class_names(run: Path) -> tuple[str, ...]:
    """Return the names of all classes as text, in the model's order.

    Raises:
        RunError: it holds no finished run, or is damaged.
    """
    classes = read_description(run).classes if is_onnx(run) else read_model_record(run).meta.classes
    return tuple(map(as_text, classes))
