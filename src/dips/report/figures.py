"""The plots of a run: thresholds, activations and errors of its evaluation, and its training.

In: methods of an evaluation, rows of ``metrics.jsonl``. Out: plots for the report's page, or files for papers. Plots whose data
an older evaluation lacks are omitted.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dips.evaluate.reliability import wilson
from dips.report.plots import DASHES, SERIES, Line, Plot, draw_legend, draw_lines, save_plots
from dips.report.records import Activations, Method, ReliabilityCurve, RunThreshold, as_methods, own_method
from dips.system.console import counted
from dips.types import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CURVES", "ERRORS", "IOUS", "TAU_LABEL", "activation_plots", "error_plots", "threshold_plots", "training_plots"]
__all__ += ["reliability_plots", "write_plots"]

CURVES = "box_acc_over_tau"
"""Name of the files with curves over the threshold."""

ERRORS = {
    "correct": ("correct", "the predicted box has an IoU above 0.5 with a ground-truth box"),
    "part": (
        "part of the object",
        "more than half of the predicted box lies inside the ground-truth box, but it covers too little of it",
    ),
    "more": ("more than the object", "at least 70 % of the ground-truth box is covered, with too much around it"),
    "several_objects": ("several objects", "the predicted box covers more than 30 % of two or more ground-truth boxes"),
    "other": ("other", "none of these, e.g. a box next to the object"),
    "class_wrong": (
        "wrong class",
        "the predicted class is not the true one, wherever the box lies; a method without classes cannot make this error",
    ),
}
"""Kinds of ``dissection``, from left to right in the bars: their name and meaning."""

IOUS = ("30", "50", "70")
TAU_LABEL = "threshold τ, fraction of the map's maximum"
_MAX_METHODS = len(SERIES)
_MIN_PERCENT = 0.01  # of the pixels in a bin; less is not visible
_MIN_LABELLED = 3.9  # percent; the number of a smaller part of a bar is placed below the bar
_SMALL_DOT, _LARGE_DOT = 8, 70  # square points; for no box, and for the fullest bin
_ERROR_LOOKS = (
    *((SERIES[0], ""), (SERIES[1], "////"), (SERIES[4], "\\\\\\\\"), (SERIES[3], "xxxx")),
    *((SERIES[5], ""), ("black", "")),
)
"""Colour and hatch of each kind of ``ERRORS``."""


def threshold_plots(methods: Sequence[Method]) -> list[Plot]:
    """Return plots of correct photos over the threshold: for the run's own method by IoU, and for all, the mean over IoUs."""
    own, plots = own_method(methods), []
    if own is not None and own.boxes.curves:
        curves, chosen = own.boxes.curves, own.at_tau.tau if own.at_tau is not None else {}
        marked, lines = {**(own.boxes.best_tau or {}), **chosen}, []
        for key in (key for key in (*IOUS, "v1") if key in curves):
            tau = marked.get(key)
            mark = None if tau is None else (tau, float(np.interp(tau, curves["tau"], curves[key])))
            name = "IoU ≥ 0.5, largest contour" if key == "v1" else f"IoU ≥ 0.{key[0]}"
            lines.append(Line(name, curves["tau"], curves[key], mark))
        mark_label = "chosen on the validation split" if chosen else "best on this split"
        title = f"{own.name}: boxes correct at each threshold"
        description = f"Percent of photos with a correct box over the threshold, for three IoUs; {_peaks(lines)}"
        plots.append(_curves(lines, title, description, f"{own.name}, by IoU", mark_label))
    boxes = [(method.name, method.boxes.curves) for method in methods if method.boxes.curves][:_MAX_METHODS]
    means = [Line(name, curves["tau"], np.mean([curves[key] for key in IOUS], axis=0).tolist()) for name, curves in boxes]
    if len(means) > 1:
        plots.append(_curves(means, "Mean over the three IoUs, by method", _peaks(means), "By method, mean over the IoUs"))
    return plots


def activation_plots(methods: Sequence[Method]) -> list[Plot]:
    """Return the values of the score maps inside and outside the ground truth: a plot per method, the run's own first."""
    own = own_method(methods)
    steps = [(method.name, method.activations, _steps(method.activations)) for method in methods if method.activations]
    steps = sorted((row for row in steps if row[2]), key=lambda row: own is None or row[0] != own.name)[:_MAX_METHODS]
    top = max((max(values) for *_, curves in steps for values in curves.values()), default=0.0)
    plots = []
    for name, activations, curves in steps:
        centres = np.convolve(activations.edges, [0.5, 0.5], "valid")
        means = "; ".join(f"mean value {kind} {np.average(centres, weights=y):.2f}" for kind, y in curves.items())
        draw = partial(_draw_steps, curves=curves, edges=activations.edges, highest=max(10.0, 2 * top))
        description = f"Percent of pixels over the value of the score map; {means}"
        plots.append(Plot(f"{name}: activations", description, draw, name))
    return plots


def error_plots(methods: Sequence[Method]) -> list[Plot]:
    """Return the kinds of errors of the boxes, a stacked bar per method; one plot or none."""
    bars, words = {}, []
    for method in methods:
        if method.dissection is None or not method.dissection.percent:
            continue
        percent, tau = method.dissection.percent, method.dissection.tau
        threshold = f"τ {round(tau, 3):g} from {method.dissection.tau_from}"
        parts = {name: value for kind, (name, _) in ERRORS.items() if (value := percent.get(kind)) is not None}
        bars["\n".join([*textwrap.wrap(method.name, 22), threshold])] = parts
        words.append(f"{method.name}, {threshold}: " + ", ".join(f"{name} {value:.1f}" for name, value in parts.items()))
    if not bars:
        return []
    draw, description = partial(_draw_bars, bars=bars), f"Percent of photos. {'; '.join(words)}"
    return [Plot("Kinds of errors", description, draw, size=(7.6, 1.3 + 0.6 * len(bars)))]


def reliability_plots(at_run: RunThreshold | None) -> list[Plot]:
    """Return the share of boxes that are right over their score; one plot or none."""
    numbers = None if at_run is None else at_run.reliability
    if at_run is None or numbers is None or not numbers.curve.boxes:
        return []
    curve = numbers.curve
    words = "; ".join(
        f"score {score:.2f}, {round(100 * right)} percent right ({round(100 * low)} to {round(100 * high)}), "
        f"{counted(round(boxes), 'box')}"
        for boxes, score, right, low, high in zip(
            curve.boxes, curve.score, curve.right, *wilson(curve.right, curve.boxes), strict=True
        )
    )
    description = f"Percent of boxes that are right over their score, with 95 percent intervals: {words}"
    return [Plot("Reliability of the scores", description, partial(_draw_reliability, curve=curve), size=(5.0, 3.7))]


def training_plots(metrics: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return losses and validation results over the epochs.

    Args:
        metrics: a row per epoch: ``epoch``, losses (names with ``loss`` or starting with ``l_``) and validation results (names
            starting with ``val``); nested mappings are flattened; other keys are not drawn.
    """
    rows = [_flat(row) for row in metrics]
    names = list(dict.fromkeys(name for row in rows for name in row))
    val = [name for name in names if name.startswith("val")]
    others = [[row.get(name) for row in rows] for name in val if name != "val_select"]
    val = [name for name in val if name != "val_select" or [row.get(name) for row in rows] not in others]
    losses = [name for name in names if name not in val and ("loss" in name or name.startswith("l_"))]
    losses = [name for name in losses if name != "loss_crf"]  # unweighted, millions of times larger than the others
    percents = [name for name in val if max(row.get(name, 0) for row in rows) > 1]
    plots = []
    for title, chosen, y_label in (
        ("Training losses", losses, "loss"),
        ("Validation, percent", percents, "percent"),
        ("Validation, from 0 to 1", [name for name in val if name not in percents], "value"),
    ):
        lines = []
        for name in chosen:
            epochs = [row.get("epoch", number) for number, row in enumerate(rows, 1) if name in row]
            lines.append(Line(in_words(name), epochs, [row[name] for row in rows if name in row], look="dotted"))
        if lines:
            last = ", ".join(f"{in_words(name)} {rows[-1].get(name, math.nan):.4g}" for name in chosen)
            draw = partial(_draw_epochs, lines=lines, y_label=y_label)
            plots.append(Plot(title, f"{counted(len(rows), 'epoch')}; at the last one {last}", draw, title))
    return plots


def write_plots(folder: Path, methods: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the plots of an evaluation as files for papers, each as SVG and PNG, black on white.

    ``CURVES``: :func:`threshold_plots`; ``activations``: :func:`activation_plots`; ``errors``: :func:`error_plots`; only those
    with data. Existing files are replaced, each completely or not at all, or removed.

    Args:
        folder: the output folder; created if missing.
        methods: methods of ``evaluation.json``; underscores in names become spaces.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    rows = as_methods(methods)
    return [
        *save_plots(folder / CURVES, threshold_plots(rows), title="Boxes correct at each threshold", size=(5.0, 3.7)),
        *save_plots(folder / "activations", activation_plots(rows), title="Values of the score maps", size=(4.7, 3.2)),
        *save_plots(folder / "errors", error_plots(rows), title="Kinds of errors"),
    ]


def _curves(lines: Sequence[Line], title: str, description: str, caption: str, mark_label: str = "") -> Plot:
    labels: dict[str, Any] = {"x_label": TAU_LABEL, "y_label": "photos correct, %", "mark_label": mark_label}
    return Plot(title, description, partial(draw_lines, lines=lines, percent=True, **labels), caption)


def _peaks(lines: Sequence[Line]) -> str:
    return "; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in lines)


def _steps(activations: Activations) -> dict[str, list[float]]:
    """Return the percentage of pixels per bin inside and outside the ground truth, by name, if there are any pixels."""
    curves: dict[str, list[float]] = {}
    if activations.foreground_pixels:
        curves[f"inside ground-truth {activations.truth}"] = [value or 0.0 for value in activations.foreground]
    if activations.background_pixels:
        curves[f"outside ground-truth {activations.truth}"] = [value or 0.0 for value in activations.background]
    return curves


def _draw_steps(axes: Axes, *, curves: Mapping[str, Sequence[float]], edges: Sequence[float], highest: float) -> None:
    """Draw filled step curves ``(B,)`` over bins with limits ``(B + 1,)``, on a logarithmic axis up to ``highest``."""
    floor = _MIN_PERCENT / 2  # not visible
    for (name, values), colour, dash in zip(curves.items(), SERIES, DASHES, strict=False):
        heights = np.maximum(values, floor)
        axes.stairs(heights, edges, baseline=floor, fill=True, color=colour, alpha=0.2, linewidth=0)
        axes.stairs(heights, edges, baseline=None, color=colour, linestyle=dash, linewidth=1.8, label=name)
    axes.set(xlabel="value of the score map", ylabel="pixels per bin, %", xlim=(edges[0], edges[-1]))
    axes.set(yscale="log", ylim=(_MIN_PERCENT, highest))
    axes.yaxis.set_major_formatter("{x:g}")
    draw_legend(axes, columns=1)  # side by side, the long names would squeeze the axes


def _draw_reliability(axes: Axes, *, curve: ReliabilityCurve) -> None:
    """Draw a point per bin, smaller and with a longer interval the fewer boxes it has; their number is shown below."""
    chances = Line("scores that are chances", [0, 1], [0, 100])
    draw_lines(axes, [chances], x_label="score of the box; below: number of boxes", y_label="boxes that are right, %")
    x, right, boxes = (np.asarray(values) for values in (curve.score, curve.right, curve.boxes))
    low, high = wilson(right, boxes)
    look: dict[str, Any] = {"color": SERIES[1], "zorder": 3}
    axes.vlines(x, 100 * low, 100 * high, linewidth=1.6, label="boxes of dips predict, 95 % interval", **look)
    axes.scatter(x, 100 * right, s=_SMALL_DOT + (_LARGE_DOT - _SMALL_DOT) * np.sqrt(boxes / boxes.max()), **look)
    for score, count in zip(x.tolist(), boxes.tolist(), strict=True):
        axes.text(score, -5, f"{count:,.0f}", ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-10, 103), yticks=range(0, 101, 20))
    draw_legend(axes, columns=1)


def _draw_bars(axes: Axes, *, bars: Mapping[str, Mapping[str, float]]) -> None:
    """Draw stacked bars of ``ERRORS`` in percent, by label, one below another."""
    axes.grid(visible=False)
    lefts = np.zeros(len(bars))
    for (name, _), (colour, hatch) in zip(ERRORS.values(), _ERROR_LOOKS, strict=True):
        if not any(name in parts for parts in bars.values()):
            continue
        widths = np.array([parts.get(name, 0) for parts in bars.values()])
        look: dict[str, Any] = {"height": 0.58, "color": colour, "edgecolor": "white", "hatch": hatch, "linewidth": 0.8}
        patches = axes.barh(range(len(bars)), widths, left=lefts, label=name, **look)
        words = [f"{width:.1f}" if width >= _MIN_LABELLED else "" for width in widths]
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.2}
        for label in axes.bar_label(patches, words, label_type="center", color="white", fontsize=9):
            if label.get_text():
                label.set_bbox(box)
        lefts += widths
    for row, parts in enumerate(bars.values()):
        small = [f"{name} {parts[name]:.1f}" for name, _ in ERRORS.values() if 0 < parts.get(name, 0) < _MIN_LABELLED]
        axes.text(100, row + 0.32, " · ".join(small), ha="right", va="top", fontsize=8.5)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlim=(0, 100), ylim=(len(bars) - 0.35, -0.4), xlabel="photos, %")
    draw_legend(axes, columns=3)


def _draw_epochs(axes: Axes, *, lines: Sequence[Line], y_label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    draw_lines(axes, lines, x_label="epoch", y_label=y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the row's finite numbers, with names of nested ones joined by ``_``."""
    numbers: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            numbers |= _flat(value, f"{prefix}{key}_")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            numbers[f"{prefix}{key}"] = float(value)
    return numbers
