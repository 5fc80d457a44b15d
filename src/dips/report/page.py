"""One self-contained ``report.html``: numbers beside baselines, curves, photos, settings, and how the numbers were made.

In: the record of an evaluation, rows of ``metrics.jsonl``, settings, environment, weights, and photos. Out: one file that asks
nothing of the network; its Content-Security-Policy allows no script but its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from dips.report.figures import ERRORS, activation_panels, error_panels, own_method, threshold_panels
from dips.report.panels import Line, Panel, lines_panel
from dips.report.photopage import PhotoPage, csp_hash, page_json, page_script
from dips.report.plots import panel_svg
from dips.system.files import atomic_file

__all__ = ["ClassRow", "Evaluation", "MethodRow", "write_report"]


class MethodRow(TypedDict, total=False):
    """One method in the table. Only ``name`` and ``boxes`` are needed.

    ``name``; ``note``; ``own``: True for the method this run trained (else the first one); ``boxes``: from
    ``BoxResult.record()``, with ``intervals`` if there are any; ``at_tau``: from ``ThresholdResult.record()``, at
    thresholds chosen on validation; ``pxap``; ``activations``: percent of the pixels inside (``foreground``) and outside
    the true objects between ``edges`` of the score; ``dissection``: ``percent`` of the photos by kind of error at ``tau``.
    """

    name: str
    note: str
    own: bool
    boxes: Mapping[str, Any]
    at_tau: Mapping[str, Any] | None
    pxap: float | None
    activations: Mapping[str, Any] | None
    dissection: Mapping[str, Any] | None


class ClassRow(TypedDict, total=False):
    """One class: ``name``, ``n`` photos, ``accuracy`` of the label and ``box_acc_50`` in percent (None if unknown)."""

    name: str
    n: int
    accuracy: float | None
    box_acc_50: float | None


class Evaluation(TypedDict, total=False):
    """What the report shows of an evaluation; every key may be missing.

    ``data``: name of the data set; ``split``; ``methods``: the own one and baselines; ``classes``; ``classifiers``:
    ``{"name": ..., "accuracy": percent}``; ``tau_source``: how the threshold was chosen, in words; ``selection``: how
    the checkpoint was chosen, in words; ``label_free``: True if neither used any box; ``note``: a sentence for the top;
    ``notes``: further sentences.
    """

    data: str
    split: str
    methods: Sequence[MethodRow]
    classes: Sequence[ClassRow]
    classifiers: Sequence[Mapping[str, Any]]
    tau_source: str
    selection: str
    label_free: bool
    note: str
    notes: Sequence[str]


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: Evaluation | Mapping[str, Any] | None,
    metrics: Sequence[Mapping[str, Any]],
    settings_toml: str,
    environment: Mapping[str, Any],
    weights: Sequence[Mapping[str, Any]],
    photos: PhotoPage | None,
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: the HTML file.
        title: heading, e.g. the run's name.
        evaluation: see :class:`Evaluation`; None where nothing was evaluated yet.
        metrics: a row per epoch: ``epoch``, losses (names with ``loss`` or beginning with ``l_``) and validation
            results (names beginning with ``val``); nested mappings are flattened; other keys are not drawn.
        settings_toml: the run's settings.
        environment: versions and hardware.
        weights: a record per network: ``role``, ``arch``, ``source``, ``origin``, ``sha256``, ``note`` where known.
        photos: what is known of each photo, and those that are shown; None where nothing was evaluated yet.

    Raises:
        RunError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment_j2 = Environment(
        loader=PackageLoader("dips.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment_j2.filters.update(pct=_pct, tau=_tau, span=_span)
    data: Mapping[str, Any] = evaluation or {}
    given = data.get("methods", ())
    methods = [_method(row, own_method(given)) for row in given]
    own = next((row for row in methods if row["own"]), None)
    script = page_script() if photos is not None and photos.rows else ""
    html = environment_j2.get_template("report.html.j2").render(
        title=title,
        evaluation={key: data.get(key) for key in Evaluation.__annotations__},
        methods=methods,
        own=own,
        baselines=[row for row in methods if row is not own],
        training_plots=_svgs(_training_panels(metrics)),
        tau_plots=_svgs(threshold_panels(given)),
        activation_plots=_svgs(activation_panels(given)),
        error_plots=_svgs(error_panels(given)),
        errors=ERRORS,
        epochs=len(metrics),
        settings_toml=settings_toml,
        environment={str(key): str(value) for key, value in environment.items()},
        weights=[{str(key): value for key, value in row.items()} for row in weights],
        tuned=[str(row.get("note") or row.get("arch", "")) for row in weights if "saliency-tuned" in str(dict(row))],
        photos=photos,
        script=script,
        script_source=csp_hash(script) if script else "'none'",
        data=page_json(photos) if photos is not None and script else "",
    )
    with atomic_file(path) as file:
        file.write(html)


def _method(row: Mapping[str, Any], own: Mapping[str, Any] | None) -> dict[str, Any]:
    boxes = row.get("boxes") or {}
    chosen = row.get("at_tau") or {}
    return {
        "name": row["name"],
        "note": row.get("note", ""),
        "own": row is own,
        "v2": boxes.get("max_box_acc_v2"),
        "at": boxes.get("max_box_acc_at") or {},
        "v1": boxes.get("max_box_acc"),
        "gt_known": boxes.get("gt_known"),
        "top1_loc": boxes.get("top1_loc"),
        "top5_loc": boxes.get("top5_loc"),
        "class_top1": boxes.get("class_top1"),
        "n_images": boxes.get("n_images"),
        "n_boxes": boxes.get("n_boxes"),
        "intervals": boxes.get("intervals") or {},
        "chosen_v2": chosen.get("box_acc_v2"),
        "chosen_at": chosen.get("box_acc_at") or {},
        "chosen_tau": chosen.get("tau") or {},
        "pxap": row.get("pxap"),
        "truth": (row.get("activations") or {}).get("truth"),
        "dissection": row.get("dissection") or {"percent": {}},
    }


def _svgs(panels: Sequence[Panel]) -> list[tuple[str, str]]:
    """Caption and ``<svg>`` of each."""
    return [(panel.caption, panel_svg(panel)) for panel in panels]


def _training_panels(metrics: Sequence[Mapping[str, Any]]) -> list[Panel]:
    rows = [_flat(row) for row in metrics]
    names = list(dict.fromkeys(name for row in rows for name in row))

    def curves(wanted: Sequence[str]) -> list[Line]:
        lines = []
        for name in wanted:
            points = [(row.get("epoch", number), row[name]) for number, row in enumerate(rows, 1) if name in row]
            lines.append(Line(name.replace("_", " "), *zip(*points, strict=True), dots=True))
        return lines

    val = [name for name in names if name.startswith("val")]
    loss = [name for name in names if name not in val and ("loss" in name or name.startswith("l_"))]
    loss = [name for name in loss if name != "loss_crf"]  # unweighted, millions of times the others
    shares = [name for name in val if max(row.get(name, 0) for row in rows) > 1]
    panels = []
    for title, wanted, label in (
        ("Training losses", loss, "loss"),
        ("Validation, percent", shares, "percent"),
        ("Validation, criteria", [name for name in val if name not in shares], "value"),
    ):
        if wanted and rows:
            last = ", ".join(f"{name.replace('_', ' ')} {rows[-1].get(name, math.nan):.4g}" for name in wanted)
            description = f"{len(rows)} epochs; at the last one {last}"
            panel = lines_panel(
                curves(wanted),
                title=title,
                caption=title,
                description=description,
                x_label="epoch",
                y_label=label,
                whole_x=True,
            )
            panels.append(panel)
    return panels


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The row's finite numbers; names of nested ones joined by ``_``."""
    numbers: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            numbers |= _flat(value, f"{prefix}{key}_")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            numbers[f"{prefix}{key}"] = float(value)
    return numbers


def _pct(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"  # noqa: RUF001 - a dash for no number


def _tau(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")  # noqa: RUF001


def _span(interval: Sequence[float | None] | None) -> str:
    """``lower to upper``, or nothing where either is unknown."""
    low, high = interval or (None, None)
    return "" if low is None or high is None or not math.isfinite(low + high) else f"{low:.1f} to {high:.1f}"
