"""``dips check``: what DiPS understands of DATA, and what is wrong with it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Data, Problems
from dips.system.console import say
from dips.system.environment import quoted

__all__ = ["check"]


def check(
    data: Data,
    /,
    *,
    background: Annotated[
        str,
        Parameter(help="The class whose photos show no object; auto: the one called none or background, if there is one."),
    ] = "auto",
    label_column: Annotated[str, Parameter(help="The column of a CSV that holds the class; without it, it is found.")] = "",
    problems: Problems = None,
) -> int:
    """Report what DiPS understands of DATA: classes, counts, splits, unreadable files, duplicates. Changes nothing."""
    from dips.data.check import check_data
    from dips.data.problems import ProblemList

    told = ProblemList(problems)
    report = check_data(data, background_class=background, label_column=label_column)
    print(report.render())
    if report.usable and not report.untrainable:
        settings = f" --set data.background_class={quoted(background)}" if background != "auto" else ""
        settings += f" --set data.label_column={quoted(label_column)}" if label_column else ""
        say(f"next    dips train {quoted(data)}{settings} --out RUN")
    told.add(report.problems, quiet=True)
    return 0 if report.usable else 1
