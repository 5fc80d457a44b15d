"""``dips export``: from a run to one file that predicts without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_model
from dips.cli.options import PredictSettings, Run, Weights
from dips.errors import ConfigError, DataError
from dips.system.console import log, say
from dips.system.environment import quoted

__all__ = ["export"]


def export(
    run: Run,
    /,
    *,
    format: Annotated[str, Parameter(help="Format of the file; only onnx.")] = "onnx",
    out: Annotated[
        Path | None, Parameter(help="The file to write; default: RUN's name with .onnx, in the current folder.")
    ] = None,
    photos: Annotated[
        Path | None,
        Parameter(help="Photos on which torch and onnxruntime are compared; default: the training photos, if still there."),
    ] = None,
    tolerance: Annotated[float, Parameter(help="Largest accepted difference of a score or a probability.")] = 1e-3,
    int8: Annotated[
        Path | None,
        Parameter(
            name="--int8",
            help="Training photos: write the model in 8 bits, calibrated on some of them; less than half as large, but with "
            "other boxes in some photos.",
        ),
    ] = None,
    settings: PredictSettings = None,
    weights: Weights = None,
) -> int:
    """Export a run as one file, for 'dips predict' on machines without torch and for other programs that read ONNX.

    The file is first compared with the run on photos; if they differ, nothing is written.
    """
    if format != "onnx":
        raise ConfigError(f"--format: '{format}' is unknown; there is only onnx")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError(f"--tolerance must be a number above 0, not {tolerance}")
    require_model(run, settings=settings, weights=weights)
    for folder in filter(None, (photos, int8)):
        if not folder.exists():
            raise DataError(f"{folder} does not exist; give photos or a folder of photos")
    from dips.export.onnx import require_new
    from dips.model import Model

    path = Path(f"{run.resolve().name}.onnx") if out is None else out
    require_new(path)
    log(f"exporting to {path.absolute()}")
    model = Model.open(run, device="cpu", settings=settings or (), weights=weights or ())
    differences = model.export(path, photos=photos, tolerance=tolerance, int8=int8)
    say(f"model     {path.absolute()} ({path.stat().st_size / 1e6:.0f} MB)")
    say(f"compared  {differences.line()}")
    for photo in differences.other_boxes:
        say(f"          other boxes in {photo}")
    say(f"next      dips predict {quoted(path)} PHOTOS --out DIR")
    return 0
