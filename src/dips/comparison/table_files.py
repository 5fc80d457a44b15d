"""The files of a comparison's table: JSON, Markdown, LaTeX (Table 1 of the paper), and its curves (Figure 5).

In: a comparison and its table. Out: text, or files in a folder, each written atomically. The best number of a column is bold;
missing numbers are dashes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from dips.comparison.curves import comparison_plots
from dips.comparison.records import Comparison
from dips.comparison.table import Cell, Table, data_name
from dips.evaluate.protocol import FRAMED
from dips.report.figures import CURVES
from dips.report.plots import save_plots
from dips.system.files import atomic_file
from dips.system.records import write_json

__all__ = ["file_name", "measured_on", "to_latex", "to_markdown", "write_comparison"]

_TEX = {character: rf"\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",  # noqa: RUF001 - a dash for no number
    "±": r"$\pm$",
    "×": r"$\times$",  # noqa: RUF001 - not the letter
    "τ": r"$\tau$",
    "†": r"$\dagger$",
    "≥": r"$\geq$",
}


def file_name(stem: str, split: str, protocol_name: str) -> str:
    """Return ``stem``, with split and protocol unless they are the defaults, so that each has its own table and figures.

    >>> file_name("table", "test", "wsol-224"), file_name("table", "night", "original-pixels")
    ('table', 'table-night-original-pixels')
    """
    named = ((split, "test"), (protocol_name, FRAMED.name))
    return "-".join([stem, *(name for name, usual in named if name != usual)])


def measured_on(comparison: Comparison) -> str:
    """Return a short description of data, split and transformer, for figures."""
    return f"{data_name(comparison)}, split {comparison.split}; transformer: {comparison.transformer}"


def write_comparison(folder: Path, comparison: Comparison, table: Table) -> list[Path]:
    """Write ``table.json``, ``table.md``, ``table.tex`` and, if there are ground-truth boxes, the curves.

    The names are those of :func:`file_name`; the curves are ``box_acc_over_tau`` as SVG and PNG. Existing files are replaced.

    Args:
        folder: output folder; created if missing.
        table: the comparison's table.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    part = comparison.split, comparison.protocol_name
    record, *texts = (folder / f"{file_name('table', *part)}.{kind}" for kind in ("json", "md", "tex"))
    write_json(record, comparison)
    for path, text in zip(texts, (to_markdown(table), to_latex(table)), strict=True):
        with atomic_file(path) as file:
            file.write(text)
    plots = comparison_plots(comparison, measured_on(comparison))
    title = "Boxes correct at each threshold"
    return [record, *texts, *save_plots(folder / file_name(CURVES, *part), plots, title=title)]


def to_markdown(table: Table) -> str:
    """Return the table in percent, followed by the meaning of its columns, how they were measured, and which methods failed."""
    rows, columns = table.rows, table.columns
    heads = ["Method", "Labels", *(metric.heading for metric in columns)]
    lines = [f"# Localization on {_markdown(table.name)}, in percent", ""]
    lines += [_line(heads), _line([":--", ":--", *["--:"] * len(columns)])] if rows else ["No method succeeded."]
    for group, members in table.groups:
        lines.append(_line([f"**{group}**", *[""] * (len(heads) - 1)]))
        for row in members:
            cells = [_cell(row.cells[metric.key], "**{}**", " ± {}") for metric in columns]
            lines.append(_line([_markdown(row.marked), row.labels, *cells]))
    if rows:
        lines += ["", "Bold: the best of a column. Labels: what supervises a method, nothing or the class of each photo.", ""]
    if table.caveats:
        lines += [*(f"- {_markdown(caveat)}" for caveat in table.caveats), ""]
    for part, metrics in groupby(columns, key=lambda metric: metric.part):
        lines += [f"- {part[0].upper()}{part[1:]}:", *(f"  - **{metric.heading}**: {metric.meaning}" for metric in metrics)]
    notes = [f"- {_markdown(note)}" for note in table.notes]
    lines += ["", "## How it was measured", "", f"- Data: `{table.data}`", *notes]
    if rows:
        lines += ["", "## Methods", "", *(f"- **{_markdown(row.title)}**: {_markdown(row.paper)}" for row in rows)]
    if table.failures:
        lines += ["", "## Failed", "", *(f"- {_markdown(failure)}" for failure in table.failures)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """Return the table as a ``table*`` that uses booktabs and graphicx, with papers and failures as comments below it."""
    failures = [f"% failed: {failure}" for failure in table.failures]
    columns = table.columns
    if not table.rows:
        return "\n".join(["% no method succeeded", *failures]) + "\n"
    parts = [(part, len(list(metrics))) for part, metrics in groupby(columns, key=lambda metric: metric.part)]
    first, rules = 3, []  # the columns are counted from 1
    for _, width in parts:
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{_tex(part)}}}" for part, width in parts]
    notes = " ".join(f"{_tex(note.removesuffix('.'))}." for note in (*table.notes, *table.caveats))
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{Localization on \texttt{{{_tex(table.name)}}}, in percent. {notes}}}",
        r"\label{tab:comparison}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        _row(["", "", *spans]),
        "".join(rules),
        _row(["Method", "Labels", *(_tex(metric.title) for metric in columns)]),
    ]
    for group, members in table.groups:
        lines += [r"\midrule", _row([rf"\multicolumn{{{2 + len(columns)}}}{{l}}{{\emph{{{group}}}}}"])]
        for row in members:
            cells = [_cell(row.cells[metric.key], r"\textbf{{{}}}", r" {{\scriptsize$\pm$ {}}}") for metric in columns]
            lines.append(_row([_tex(row.marked), row.labels, *(cell.replace("–", "--") for cell in cells)]))  # noqa: RUF001
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]
    lines += [f"% {' '.join(f'{row.title}: {row.paper}'.split())}" for row in table.rows]
    return "\n".join([*lines, *failures]) + "\n"


def _cell(cell: Cell, bold: str, spread: str) -> str:
    return (bold.format(cell.mean) if cell.best else cell.mean) + (spread.format(cell.spread) if cell.spread else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))
