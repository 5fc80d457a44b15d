"""The files of a comparison: its table as JSON, Markdown and LaTeX (Table 1 of the paper), its curves (Figure 5).

In: the record of :func:`dips.comparison.compare`. Out: text, or files in a folder, each whole or not at all. The best number of
a column is bold; a dash stands where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dips.comparison.rows import Metric, Row, comparison_rows, grouped, shown_columns
from dips.evaluate.protocol import FRAMED
from dips.report.figures import CURVES, comparison_panels
from dips.report.plots import save_panels
from dips.system.files import atomic_file
from dips.system.records import write_json

__all__ = ["comparison_rows", "failures", "file_name", "measured_on", "notes", "to_latex", "to_markdown", "write_comparison"]

_OVER = 1.5  # times the budget; longer is told

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
    "≥": r"$\geq$",
}


def file_name(stem: str, record: Mapping[str, Any]) -> str:
    """``stem`` with split and protocol where they are not the usual ones, so that each has a table and figures of its own."""
    usual = ("test", FRAMED.name)
    given = (str(record["split"]), str(record.get("protocol_name", FRAMED.name)))
    return "-".join([stem, *(name for name, common in zip(given, usual, strict=True) if name != common)])


def measured_on(record: Mapping[str, Any]) -> str:
    """Data, split and transformer in a few words, for figures."""
    words = f"{_name(record)}, split {record['split']}"
    return f"{words}; transformer: {found}" if (found := record.get("transformer")) else words


def notes(record: Mapping[str, Any]) -> list[str]:
    """How the numbers were made, a sentence each: photos, protocol, seeds, networks, budget, machine."""
    seeds, machine = record["seeds"], record["environment"]
    spread = " (mean ± sample standard deviation)" if len(seeds) > 1 else ""
    tuned = "saliency-tuned" in record["transformer"]
    caveat = "; numbers made with it are not those of a purely self-supervised one" if tuned else ""
    skipped = record.get("n_skipped", 0)
    left_out = f"; {skipped} of them could not be read and are left out" if skipped else ""
    over = [row["title"] for row in record["methods"] if any(_over(run, 60 * record["budget_minutes"]) for run in row["runs"])]
    return [
        f"{record['n_images']} photos of the split {record['split']}, {record['n_boxes']} with true boxes{left_out}",
        f"Protocol: {record['protocol']}",
        f"CNN: {record['cnn']}",
        f"Transformer: {record['transformer']}{caveat}",
        f"Budget: {record['budget_minutes']:g} minutes of training per method; a few steps are made however small it "
        "is, and what a method builds on (classifier, harvest) lies outside it but is in the minutes of the table",
        *([f"Trained for more than {_OVER:g} times the budget: {', '.join(over)}"] if over else []),
        *_chosen(record),
        f"Times: on {machine['device']}, {machine['cpus']} CPU cores",
        f"Seeds: {', '.join(map(str, seeds))}{spread}",
    ]


def _over(run: Mapping[str, Any], budget: float) -> bool:
    fit = run["fit"]
    seconds = fit["seconds"] if fit.get("bounded") is None else fit["bounded"]
    return bool(fit["steps"]) and seconds > _OVER * budget


def _chosen(record: Mapping[str, Any]) -> list[str]:
    """On what checkpoints and thresholds were chosen, as far as the record says it."""
    count = record.get("photos", {}).get("val_boxed")
    if count is None:
        return []
    if count:
        return [f"Checkpoints, percentiles and the thresholds of (val): chosen on the boxes of {count} validation photos"]
    return [
        "No validation photo has boxes: no checkpoint or threshold was chosen by them, the (val) columns are left out, and the "
        "sheet shows the best threshold of the measured photos (oracle)"
    ]


def to_markdown(record: Mapping[str, Any]) -> str:
    """The table in percent, and below it what the columns are, how they were measured, and which methods failed and why."""
    rows = comparison_rows(record)
    columns = shown_columns(rows)
    heads = ["Method", "Labels", *(metric.heading for metric in columns)]
    lines = [f"# Localization on {_markdown(_name(record))}, in percent", ""]
    lines += [_line(heads), _line([":--", ":--", *["--:"] * len(columns)])] if rows else ["No method succeeded."]
    for group, members in grouped(rows):
        lines.append(_line([f"**{group}**", *[""] * (len(heads) - 1)]))
        for row in members:
            cells = [_cell(metric, row, metric.best(rows), "**{}**", " ± {}") for metric in columns]
            lines.append(_line([_markdown(row.title), row.labels, *cells]))
    if rows:
        lines += ["", "Bold: the best of a column. Labels: what supervises a method, nothing or the class of each photo.", ""]
    for part, metrics in groupby(columns, key=lambda metric: metric.part):
        lines += [f"- {part[0].upper()}{part[1:]}:", *(f"  - **{metric.heading}**: {metric.meaning}" for metric in metrics)]
    lines += [
        "",
        "## How it was measured",
        "",
        f"- Data: `{record['data']}`",
        *(f"- {_markdown(note)}" for note in notes(record)),
    ]
    if rows:
        lines += ["", "## Methods", "", *(f"- **{_markdown(row.title)}**: {_markdown(row.paper)}" for row in rows)]
    if record["failed"]:
        lines += ["", "## Failed", "", *(f"- {_markdown(words)}" for words in failures(record))]
    return "\n".join(lines) + "\n"


def failures(record: Mapping[str, Any]) -> list[str]:
    """Which methods failed with which seed, and why, a line each."""
    return [f"{item['title']}, seed {item['seed']}: {' '.join(str(item['why']).split())}" for item in record["failed"]]


def to_latex(record: Mapping[str, Any]) -> str:
    """The table as a ``table*`` with the packages booktabs and graphicx; papers and failures as comments below it."""
    rows = comparison_rows(record)
    if not rows:
        return "\n".join(["% no method succeeded", *(f"% failed: {words}" for words in failures(record))]) + "\n"
    columns = shown_columns(rows)
    parts = [(part, len(list(metrics))) for part, metrics in groupby(columns, key=lambda metric: metric.part)]
    first, rules = 3, []  # the columns are counted from 1
    for _, width in parts:
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{_tex(part)}}}" for part, width in parts]
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_caption(record)}}}",
        r"\label{tab:comparison}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        _row(["", "", *spans]),
        "".join(rules),
        _row(["Method", "Labels", *(_tex(metric.title) for metric in columns)]),
    ]
    for group, members in grouped(rows):
        lines += [r"\midrule", _row([rf"\multicolumn{{{2 + len(columns)}}}{{l}}{{\emph{{{group}}}}}"])]
        for row in members:
            cells = [_cell(metric, row, metric.best(rows), r"\textbf{{{}}}", r" {{\scriptsize$\pm$ {}}}") for metric in columns]
            lines.append(_row([_tex(row.title), row.labels, *(cell.replace("–", "--") for cell in cells)]))  # noqa: RUF001
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]
    lines += [f"% {' '.join(f'{row.title}: {row.paper}'.split())}" for row in rows]
    lines += [f"% failed: {words}" for words in failures(record)]
    return "\n".join(lines) + "\n"


def write_comparison(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write ``table.json`` (the record), ``table.md``, ``table.tex`` and, where there are true boxes, ``box_acc_over_tau``
    as SVG and PNG, all named by :func:`file_name`. Files of before are replaced.

    Args:
        folder: where they go; made if it is missing.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    json, *texts = (folder / f"{file_name('table', record)}.{kind}" for kind in ("json", "md", "tex"))
    write_json(json, record)
    for path, text in zip(texts, (to_markdown(record), to_latex(record)), strict=True):
        with atomic_file(path) as file:
            file.write(text)
    panels = comparison_panels(record["methods"], measured_on(record))
    return [
        json,
        *texts,
        *save_panels(folder / file_name(CURVES, record), panels, title="Boxes correct at each threshold", size=(7.0, 5.2)),
    ]


def _cell(metric: Metric, row: Row, best: str, bold: str, spread: str) -> str:
    mean, deviation = metric.words(row.numbers[metric.key])
    return (bold.format(mean) if mean == best else mean) + (spread.format(deviation) if deviation else "")


def _name(record: Mapping[str, Any]) -> str:
    """Of the data's folder, also where it was given as ``.``."""
    return Path(record["data"]).resolve().name


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))


def _caption(record: Mapping[str, Any]) -> str:
    data = rf"\texttt{{{_tex(_name(record))}}}"
    return f"Localization on {data}, in percent. " + " ".join(f"{_tex(note)}." for note in notes(record))
