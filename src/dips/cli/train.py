"""``dips train``: from photos and their class labels to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_training
from dips.cli.options import Data, Device, Problems, Settings, Store, Weights
from dips.system.console import first_process, say
from dips.system.environment import quoted

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
    reviewed: Annotated[
        Path | None,
        Parameter(
            help="Boxes that a person confirmed or drew on some of the photos, to be trained on: a prediction folder that was "
            "reviewed with 'dips view', or a COCO file in which all objects of its photos are annotated."
        ),
    ] = None,
) -> int:
    """Train a localizer from photos and their class labels.

    Ground-truth boxes of DATA are never trained on. Where validation photos have some, they choose the epoch and the threshold.
    """
    require_training(
        data, out=out, resume=resume, recipe=recipe, settings=settings, weights=weights, device=device, problems=problems
    )
    from dips.fitting.fit import fit  # torch

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
        reviewed=reviewed,
    )
    if first_process():
        say(f"model   {model.run}")
        say(f"look    {model.run / 'report.html'}    (first: what it finds in your own photos)")
        say(f"next    dips predict {quoted(model.run)} PHOTOS --out DIR")
    return 0
