"""The report's plots as inline SVG, which take the page's colours, so that they suit its light and dark scheme.

In: rows of numbers. Out: ``<svg>`` elements as text, without scripts or links. Matplotlib is imported when it is needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["Line", "lines_svg"]

# colours that the page replaces: matplotlib wants values, the page has variables
_INK = "#010203"
_SERIES = tuple(f"#01010{index}" for index in range(1, 7))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


class Line:
    """One curve: its name, its points and, if wanted, a point to mark."""

    def __init__(
        self, name: str, x: Sequence[float], y: Sequence[float], *, mark: tuple[float, float] | None = None, dots: bool = False
    ) -> None:
        self.name, self.x, self.y, self.mark, self.dots = name, x, y, mark, dots


def lines_svg(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    description: str,
    y_limits: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> str:
    """Curves in one plot as an ``<svg>`` element with a title and a description for screen readers.

    Args:
        lines: at least one curve; each gets its own colour and dash pattern.
        title: name of the plot, also the seed of the ids inside it.
        x_label, y_label: names of the axes.
        description: what is to be seen, in words.
        y_limits: limits of the y axis; fitted to the data by default.
        whole_x: ticks at whole numbers only.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10.5,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(6.2, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.grid(color=_INK, alpha=0.13, linewidth=0.8)
        for index, line in enumerate(lines):
            colour, dash = _SERIES[index % len(_SERIES)], _DASHES[index % len(_DASHES)]
            marker = "o" if line.dots else None
            axes.plot(line.x, line.y, color=colour, linestyle=dash, linewidth=2, marker=marker, markersize=4, label=line.name)
            if line.mark is not None:
                axes.plot(*line.mark, color=colour, marker="D", markersize=7, linestyle="none")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        if whole_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=9.5, handlelength=2.6, loc="best")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), title, description)


def _inline(svg: str, title: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="plot" '
        f'viewBox="{box.group(1) if box else "0 0 446 245"}" role="img" aria-label="{escape(f"{title}. {description}")}">'
    )
    svg = opening + svg[svg.index(">") + 1 :]
    # matplotlib numbers its groups alike in every plot; only what is referred to keeps its id, which the title salts
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match.group(0) if match.group(1) in used else "", svg)
    for index, colour in enumerate(_SERIES, start=1):
        svg = svg.replace(colour, f"var(--series-{index})")
    return svg.replace(_INK, "currentColor")
