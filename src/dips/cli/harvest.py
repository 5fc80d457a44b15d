"""``dips harvest``: what a training does before its first epoch, by any number of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_training
from dips.cli.options import ALONE, CrewOptions, Data, Device, Problems, Settings, Weights
from dips.system.console import counted, say
from dips.system.environment import quoted

__all__ = ["harvest", "tell_harvest"]


def harvest(
    data: Data,
    /,
    *,
    store: Annotated[
        str | None,
        Parameter(
            help="The folder to fill, which 'dips train --store' then uses (default: ~/.cache/dips/store); or a URL to collect "
            "at, of which 'dips merge URL --store FOLDER' makes such a folder."
        ),
    ] = None,
    recipe: Annotated[str | None, Parameter(help="As for 'dips train': name of a recipe, or your own TOML file.")] = None,
    settings: Settings = None,
    weights: Weights = None,
    device: Device = "auto",
    problems: Problems = None,
    reviewed: Annotated[Path | None, Parameter(help="As for 'dips train'.")] = None,
    workforce: CrewOptions = ALONE,
) -> int:
    """Do what a training does with each photo before its first epoch, with several processes or machines.

    'dips train' with the same DATA, settings and --store finds everything there, and runs no network over the photos.

    Repeat an interrupted command to continue where it stopped.
    """
    require_training(data, recipe=recipe, settings=settings, weights=weights, device=device)
    from dips.batch.harvest import harvest as run  # torch
    from dips.system.environment import store_folder

    crew = workforce.crew()
    done = run(
        data,
        store=store,
        recipe=recipe,
        settings=settings or (),
        weights=weights or (),
        reviewed=reviewed,
        device=device,
        crew=crew,
        problems=problems,
    )
    if done is not None:
        return tell_harvest(done.photos, done.is_done, store_folder(store))
    if store is not None and not crew.is_task:  # they are told what is left, and what comes then
        say(f"next    dips merge {quoted(store)} --store FOLDER")
    return 0


def tell_harvest(photos: int, is_done: bool, store: Path) -> int:
    """Print what a harvest came to, and return the exit code."""
    if is_done:
        say(f"{counted(photos, 'photo')} in the store {store}")
        say(f"next    dips train DATA --out RUN --store {quoted(store)}    (with the same settings)")
    else:
        say(f"what the CNN sees of {counted(photos, 'photo')} is in the store {store}")
        say("next    the same 'dips harvest' again, for the U-Net's maps")
    return 0
