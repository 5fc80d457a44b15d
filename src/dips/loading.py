""":func:`load` opens a trained model: a run folder, or a file exported from one."""

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
    """Open a run folder, or an ``.onnx`` file, which does not need torch.

    .. code-block:: python

        model = dips.load("runs/tower", settings=["predict.threshold=0.4"])
        for prediction in model.predict("photos/new"):
            print(prediction.path, prediction.boxes)

    Args:
        run: the folder written by :func:`dips.fit` or the file written by :meth:`dips.Model.export`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; files cannot use ``mps``.
        settings: ``predict.name=value`` strings.
        weights: where to look for the transformer's weights, if the run needs them; a file contains all of its weights.

    Raises:
        RunError: there is no trained model, it is damaged, or the device cannot be used.
        ConfigError: a setting that was fixed by the training or the export, or weights given for a file.
    """
    from dips.export.description import is_onnx

    if is_onnx(run):
        if weights:
            raise ConfigError(f"--weights: {run} contains all weights that it needs; leave the option out")
        from dips.export.onnx_model import load_onnx

        return load_onnx(run, settings=settings, device=device)
    from dips.model import Model

    return Model.open(run, device=device, settings=settings, weights=weights)
