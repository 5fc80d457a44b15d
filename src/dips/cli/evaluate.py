"""``dips evaluate``: a run against ground-truth boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_model
from dips.cli.options import Data, Device, Plots, PredictSettings, Problems, ProtocolName, Run, Weights
from dips.system.console import say

__all__ = ["evaluate"]


def evaluate(
    run: Run,
    data: Data,
    /,
    *,
    split: Annotated[str, Parameter(help="The part of DATA: test, val, train, all, or the name of a folder in it.")] = "test",
    protocol: ProtocolName = "wsol-224",
    json: Annotated[Path | None, Parameter(help="Also write every number to this file.")] = None,
    plots: Plots = None,
    photos: Annotated[int, Parameter(help="Number of photos in the report: the worst, the best and some others.")] = 300,
    settings: PredictSettings = None,
    weights: Weights = None,
    device: Device = "auto",
    problems: Problems = None,
) -> int:
    """Evaluate a run against ground-truth boxes, next to training-free baselines, and update its report."""
    from dips.cli.tables import print_evaluation, write_figures
    from dips.evaluate.protocol import find_protocol
    from dips.system.files import require_distinct

    require_distinct({"--json": json, "--problems": problems})
    find_protocol(protocol)
    require_model(run, settings=settings, weights=weights, device=device, data=data, split=split)
    from dips.model import Model  # torch

    model = Model.open(run, device=device, settings=settings or (), weights=weights or ())
    result = model.evaluate(data, split=split, json_path=json, protocol=protocol, photos=photos, problems=problems)
    write_figures(plots, result)
    print_evaluation(result)
    say(f"report  {run / 'report.html'}")
    return 0
