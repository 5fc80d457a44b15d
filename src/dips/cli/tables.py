"""What ``dips evaluate``, ``dips score`` and ``dips compare`` print: numbers in percent, with their protocols."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dips.data.classes import ClassAccuracy
from dips.system.console import counted, printable, say

if TYPE_CHECKING:
    from dips.comparison.table import Metric
    from dips.comparison.table import Table as ComparisonTable

__all__ = ["METHODS", "print_comparison", "print_evaluation", "write_figures"]

METHODS = {
    "maps": "score maps",
    "localizer": "localizer",
    "fast": "fast",
    "accurate": "accurate",
    "unet": "U-Net",
    "mean_attention": "mean attention",
    "centre": "centre",
}
"""Names of the methods as people read them."""

_FEW = 10  # numbers of fewer photos are a rough guess

Method = Mapping[str, Any]
Value = Callable[[Method], float | None]


def _boxes(*keys: str) -> Value:
    return lambda method: _number(method.get("boxes"), keys)


def _at_tau(*keys: str) -> Value:
    return lambda method: _number(method.get("at_tau"), keys)


def _number(tree: Any, keys: Sequence[str]) -> float | None:
    """Return the number under nested keys; None if there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, int | float) else None


_ROWS: tuple[tuple[str, str, Value], ...] = (
    ("MaxBoxAccV2", "mean of the next three, each at its best threshold (oracle)", _boxes("max_box_acc_v2")),
    ("  at IoU 0.3", "any box of the map", _boxes("max_box_acc_at", "30")),
    ("  at IoU 0.5", "any box of the map; = GT-known localization", _boxes("max_box_acc_at", "50")),
    ("  at IoU 0.7", "any box of the map", _boxes("max_box_acc_at", "70")),
    ("MaxBoxAcc", "IoU 0.5, largest contour, best threshold of this split (oracle)", _boxes("max_box_acc")),
    ("Top-1 localization", "IoU 0.5 and correct class, threshold of GT-known", _boxes("top1_loc")),
    ("Top-5 localization", "IoU 0.5 and class among the top five, threshold of GT-known", _boxes("top5_loc")),
    ("BoxAccV2", "as MaxBoxAccV2, thresholds chosen on validation or without boxes", _at_tau("box_acc_v2")),
    ("BoxAcc", "as MaxBoxAcc, threshold chosen on validation or without boxes", _at_tau("box_acc")),
    ("PxAP", "area under the precision-recall curve of pixels", lambda method: _number(method, ("pxap",))),
)


def print_evaluation(result: Mapping[str, Any]) -> None:
    """Print the result of ``Model.evaluate`` as a table on stdout: metrics down, methods across, in percent."""
    console = _console()
    boxed, boxes = result.get("n_boxed") or 0, result.get("n_boxes")
    photos = f"{counted(result.get('n_images') or 0, 'photo')}, {boxed} with ground-truth boxes"
    photos += f" ({boxes} in all)" if boxes else ""
    console.print(printable(f"{result.get('data')}, split {result.get('split')}: {photos}"), markup=False)
    for line in _plain_words(result, boxed):
        console.print(line)
    if boxed or result.get("pxap") is not None:
        console.print(_evaluation_table(result.get("methods") or ()))
    else:
        console.print("no photo has ground-truth boxes or masks: only the classification can be evaluated")
    for name, key in (("Classification, top 1", "top1_cls"), ("Classification, top 5", "top5_cls")):
        if isinstance(value := result.get(key), int | float):
            console.print(f"{name}: {value:.1f}% of the photos with a known class")
    if isinstance(by_class := result.get("class_accuracy"), Mapping):
        words = msgspec.convert(by_class, ClassAccuracy).words()
        console.print(printable(f"Classification, top 1: {words}"), markup=False)
    if (own := result.get("at_run_tau")) is not None:
        console.print(
            f"boxes of dips predict, at the run's own threshold {own['tau']:.3g}: BoxAccV2 {own['box_acc_v2']:.1f}; "
            f"precision {own['precision']:.1f}, recall {own['recall']:.1f}, F1 {own['f1']:.1f} at IoU 0.5"
        )
    if isinstance(precision := result.get("precision") or own, Mapping) and precision.get("ap50") is not None:
        console.print(
            f"average precision of these boxes, which must have the right class, mean over the classes (COCO): AP50 "
            f"{precision['ap50']:.1f}, AP {precision['ap']:.1f}"
        )
    for line in (*_score_lines(own or {}), *_remarks(result)):
        console.print(printable(line), markup=False)


def _plain_words(result: Mapping[str, Any], boxed: int) -> Iterator[str]:
    """Yield what the numbers say to somebody who knows none of the metrics."""
    if (own := result.get("at_run_tau")) is not None:
        boxes, objects = (counted(own[key], noun, "is") for key, noun in (("boxes", "box"), ("objects", "object")))
        (boxes, verb), (objects, other) = (words.rsplit(" ", 1) for words in (boxes, objects))
        if own["boxes"]:
            yield (
                f"of {boxes} that 'dips predict' draws {own['precision']:.0f}% {verb} right (half or more in common with a "
                f"true box); of {objects} {own['recall']:.0f}% {other} found"
            )
        else:
            yield f"'dips predict' draws no box: of {objects} none is found"
    if 0 < boxed < _FEW:
        yield f"all that is said of boxes rests on {counted(boxed, 'photo')}: a rough guess"


def _score_lines(own: Mapping[str, Any]) -> list[str]:
    """Return what the scores of the run's boxes are worth."""
    reliability = own.get("reliability") or {}
    if "ece" not in reliability or not own.get("boxes"):
        return []
    if not own.get("calibrated"):
        return ["scores rank the boxes and are no chances: too few validation photos had boxes to calibrate them"]
    parts = [
        f"at {name} {at['score']:.3g} or more {at['precision']:.1f}% are right, {at['recall']:.1f}% of the objects are found"
        if at["boxes"]
        else f"none is as safe as {name}, {at['score']:.3g}"
        for name in ("typical", "cautious")
        if (at := reliability.get(name))
    ]
    return [f"scores as chances: expected calibration error {reliability['ece']:.3f}; {'; '.join(parts)}"]


def _evaluation_table(methods: Sequence[Method]) -> Table:
    table = Table("percent of photos", "protocol", box=SIMPLE)
    for method in methods:
        table.add_column(METHODS.get(method["name"], printable(str(method["name"]))).replace(" ", "\n"), justify="right")
    for name, protocol, value in _ROWS:
        values = [value(method) for method in methods]
        if any(number is not None for number in values):
            table.add_row(name, protocol, *("" if number is None else f"{number:.1f}" for number in values))
    return table


def _remarks(result: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{title}: {text}"
        for title, key in (
            ("protocol", "protocol"),
            ("validation", "validation_tau_from"),
            ("trained on", "labels"),
            ("transformer", "sst"),
        )
        if (text := result.get(key))
    ]
    if skipped := result.get("skipped"):
        lines.append(f"skipped: {counted(len(skipped), 'photo')} that could not be read")
    return lines


_SHORT_HEADINGS = {
    "50": "IoU 0.5,\nGT-known",
    "v1": "MaxBox\nAcc",
    "v2_val": "V2\n(val)",
    "v1_val": "MaxBox\nAcc\n(val)",
    "ms": "ms per\nphoto",
}
_OMISSION_ORDER = ("params", "ms", "v1_val", "pxap", "top1", "v1", "30", "50", "70", "min")


def print_comparison(record: Mapping[str, Any]) -> None:
    """Print the table of ``dips compare`` on stdout: methods down, metrics across, in percent; omit what does not fit."""
    from dips.comparison.records import Comparison
    from dips.comparison.table import comparison_table

    console = _console()
    comparison = comparison_table(msgspec.convert(record, Comparison))
    columns = [metric for metric in comparison.columns if metric.key != "gt"]  # the same as 50
    table = _comparison_table(comparison, columns)
    omitted: list[str] = []
    for key in _OMISSION_ORDER:
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
        omitted += [metric.heading for metric in columns if metric.key == key]
        columns = [metric for metric in columns if metric.key != key]
        table = _comparison_table(comparison, columns)
    if comparison.groups:
        console.print(
            printable(f"{comparison.data}, in percent; best threshold of this split (oracle), or validation's (val)"),
            markup=False,
        )
        console.print(table)
    else:
        console.print(printable(f"{comparison.data}: no method succeeded"), markup=False)
    if omitted:
        console.print(f"left out to fit the terminal; see the written table: {', '.join(omitted)}")
    for line in (*comparison.caveats, *comparison.notes, *(f"failed: {failure}" for failure in comparison.failures)):
        console.print(printable(line), markup=False)


def _comparison_table(comparison: ComparisonTable, columns: Sequence[Metric]) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("method", max_width=24)
    table.add_column("labels")
    for metric in columns:
        table.add_column(_SHORT_HEADINGS.get(metric.key, metric.title.replace(" ", "\n")), justify="right", no_wrap=True)
    for group, members in comparison.groups:
        table.add_row(Text(printable(group), style="italic"))
        for row in members:
            cells = []
            for metric in columns:
                number = row.cells[metric.key]
                cell = Text(number.mean, style="bold" if number.best else "")
                spread = number.spread if metric.title == "V2" else ""
                cells.append(cell.append(f" ± {spread}", style="dim") if spread else cell)
            table.add_row(Text(printable(row.marked)), row.labels, *cells)
        table.add_section()
    return table


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 132)


def write_figures(folder: Path | None, result: Mapping[str, Any]) -> None:
    """Write the figures of an evaluation into ``folder``, if one is given, and print their names."""
    if folder is not None:
        from dips.report.figures import write_plots

        for path in write_plots(folder, result["methods"]):
            say(str(path))
