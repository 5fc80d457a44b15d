"""``dips report``: the page of a run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Run
from dips.system.console import say

__all__ = ["report"]


def report(
    run: Run,
    /,
    *,
    show: Annotated[bool, Parameter(name="--open", help="Open it in the browser.", show_default=False)] = False,
) -> int:
    """Rewrite RUN/report.html from what is in the run folder."""
    from dips.report.run_report import write_run_report

    path = write_run_report(run)
    say(str(path))
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0
