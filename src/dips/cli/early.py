"""What commands check before they load the networks, which takes seconds: what is mistyped fails at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dips.config import AdaptConfig, PredictConfig
from dips.errors import ConfigError
from dips.system.console import first_process
from dips.system.environment import require_weights
from dips.system.files import require_writable
from dips.system.journal import refuse_existing

__all__ = ["require_adaptation", "require_model", "require_training"]


def require_model(
    run: Path,
    *,
    settings: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    device: str = "auto",
    data: Path | None = None,
    split: str | None = None,
) -> PredictConfig:
    """Check the arguments of a command that opens a run or an exported file, which may still turn out to be damaged.

    Args:
        data: what it is evaluated on, with its ``split``.

    Returns:
        What it predicts with: its own settings, changed by ``settings``.

    Raises:
        ModuleNotFoundError: a run is to be opened, and torch is not installed.
        DipsError: something does not exist, or a setting is wrong.
    """
    from dips.export.description import is_onnx
    from dips.runs.identity import prediction_settings

    if not is_onnx(run):
        _require_torch()
    config = prediction_settings(run, settings or ())
    _require_others(weights, device, data, split)
    return config


def require_training(
    data: Path,
    *,
    out: Path | None = None,
    resume: bool = False,
    split: str | None = None,
    recipe: str | None = None,
    settings: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    device: str = "auto",
    problems: Path | None = None,
) -> None:
    """Check the arguments of a command that trains.

    Args:
        out: the run folder to create, or with ``resume`` to continue; the file ``problems`` may lie in it.

    Raises:
        ModuleNotFoundError: torch is not installed.
        DipsError: something does not exist, or a setting is wrong.
    """
    from dips.config import training_config
    from dips.runs.identity import require_new_run

    _require_torch()
    config = training_config(recipe, settings or ())
    if out is not None and first_process():
        require_new_run(out, config, resume=resume, besides=problems)
    _require_others(weights, device, data, split)


def require_adaptation(
    out: Path,
    *,
    minutes: float | None = None,
    settings: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    device: str = "auto",
) -> AdaptConfig:
    """Check the arguments of a command that adapts a transformer.

    Args:
        out: the file to create.
        minutes: as ``adapt.minutes``.

    Returns:
        What it learns with.

    Raises:
        ModuleNotFoundError: torch is not installed.
        DipsError: something does not exist, a setting is wrong, or ``out`` cannot be made.
    """
    from dips.config import adapt_config

    _require_torch()
    given = list(settings or ())
    if minutes is not None:
        if both := [item for item in given if item.strip().startswith(("adapt.minutes", "adapt.steps"))]:
            raise ConfigError(f"--set {both[0]}: --minutes says how long, too; leave one out")
        given.append(f"adapt.minutes={minutes}")
    config = adapt_config(given)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: the name of a weight file must end in .safetensors")
    if out.exists():
        refuse_existing(out)
    require_writable(out)
    _require_others(weights, device, None, None)
    return config


def _require_torch() -> None:
    if find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def _require_others(weights: Sequence[str] | None, device: str, data: Path | None, split: str | None) -> None:
    from dips.data.load import require_split
    from dips.system.device import require_device_name

    for item in weights or ():
        require_weights(item)
    require_device_name(device)
    if data is not None:
        require_split(data, split)
