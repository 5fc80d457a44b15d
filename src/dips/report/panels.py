"""What the project draws as plots: curves, filled steps, stacked bars.

In: rows of numbers. Out: a :class:`Panel`, which :mod:`dips.report.plots` puts on a page or into files, in their colours.
Matplotlib is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "Inks", "Line", "Panel", "bars_panel", "lines_panel", "steps_panel"]

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_HATCHES = ("", "////", "\\\\\\\\", "xxxx", "", "")
_LABELLED = 3.9  # percent; the number of a smaller part of a bar stands below the bar


@dataclass(frozen=True)
class Inks:
    """Colours of a plot: of text and axes, of the paper below, and of the series."""

    text: str
    paper: str
    series: tuple[str, ...]


class Line:
    """One curve: its name, its points and, if wanted, a point to mark.

    Attributes:
        look: ``strong`` is thick; ``faint`` is thin and grey, and all faint ones share a word in the legend.
    """

    def __init__(
        self,
        name: str,
        x: Sequence[float],
        y: Sequence[float],
        *,
        mark: tuple[float, float] | None = None,
        dots: bool = False,
        look: str = "plain",
    ) -> None:
        self.name, self.x, self.y, self.mark, self.dots, self.look = name, x, y, mark, dots, look


@dataclass(frozen=True)
class Bar:
    """One stacked bar: the words beside it and its parts in percent, by name."""

    label: str
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Panel:
    """A plot that is not drawn yet.

    Attributes:
        title: name of the plot, also the seed of the ids inside it.
        caption: a few words above it.
        description: what is to be seen, in words.
        draw: draws it on given axes in given colours.
        size: width and height on the page in inches.
    """

    title: str
    caption: str
    description: str
    draw: Callable[[Axes, Inks], None]
    size: tuple[float, float] = (6.2, 3.7)


def lines_panel(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    description: str,
    caption: str = "",
    y_limits: tuple[float, float] | None = None,
    whole_x: bool = False,
    marks: str = "",
    heading: str = "",
) -> Panel:
    """Curves in one plot.

    Args:
        lines: at least one curve; each gets its own colour and dash pattern, but the faint ones, which only add context.
        title, caption, description: see :class:`Panel`.
        x_label, y_label: names of the axes.
        y_limits: limits of the y axis; fitted to the data by default.
        whole_x: ticks at whole numbers only.
        marks: what the marked points are, for the legend.
        heading: what it is of; below the x axis, as the legend stands above.
    """

    def draw(axes: Axes, inks: Inks) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.grid(color=inks.text, alpha=0.13, linewidth=0.8)
        faint = [line for line in lines if line.look == "faint"]
        for line in faint:
            axes.plot(line.x, line.y, color=inks.text, alpha=0.3, linewidth=0.8)
        for index, line in enumerate(line for line in lines if line.look != "faint"):
            colour, dash = inks.series[index % len(inks.series)], _DASHES[index % len(_DASHES)]
            marker, width = "o" if line.dots else None, 3 if line.look == "strong" else 2
            axes.plot(
                line.x, line.y, color=colour, linestyle=dash, linewidth=width, marker=marker, markersize=4, label=line.name
            )
            if line.mark is not None:
                axes.plot(*line.mark, color=colour, marker="D", markersize=7, linestyle="none")
        if faint:
            words = faint[0].name if len(faint) == 1 else f"{len(faint)} others"
            axes.plot([], [], color=inks.text, alpha=0.3, linewidth=0.8, label=words)
        axes.set_xlabel(f"{x_label}\n{heading}" if heading else x_label)
        axes.set_ylabel(y_label)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        if whole_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if marks:
            axes.plot([], [], color=inks.text, marker="D", markersize=6, linestyle="none", label=marks)
        _legend(axes)

    return Panel(title, caption, description, draw)


def steps_panel(
    steps: Mapping[str, Sequence[float]],
    edges: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
    description: str,
    caption: str = "",
    y_limits: tuple[float, float],
) -> Panel:
    """Filled step curves over the same bins, on a logarithmic y axis.

    Args:
        steps: ``(B,)`` values per bin, by name; what lies below ``y_limits`` is not seen.
        edges: ``(B + 1,)`` limits of the bins.
        title, caption, description: see :class:`Panel`.
        x_label, y_label: names of the axes.
        y_limits: limits of the y axis, above 0.
    """

    def draw(axes: Axes, inks: Inks) -> None:
        from matplotlib.ticker import FuncFormatter

        axes.grid(color=inks.text, alpha=0.13, linewidth=0.8)
        axes.set_yscale("log")
        for index, (name, values) in enumerate(steps.items()):
            colour, floor = inks.series[index], y_limits[0] / 2  # out of sight
            heights = np.maximum(values, floor)
            axes.stairs(heights, edges, baseline=floor, fill=True, color=colour, alpha=0.2, linewidth=0)
            axes.stairs(heights, edges, baseline=None, color=colour, linestyle=_DASHES[index], linewidth=1.8, label=name)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(*y_limits)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _legend(axes)

    return Panel(title, caption, description, draw)


def bars_panel(bars: Sequence[Bar], kinds: Sequence[str], *, title: str, x_label: str, description: str) -> Panel:
    """Stacked horizontal bars that begin at 0 percent, one below the other.

    Args:
        bars: at least one.
        kinds: names of the parts from left to right, at most six; each has its own colour, every second one a pattern
            as well. A bar may lack some.
        title, description: see :class:`Panel`.
        x_label: name of the percentages.
    """

    def draw(axes: Axes, inks: Inks) -> None:
        colours = (inks.series[0], inks.series[1], inks.series[4], inks.series[3], inks.series[5], inks.text)
        for index, kind in enumerate(kinds):
            lefts = [sum(bar.parts.get(before, 0) for before in kinds[:index]) for bar in bars]
            widths = [bar.parts.get(kind, 0) for bar in bars]
            look: dict[str, Any] = {"height": 0.58, "edgecolor": inks.paper, "hatch": _HATCHES[index], "linewidth": 0.8}
            axes.barh(range(len(bars)), widths, left=lefts, color=colours[index], label=kind, **look)
            for row, (left, width) in enumerate(zip(lefts, widths, strict=True)):
                if width >= _LABELLED:
                    patch = {"facecolor": colours[index], "edgecolor": "none", "pad": 1.2}
                    words: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "bbox": patch}
                    axes.text(left + width / 2, row, f"{width:.1f}", color=inks.paper, **words)
        for row, bar in enumerate(bars):
            small = [f"{kind} {bar.parts[kind]:.1f}" for kind in kinds if 0 < bar.parts.get(kind, 0) < _LABELLED]
            axes.text(100, row + 0.32, " · ".join(small), ha="right", va="top", fontsize=8.5)
        axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(bars) - 0.35, -0.4)
        axes.set_xlabel(x_label)
        _legend(axes, columns=3, handle=1.6)

    return Panel(title, "", description, draw, (7.6, 1.3 + 0.6 * len(bars)))


def _legend(axes: Axes, *, columns: int = 2, handle: float = 2.6) -> None:
    """Above the axes, where it hides nothing."""
    axes.legend(
        frameon=False,
        fontsize=9.5,
        ncols=columns,
        columnspacing=1.2,
        handlelength=handle,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),
    )
