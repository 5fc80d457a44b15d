"""``dips merge``: from finished shards to one result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.messages import filled
from dips.cli.options import Problems, path_or_url
from dips.errors import ConfigError, RunError
from dips.system.names import scheme_of

__all__ = ["merge"]


def merge(
    out: Annotated[
        str,  # a harvest at file:///... is not that of the folder
        Parameter(
            name="OUT",
            help="The folder or URL that was given to the tasks as --out, or for a harvest as --store.",
        ),
    ],
    /,
    *,
    store: Annotated[
        Path | None,
        Parameter(help="For a harvest at a URL: the folder of the store that is made of it (default: ~/.cache/dips/store)."),
    ] = None,
    problems: Problems = None,
) -> int:
    """Make one result of what the tasks of an array have done, once all of it is done.

    A command that works alone does so itself. What is missing is named; repeat the tasks that were to do it.
    """
    from dips.shards.plan import read_plan, work_of

    work = work_of(out)
    if work.names("harvests"):
        if problems is not None:
            raise ConfigError(f"--problems: {out} holds a harvest; 'dips check DATA --problems FILE' writes those of its data")
        return _harvests(out, store)
    plan = read_plan(work)
    if plan is None:
        if not scheme_of(out) and not Path(out).exists():
            raise RunError(f"there is no folder {out}; name the --out, or the --store, of the tasks")
        raise RunError(f"there is nothing to merge: {work.place} holds no plan, so {out} is complete, or another folder")
    if (end := _ENDS.get(str(plan.identity.get("work")))) is None:
        raise RunError(f"{out} holds work that this version of DiPS does not know; use the one that began it")
    if store is not None:
        raise ConfigError(f"--store {store} is for a harvest that was collected at a URL, and {out} holds none; leave it out")
    return end(out, problems)


def _predictions(out: str, problems: Path | None) -> int:
    from dips.data.problems import ProblemList
    from dips.predict.folder import require_other
    from dips.predict.merging import merge_predictions

    place = path_or_url(out)
    if problems is not None:
        require_other(place, "--problems", problems)
    told = ProblemList(problems)
    return filled(merge_predictions(place, told.add), place, told, explain=True)


def _scores(out: str, problems: Path | None) -> int:
    from dips.benchmark.score import merge_scores
    from dips.cli.tables import print_evaluation

    print_evaluation(merge_scores(out, problems))
    return 0


def _harvests(out: str, store: Path | None) -> int:
    from dips.batch.harvest import merge_harvests
    from dips.cli.harvest import tell_harvest

    done = merge_harvests(out, store)
    return 0 if done is None else tell_harvest(done.photos, done.is_done, done.store)


_ENDS: Mapping[str, Callable[[str, Path | None], int]] = {"predict": _predictions, "score": _scores}
"""What ends a piece of work, by what its plan says that it is."""
