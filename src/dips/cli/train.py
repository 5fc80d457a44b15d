"""``dips train``: from photos and their class labels to a run folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Data, Device, Problems, Settings, Store, Weights

__all__ = ["train"]


def train(
    data: Data,
    /,
    *,
    out: Annotated[Path, Parameter(help="The run folder to create; an existing one is never overwritten.")],
    recipe: Annotated[
        str | None, Parameter(help="A named set of settings (default, drone, paper, paper-text, demo), or your own TOML file.")
    ] = None,
    settings: Settings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
    resume: Annotated[bool, Parameter(help="Continue an interrupted run.", show_default=False)] = False,
    problems: Problems = None,
) -> int:
    """Train a localizer from photos and their class labels.

    Ground-truth boxes are never trained on. Where validation photos have some, they choose the epoch and the threshold.
    """
    from dips.fitting.fit import fit
    from dips.system.console import first_process

    model = fit(
        data,
        out=out,
        recipe=recipe,
        settings=settings or (),
        weights=weights or (),
        store=store,
        device=device,
        resume=resume,
        problems=problems,
    )
    if first_process():
        run = f'"{model.run}"' if os.name == "nt" else shlex.quote(str(model.run))
        print(f"model   {model.run}")
        print(f"report  {model.run / 'report.html'}")
        print(f"next    dips predict {run} PHOTOS --out DIR")
    return 0
