"""The curves of a comparison over the threshold (Figure 5 of the paper).

In: a :class:`~dips.comparison.records.Comparison`. Out: a plot for :mod:`dips.report.plots`.
"""

from __future__ import annotations

import re
import textwrap
from functools import partial
from typing import Literal

import numpy as np

from dips.comparison.records import ComparedMethod, Comparison
from dips.report.figures import IOUS, TAU_LABEL
from dips.report.plots import SERIES, Line, Plot, draw_lines

__all__ = ["comparison_plots"]


def comparison_plots(comparison: Comparison, about: str = "") -> list[Plot]:
    """Return at most one plot: photos correct over the threshold, averaged over IoUs and seeds, with a line per method.

    This project's methods are drawn in bold, the best others in colours, single heads of the transformer last, and the rest
    thin and grey.

    Args:
        about: what the methods were measured on; printed below the x axis.
    """
    curves = []
    for method in comparison.methods:
        runs = [points for run in method.runs if (points := run["boxes"].get("curves"))]
        if runs:
            mean = np.mean([[run[iou] for iou in IOUS] for run in runs], axis=(0, 1))
            curves.append((method, runs[0]["tau"], mean.tolist()))
    if not curves:
        return []
    curves.sort(key=lambda curve: (not curve[0].own, _is_head(curve[0]), -max(curve[2])))
    lines = []
    for index, (method, tau, mean) in enumerate(curves):
        look: Literal["strong", "plain", "faint"] = "strong" if method.own else "plain" if index < len(SERIES) else "faint"
        lines.append(Line(method.title, tau, mean, look=look))
    below = [*textwrap.wrap(about, 70), "one threshold for the IoUs 0.3, 0.5 and 0.7; V2 of the table takes the best for each"]
    draw = partial(
        draw_lines,
        lines=lines,
        x_label="\n".join([TAU_LABEL, *below]),
        y_label="photos correct, %, mean over three IoUs",
        percent=True,
    )
    description = "; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in lines)
    return [Plot("Mean over the three IoUs, by method", description, draw, size=(7.0, 5.2))]


def _is_head(method: ComparedMethod) -> bool:
    """Return whether the method is a single head of the transformer."""
    return re.fullmatch(r"head\d+", method.name) is not None
