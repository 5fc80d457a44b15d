"""One self-contained ``report.html``: numbers beside baselines, curves, photos, settings, and how the numbers were made.

In: the record of an evaluation, rows of ``metrics.jsonl``, settings, environment, weights, and pictures. Out: one file
below 5 MB that asks nothing of the network and runs no script.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import RunError
from dips.export.draw import thumbnail
from dips.export.plots import Line, lines_svg
from dips.runtime import atomic_file

__all__ = ["ClassRow", "Evaluation", "MethodRow", "ReportPhoto", "write_report"]

_PHOTO_BYTES = 3_200_000  # for all photos together, as base64


class MethodRow(TypedDict, total=False):
    """One method in the table. Only ``name`` and ``boxes`` are needed.

    ``name``; ``note``; ``own``: True for the method this run trained (else the first one); ``boxes``: from
    ``BoxResult.record()``; ``at_tau``: from ``ThresholdResult.record()``, at thresholds chosen on validation; ``pxap``.
    """

    name: str
    note: str
    own: bool
    boxes: Mapping[str, Any]
    at_tau: Mapping[str, Any] | None
    pxap: float | None


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
    the checkpoint was chosen, in words; ``label_free``: True if neither used any box; ``notes``: further sentences.
    """

    data: str
    split: str
    methods: Sequence[MethodRow]
    classes: Sequence[ClassRow]
    classifiers: Sequence[Mapping[str, Any]]
    tau_source: str
    selection: str
    label_free: bool
    notes: Sequence[str]


@dataclass(frozen=True)
class ReportPhoto:
    """A picture for the report.

    Attributes:
        caption: words below it, e.g. the photo's id.
        image: ``(H, W, 3) uint8``, e.g. from :func:`dips.export.draw.overlay`.
        iou: best IoU at the threshold in use, None where it is unknown.
        group: which gallery it belongs to.
    """

    caption: str
    image: NDArray[np.uint8]
    iou: float | None
    group: Literal["best", "worst"]


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: Evaluation | Mapping[str, Any] | None,
    metrics: Sequence[Mapping[str, Any]],
    settings_toml: str,
    environment: Mapping[str, Any],
    weights: Sequence[Mapping[str, Any]],
    photos: Sequence[ReportPhoto],
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
        photos: pictures of both galleries; they are shrunk, and the last ones left out, if they would be too heavy.

    Raises:
        RunError: the file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("dips.export").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment_j2 = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment_j2.filters.update(pct=_pct, tau=_tau)
    data: Mapping[str, Any] = evaluation or {}
    methods = [_method(row) for row in data.get("methods", ())]
    own = next((row for row in methods if row["own"]), methods[0] if methods else None)
    pictures, left_out = _pictures(photos)
    html = environment_j2.from_string(source).render(
        title=title,
        evaluation={key: data.get(key) for key in Evaluation.__annotations__},
        methods=methods,
        own=own,
        baselines=[row for row in methods if row is not own],
        training_plots=_training_plots(metrics),
        tau_plots=_tau_plots(methods, own),
        epochs=len(metrics),
        settings_toml=settings_toml,
        environment={str(key): str(value) for key, value in environment.items()},
        weights=[{str(key): value for key, value in row.items()} for row in weights],
        tuned=[str(row.get("note") or row.get("arch", "")) for row in weights if "saliency-tuned" in str(dict(row))],
        galleries=[
            (name, heading, [p for p in pictures if p["group"] == name])
            for name, heading in (("best", "Best photos"), ("worst", "Worst photos"))
        ],
        left_out=left_out,
    )
    with atomic_file(path) as file:
        file.write(html)


def _method(row: Mapping[str, Any]) -> dict[str, Any]:
    boxes = row.get("boxes") or {}
    chosen = row.get("at_tau") or {}
    return {
        "name": row["name"],
        "note": row.get("note", ""),
        "own": bool(row.get("own", False)),
        "v2": boxes.get("max_box_acc_v2"),
        "at": boxes.get("max_box_acc_at") or {},
        "v1": boxes.get("max_box_acc"),
        "gt_known": boxes.get("gt_known"),
        "top1_loc": boxes.get("top1_loc"),
        "top5_loc": boxes.get("top5_loc"),
        "class_top1": boxes.get("class_top1"),
        "n_images": boxes.get("n_images"),
        "n_boxes": boxes.get("n_boxes"),
        "best_tau": boxes.get("best_tau") or {},
        "curves": boxes.get("curves") or {},
        "chosen_v2": chosen.get("box_acc_v2"),
        "chosen_at": chosen.get("box_acc_at") or {},
        "chosen_tau": chosen.get("tau") or {},
        "pxap": row.get("pxap"),
    }


def _training_plots(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
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
    plots = []
    for title, wanted, label in (
        ("Training losses", loss, "loss"),
        ("Validation, percent", shares, "percent"),
        ("Validation, criteria", [name for name in val if name not in shares], "value"),
    ):
        if wanted and rows:
            last = ", ".join(f"{name.replace('_', ' ')} {rows[-1].get(name, math.nan):.4g}" for name in wanted)
            description = f"{len(rows)} epochs; at the last one {last}"
            svg = lines_svg(curves(wanted), title=title, x_label="epoch", y_label=label, description=description, whole_x=True)
            plots.append((title, svg))
    return plots


def _tau_plots(methods: Sequence[Mapping[str, Any]], own: Mapping[str, Any] | None) -> list[str]:
    plots = []
    if own is not None and own["curves"]:
        curves, lines = own["curves"], []
        for delta in ("30", "50", "70"):
            tau = own["chosen_tau"].get(delta, own["best_tau"].get(delta))
            mark = None if tau is None else (tau, float(np.interp(tau, curves["tau"], curves[delta])))
            lines.append(Line(f"IoU ≥ 0.{delta[0]}", curves["tau"], curves[delta], mark=mark))
        which = "chosen on the validation split" if own["chosen_tau"] else "best on this split"
        plots.append(
            lines_svg(
                lines,
                title=f"{own['name']}: boxes correct at each threshold",
                x_label=f"threshold τ (share of the map's maximum); ◆ {which}",
                y_label="photos correct, %",
                description="Share of photos with a correct box over the threshold, for three IoUs",
                y_limits=(0, 100),
            )
        )
    means = [
        Line(row["name"], row["curves"]["tau"], np.mean([row["curves"][d] for d in ("30", "50", "70")], axis=0).tolist())
        for row in methods
        if row["curves"]
    ]
    if len(means) > 1:
        plots.append(
            lines_svg(
                means[:6],
                title="Mean over the three IoUs, by method",
                x_label="threshold τ (share of the map's maximum)",
                y_label="photos correct, %",
                description="; ".join(f"{line.name} reaches {max(line.y):.1f} percent" for line in means[:6]),
                y_limits=(0, 100),
            )
        )
    return plots


def _pictures(photos: Sequence[ReportPhoto]) -> tuple[list[dict[str, Any]], int]:
    """Photos as JPEG in base64 within the room there is, and how many had to be left out."""
    for side, quality in ((520, 84), (400, 80), (300, 74)):
        shown = [_picture(photo, side, quality) for photo in photos]
        if sum(len(entry["data"]) for entry in shown) <= _PHOTO_BYTES:
            return shown, 0
    total, kept = 0, []
    for entry in shown:
        total += len(entry["data"])
        if total <= _PHOTO_BYTES:
            kept.append(entry)
    return kept, len(shown) - len(kept)


def _picture(photo: ReportPhoto, side: int, quality: int) -> dict[str, Any]:
    small = thumbnail(photo.image, side)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:  # pragma: no cover - no picture is known that OpenCV cannot encode
        raise RunError(f"the picture of {photo.caption} could not be encoded as JPEG")
    return {
        "caption": photo.caption,
        "iou": photo.iou,
        "group": photo.group,
        "width": small.shape[1],
        "height": small.shape[0],
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }


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
