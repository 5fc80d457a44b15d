"""``dips merge``: from finished shards to one result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.messages import filled
from dips.errors import RunError

__all__ = ["merge"]


def merge(
    out: Annotated[Path, Parameter(name="OUT", help="The folder that was given to the tasks as --out.")],
    /,
) -> int:
    """Make one result of what the tasks of an array have done, once all of it is done.

    A command that works alone does so itself. What is missing is named; repeat the tasks that were to do it.
    """
    from dips.shards.files import LocalFiles
    from dips.shards.plan import WORK, read_plan

    plan = read_plan(LocalFiles(out / WORK))
    if plan is None:
        raise RunError(f"there is nothing to merge: {out / WORK} holds no plan, so {out} is complete, or another folder")
    if (end := _ENDS.get(str(plan.identity.get("work")))) is None:
        raise RunError(f"{out} holds work that this version of DiPS does not know; use the one that began it")
    return end(out)


def _predictions(out: Path) -> int:
    from dips.data.problems import ProblemList
    from dips.predict.merging import merge_predictions

    return filled(merge_predictions(out), out, ProblemList(), explain=True)


_ENDS: Mapping[str, Callable[[Path], int]] = {"predict": _predictions}
"""What ends a piece of work, by what its plan says that it is."""
