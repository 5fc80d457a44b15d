"""``dips adapt``: from unlabelled photos to weights of a transformer that knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_adaptation
from dips.cli.options import AdaptSettings, Device, Photos, Problems, Weights
from dips.system.console import counted, first_process, say
from dips.system.environment import quoted

__all__ = ["adapt"]


def adapt(
    photos: Photos,
    /,
    *,
    out: Annotated[Path, Parameter(help="The weight file to create, NAME.safetensors, for --weights of other commands.")],
    minutes: Annotated[
        float | None,
        Parameter(help="About how many minutes to train; the same as --set adapt.minutes. Default: 10.", show_default=False),
    ] = None,
    settings: AdaptSettings = None,
    weights: Weights = None,
    device: Device = "auto",
    problems: Problems = None,
) -> int:
    """Adapt the transformer to your own photos, which need no labels, by continuing its self-supervised training (DINO).

    Whether it helps is yours to measure: compare 'dips train' with and without the new weights.

    Repeat an interrupted command to continue where it stopped.
    """
    config = require_adaptation(out, minutes=minutes, settings=settings, weights=weights, device=device)
    from dips.data.problems import ProblemList
    from dips.data.sources import read_source

    told = ProblemList(problems)
    found = read_source(photos, leave_out=out)
    from dips.adaptation.adapt import adapt as run  # torch

    done = run(found, out=out, config=config, weights=weights or (), device=device, problems=told)
    if first_process():
        record = done.record
        first, last = record.checks[0], record.checks[-1]
        say(f"weights {out}    ({record.note})")
        say(f"learned {counted(record.steps, 'step')} in {record.seconds / 60:.1f} min")
        say(
            f"loss    {record.checks[1]['loss']:.3f} up to the first check, {last['loss']:.3f} at the end; spread of features "
            f"{first['spread']:.3f} before, {last['spread']:.3f} after"
        )
        if done.skipped:
            say(f"{counted(done.skipped, 'photo')} could not be read")
        say(f"next    dips train DATA --out RUN --weights {quoted(out)}    (and once without, to compare)")
    return 1 if done.skipped else 0
