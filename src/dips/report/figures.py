"""The figures of an evaluation, for the report's page and as files for papers.

In: the methods of an evaluation's record. Out: plots for :mod:`dips.report.plots`, or files. What the record of an
older evaluation lacks is left out.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.report.panels import Bar, Line, Panel, bars_panel, lines_panel, steps_panel
from dips.report.plots import save_panels

__all__ = ["CURVES", "ERRORS", "activation_panels", "comparison_panels", "error_panels", "own_method", "threshold_panels"]
__all__ += ["write_plots"]

CURVES = "box_acc_over_tau"
"""Name of the files of :func:`threshold_panels` and :func:`comparison_panels`."""

ERRORS = {
    "correct": ("correct", "IoU of the predicted and a true box above 0.5"),
    "part": ("part of the object", "more than half of the predicted box lies inside the true one, which it does not fill"),
    "more": ("more than the object", "at least 70 % of the true box is covered, with too much around it"),
    "several_objects": ("several objects", "more than 30 % of more than one true box lies inside the predicted one"),
    "other": ("other", "none of these, e.g. a box beside the object"),
    "class_wrong": (
        "wrong class",
        "the predicted class is not the true one, wherever the box lies; a method that predicts none cannot have it",
    ),
}
"""Kinds of ``dissection``, from left to right in the bars: their name and what they mean."""

_IOUS = ("30", "50", "70")
_METHODS = 6  # as many colours as there are
_TAU = "threshold τ, share of the map's maximum"
_FLOOR = 0.01  # percent of the pixels; less is not seen


def own_method(methods: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The method that the run trained: the one with ``own``, else the first one."""
    return next((row for row in methods if row.get("own")), methods[0] if methods else None)


def threshold_panels(methods: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Photos correct over the threshold: the own method by IoU, and the mean over the IoUs of every method."""
    own, panels = own_method(methods), []
    if own is not None and _curves(own):
        curves, chosen = _curves(own), (own.get("at_tau") or {}).get("tau") or {}
        best, lines = (own.get("boxes") or {}).get("best_tau") or {}, []
        for key in [*_IOUS, "v1"]:
            if key in curves:
                tau = chosen.get(key, best.get(key))
                mark = None if tau is None else (tau, float(np.interp(tau, curves["tau"], curves[key])))
                name = "IoU ≥ 0.5, largest contour" if key == "v1" else f"IoU ≥ 0.{key[0]}"
                lines.append(Line(name, curves["tau"], curves[key], mark=mark))
        panels.append(
            lines_panel(
                lines,
                title=f"{own['name']}: boxes correct at each threshold",
                caption=f"{own['name']}, by IoU",
                x_label=_TAU,
                y_label="photos correct, %",
                description="Share of photos with a correct box over the threshold, for three IoUs; "
                + "; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in lines),
                y_limits=(0, 100),
                marks="chosen on the validation split" if chosen else "best on this split",
            )
        )
    means = [Line(row["name"], _curves(row)["tau"], _mean(row).tolist()) for row in methods if _curves(row)][:_METHODS]
    if len(means) > 1:
        panels.append(
            lines_panel(
                means,
                title="Mean over the three IoUs, by method",
                caption="By method, mean over the IoUs",
                x_label=_TAU,
                y_label="photos correct, %",
                description="; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in means),
                y_limits=(0, 100),
            )
        )
    return panels


def comparison_panels(methods: Sequence[Mapping[str, Any]], about: str = "") -> list[Panel]:
    """Photos correct over the threshold, mean over the IoUs and seeds, of any number of methods; no or one plot.

    Args:
        methods: of a comparison's record. The own ones are drawn strong, the best others in colours, single heads of the
            transformer last, the rest thin and grey.
        about: on what the methods were measured, for the heading.
    """
    found = [(row, [run for run in row["runs"] if _curves(run)]) for row in methods]
    curves = [(row, _curves(runs[0])["tau"], np.mean([_mean(run) for run in runs], axis=0)) for row, runs in found if runs]
    if not curves:
        return []
    curves.sort(key=lambda curve: (not curve[0]["own"], _is_head(curve[0]), -curve[2].max()))
    looks = ["strong" if row["own"] else "plain" if place < _METHODS else "faint" for place, (row, *_) in enumerate(curves)]
    lines = [Line(row["title"], tau, mean.tolist(), look=look) for (row, tau, mean), look in zip(curves, looks, strict=True)]
    return [
        lines_panel(
            lines,
            title="Mean over the three IoUs, by method",
            x_label=_TAU,
            y_label="photos correct, %, mean over the IoUs 0.3, 0.5, 0.7",
            description="; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in lines),
            y_limits=(0, 100),
            heading="\n".join(
                [*textwrap.wrap(about, 70), "one threshold for all IoUs; V2 of the table takes the best for each IoU"]
            ),
        )
    ]


def _is_head(row: Mapping[str, Any]) -> bool:
    """Whether it is one head of the transformer."""
    return re.fullmatch(r"head\d+", row["name"]) is not None


def activation_panels(methods: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Values of the score maps inside and outside the true objects: a plot per method, the own one first, axes alike."""
    own = own_method(methods)
    ordered = sorted((row for row in methods if _steps(row)), key=lambda row: row is not own)[:_METHODS]
    top = max((max(values) for row in ordered for values in _steps(row).values()), default=0.0)
    panels = []
    for row in ordered:
        edges, steps = row["activations"]["edges"], _steps(row)
        centres = (np.asarray(edges[1:]) + np.asarray(edges[:-1])) / 2
        means = {name: float(np.average(centres, weights=values)) for name, values in steps.items()}
        panels.append(
            steps_panel(
                steps,
                edges,
                title=f"{row['name']}: activations",
                caption=row["name"],
                x_label="value of the score map",
                y_label="pixels per bin, %",
                description="Share of pixels over the value of the score map; "
                + "; ".join(f"mean value {name} {mean:.2f}" for name, mean in means.items()),
                y_limits=(_FLOOR, max(10.0, 2 * top)),
            )
        )
    return panels


def error_panels(methods: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """What kinds of errors the boxes have, a stacked bar per method; no or one plot."""
    rows = [row for row in methods if (row.get("dissection") or {}).get("percent")]
    if not rows:
        return []
    bars, words = [], []
    for row in rows:
        found = row["dissection"]
        parts = {name: found["percent"][kind] for kind, (name, _) in ERRORS.items() if found["percent"].get(kind) is not None}
        threshold = f"τ {round(found['tau'], 3):g} from {found['tau_from']}"
        bars.append(Bar("\n".join([*textwrap.wrap(row["name"], 22), threshold]), parts))
        words.append(f"{row['name']}, {threshold}: " + ", ".join(f"{name} {value:.1f}" for name, value in parts.items()))
    kinds = [name for name, _ in ERRORS.values() if any(name in bar.parts for bar in bars)]
    return [
        bars_panel(
            bars, kinds, title="Kinds of errors", x_label="photos, %", description="Percent of photos. " + "; ".join(words)
        )
    ]


def write_plots(folder: Path, methods: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the figures as files for papers, each as SVG and as PNG (300 dpi), black on white.

    ``CURVES``: :func:`threshold_panels`; ``activations``: :func:`activation_panels`; ``errors``:
    :func:`error_panels`; only those that there is data for. Files of before are replaced, each whole or not at all, or removed.

    Args:
        folder: where they go; made if it is missing.
        methods: of ``evaluation.json``; underscores in names become spaces.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    named = [{**row, "name": row["name"].replace("_", " ")} for row in methods]
    written = []
    for stem, title, panels, size, columns in (
        (CURVES, "Boxes correct at each threshold", threshold_panels(named), (5.0, 3.7), 2),
        ("activations", "Values of the score maps", activation_panels(named), (4.7, 3.2), 2),
        ("errors", "Kinds of errors", error_panels(named), None, 1),
    ):
        written += save_panels(folder / stem, panels, title=title, size=size, columns=columns)
    return written


def _curves(row: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    return (row.get("boxes") or {}).get("curves") or {}


def _mean(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """Over the three IoUs, at each threshold."""
    return np.asarray(np.mean([_curves(row)[key] for key in _IOUS], axis=0), dtype=np.float64)


def _steps(row: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    """Percentages per bin of what has any pixels, by name."""
    found = row.get("activations") or {}
    names = {"foreground": f"inside true {found.get('truth')}", "background": f"outside true {found.get('truth')}"}
    return {name: found[key] for key, name in names.items() if found.get(f"{key}_pixels")}
