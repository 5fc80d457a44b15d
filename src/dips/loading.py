""":func:`load` opens whatever can predict: a run folder, or a file that was exported from one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dips.errors import ConfigError

if TYPE_CHECKING:
    from dips.export.onnx_model import OnnxModel
    from dips.model import Model

__all__ = ["load"]


def load(
    run: str | Path, *, device: str = "auto", settings: Sequence[str] = (), weights: Sequence[str] = ()
) -> Model | OnnxModel:
    """Open a run folder, see :meth:`dips.model.Model.open`, or, without torch, a file that ends in ``.onnx``.

    Args:
        settings: ``predict.name=value`` strings.
        weights: where to look for the transformer's weights, if a run needs it.

    Raises:
        RunError: there is no trained model, or a damaged one.
        ConfigError: a setting that is fixed by the training or the export.
    """
    from dips.export.onnx_model import is_onnx, load_onnx

    if is_onnx(run):
        if weights:
            raise ConfigError(f"--weights: {run} holds all weights that it needs; leave them out")
        return load_onnx(run, settings=settings, device=device)
    from dips.model import Model

    return Model.open(run, device=device, settings=settings, weights=weights)
