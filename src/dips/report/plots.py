"""Plots in two places: as inline SVG in the colours of the report's page, light or dark, and as files in black on white.

In: a :class:`~dips.report.panels.Panel`. Out: ``<svg>`` elements as text, without scripts or links, or SVG and PNG files.
Matplotlib is imported when it is needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dips.report.panels import Inks, Panel
from dips.system.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE", "PRINT", "panel_svg", "save_panels"]

# matplotlib wants values, the page has variables: these are replaced
PAGE = Inks("#010203", "#030201", tuple(f"#01010{index}" for index in range(1, 7)))
PRINT = Inks("#000000", "#ffffff", ("#0b62b8", "#c2520a", "#14804a", "#8a3ffc", "#b5275b", "#5c6670"))


def panel_svg(panel: Panel) -> str:
    """The plot as an ``<svg>`` element with a title and a description for screen readers, in the page's colours."""
    import matplotlib as mpl

    with mpl.rc_context(_style(PAGE, panel.title) | {"svg.fonttype": "none"}):
        figure = _figure([panel], PAGE, panel.size, columns=1)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), panel.title, panel.description)


def save_panels(
    stem: Path, panels: Sequence[Panel], *, title: str, size: tuple[float, float] | None = None, columns: int = 2
) -> list[Path]:
    """Write the plots beside each other as ``STEM.svg`` and ``STEM.png``, black on white, each whole or not at all.

    Args:
        stem: path without suffix; files of before are replaced.
        panels: of several each gets its caption as a heading; of none nothing is written, and files of before are removed.
        title: name of the picture.
        size: width and height of each in inches; the first one's on the page by default.
        columns: how many stand beside each other.

    Raises:
        RunError: a file cannot be written.
    """
    import matplotlib as mpl

    if not panels:
        for suffix in (".svg", ".png"):  # they belong to other numbers
            stem.with_name(f"{stem.name}{suffix}").unlink(missing_ok=True)
        return []
    paths = []
    with mpl.rc_context(_style(PRINT, title) | {"svg.fonttype": "path"}):  # looks alike where the font is missing
        figure = _figure(panels, PRINT, size or panels[0].size, columns=min(columns, len(panels)))
        for kind, about in (
            ("svg", {"Title": title, "Date": None, "Creator": None}),
            ("png", {"Title": title, "Software": None}),
        ):
            path = stem.with_name(f"{stem.name}.{kind}")
            with atomic_file(path, "wb") as file:
                figure.savefig(file, format=kind, dpi=300, facecolor=PRINT.paper, metadata=about)
            paths.append(path)
    return paths


def _style(inks: Inks, salt: str) -> dict[Any, Any]:
    return {
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10.5,
        "hatch.linewidth": 0.5,
        "text.color": inks.text,
        "axes.edgecolor": inks.text,
        "axes.labelcolor": inks.text,
        "xtick.color": inks.text,
        "ytick.color": inks.text,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,
    }


def _figure(panels: Sequence[Panel], inks: Inks, size: tuple[float, float], *, columns: int) -> Figure:
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        panel.draw(axes, inks)
        if len(panels) > 1:
            legend = axes.get_legend()
            if legend is not None:
                legend.set_title(panel.caption, {"size": 10.5, "weight": "bold"})
                legend.set_alignment("left")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


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
    for index, colour in enumerate(PAGE.series, start=1):
        svg = svg.replace(colour, f"var(--series-{index})")
    return svg.replace(PAGE.paper, "var(--paper)").replace(PAGE.text, "currentColor")
