"""``dips train``: from photos and their class labels to a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Data, Device, Settings, Store, Weights

__all__ = ["train"]


def train(
    data: Data,
    /,
    *,
    out: Annotated[Path, Parameter(help="The run folder to make; one that exists is never overwritten.")],
    recipe: Annotated[
        str | None, Parameter(help="Settings with a name: default, drone, paper, demo; or a TOML file of your own.")
    ] = None,
    settings: Settings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
    resume: Annotated[bool, Parameter(help="Go on with a run that was interrupted.", show_default=False)] = False,
) -> int:
    """Train a localizer from photos and their class labels.

    True boxes are used for nothing but, on the validation part, the choice of epoch and threshold, where there are any.
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
    )
    if not first_process():
        return 0
    print(f"model   {model.run}")
    print(f"report  {model.run / 'report.html'}")
    print(f"next    dips predict {_quoted(model.run)} PHOTOS --out DIR")
    return 0


def _quoted(path: Path) -> str:
    if os.name == "nt":
        return f'"{path}"'
    import shlex

    return shlex.quote(str(path))
