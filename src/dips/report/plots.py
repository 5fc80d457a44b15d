"""The style and output of plots: inline SVG in the colours of the report's page, light or dark, and files for papers.

In: :class:`Plot`, which draws itself with Matplotlib. Out: ``<svg>`` elements as text, without scripts or links, or SVG and
PNG files, black on white. Matplotlib is imported on demand.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dips.system.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DASHES", "SERIES", "Line", "Plot", "draw_legend", "draw_lines", "inline_svg", "plot_style", "save_plots"]

SERIES = ("#0b62b8", "#c2520a", "#14804a", "#8a3ffc", "#b5275b", "#5c6670")
"""Colours of the series on paper; on the page, its variables ``--series-1`` and so on are used."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Dash patterns of the series, so that they can be distinguished without colours."""

_PAGE_COLOURS = {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)} | {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
}


@dataclass(frozen=True)
class Plot:
    """A plot that has not been drawn yet, as pages and papers need different sizes.

    Attributes:
        title: its name; also the seed of the ids inside the SVG, so that those of two plots never collide.
        description: a description for those who cannot see the plot.
        draw: draws it on axes.
        caption: a few words shown above it.
        size: width and height on the page in inches.

    >>> plot = Plot("Bars", "longer and longer", lambda axes: axes.bar([0, 1], [2, 3]))
    >>> inline_svg(plot)[:4]
    '<svg'
    """

    title: str
    description: str
    draw: Callable[[Axes], None]
    caption: str = ""
    size: tuple[float, float] = (6.2, 3.7)


class Line(NamedTuple):
    """One curve: its name, its points and, optionally, a point to mark.

    ``look``: ``strong`` is thick, ``dotted`` has a dot at every point; ``faint`` is thin and grey, and several of these share
    a legend entry.

    >>> Line("loss", [1, 2], [0.5, 0.25], look="dotted").name
    'loss'
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    mark: tuple[float, float] | None = None
    look: Literal["plain", "strong", "dotted", "faint"] = "plain"


def draw_lines(
    axes: Axes, lines: Sequence[Line], *, x_label: str, y_label: str, percent: bool = False, mark_label: str = ""
) -> None:
    """Draw curves, each in its own colour and dash pattern, with a legend.

    Args:
        x_label, y_label: names of the axes.
        percent: the y axis goes from 0 to 100.
        mark_label: legend entry for the marked points.
    """
    faint = [line for line in lines if line.look == "faint"]
    for line in faint:
        axes.plot(line.x, line.y, color="black", linestyle="-", alpha=0.3, linewidth=0.8)
    for line in lines:
        if line.look == "faint":
            continue
        width, marker = 3 if line.look == "strong" else 2, "o" if line.look == "dotted" else None
        (curve,) = axes.plot(line.x, line.y, label=line.name, linewidth=width, marker=marker, markersize=4)
        if line.mark is not None:
            axes.plot(*line.mark, "D", color=curve.get_color(), markersize=7)
    if faint:
        name = faint[0].name if len(faint) == 1 else f"{len(faint)} others"
        axes.plot([], [], color="black", linestyle="-", alpha=0.3, linewidth=0.8, label=name)
    if mark_label:
        axes.plot([], [], "D", color="black", markersize=6, label=mark_label)
    axes.set(xlabel=x_label, ylabel=y_label)
    if percent:
        axes.set_ylim(0, 100)
    draw_legend(axes)


def draw_legend(axes: Axes, columns: int = 2) -> None:
    """Draw the legend above the axes, where it covers nothing."""
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(-0.02, 1))


@contextmanager
def plot_style(title: str = "", fonttype: Literal["none", "path"] = "path") -> Iterator[None]:
    """Draw and save in the style of this project's plots, regardless of the user's Matplotlib settings.

    Args:
        title: seed of the ids inside SVG.
        fonttype: whether text in SVG stays text (``none``), or becomes shapes, which look the same even without the font.
    """
    from cycler import cycler
    from matplotlib import style

    own: dict[str, Any] = {
        "svg.hashsalt": title,
        "svg.fonttype": fonttype,
        "font.size": 10.5,
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=SERIES * 2) + cycler(linestyle=DASHES * 3),
        "axes.grid": True,
        "grid.color": "black",
        "grid.alpha": 0.13,
        "hatch.linewidth": 0.5,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "legend.columnspacing": 1.2,
        "legend.handlelength": 2.6,
    }
    with style.context(["default", own]):
        yield


def inline_svg(plot: Plot) -> str:
    """Return the plot as an ``<svg>`` element with a name and a description for screen readers, in the page's colours."""
    with plot_style(plot.title, "none"):
        buffer = io.StringIO()
        figure = _figure([plot], plot.size, columns=1)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    # Matplotlib omits black, the default: shapes inherit it from the element
    opening = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="plot" fill="currentColor" '
        f'viewBox="{box.group(1)}" role="img" aria-label="{escape(f"{plot.title}. {plot.description}")}">'
    )
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(?<=fill[:=]|roke[:=])([ "])(#[0-9a-f]{6})', lambda m: m[1] + _PAGE_COLOURS.get(m[2], m[2]), body)
    # Matplotlib numbers groups alike in every plot; only referenced elements keep their ids, which are salted by the title
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    return opening + re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)


def save_plots(
    stem: Path, plots: Sequence[Plot], *, title: str, size: tuple[float, float] | None = None, columns: int = 2
) -> list[Path]:
    """Write the plots side by side as ``STEM.svg`` and ``STEM.png`` (300 dpi), each completely or not at all.

    Args:
        stem: path without suffix; existing files are replaced.
        plots: if there are several, each has its caption as a heading; if none, existing files are removed.
        title: name of the picture.
        size: width and height of each plot in inches; by default the size of the first one on the page.
        columns: number of plots side by side.

    Raises:
        RunError: a file cannot be written.
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    if not plots:
        for path in paths:  # they show other numbers
            path.unlink(missing_ok=True)
        return []
    with plot_style(title):
        figure = _figure(plots, size or plots[0].size, columns=min(columns, len(plots)))
        for path, about in zip(paths, ({"Date": None, "Creator": None}, {"Software": None}), strict=True):
            with atomic_file(path, "wb") as file:
                figure.savefig(file, format=path.suffix[1:], dpi=300, metadata={"Title": title, **about})
    return paths


def _figure(plots: Sequence[Plot], size: tuple[float, float], *, columns: int) -> Figure:
    """Draw plots in rows, each of ``size`` inches; call it within :func:`plot_style`."""
    from matplotlib.figure import Figure

    rows = -(-len(plots) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, plot in zip(grid, plots, strict=False):
        plot.draw(axes)
        if len(plots) > 1 and (legend := axes.get_legend()):
            legend.set_title(plot.caption, {"size": 10.5, "weight": "bold"})
            legend.set_alignment("left")
    for axes in grid[len(plots) :]:
        axes.set_axis_off()
    return figure
