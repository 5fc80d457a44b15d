"""One self-contained ``report.html``: photos, then numbers next to baselines, plots, settings, and how they were made.

In: the contents of a run or prediction folder. Out: one file that needs no network; its Content-Security-Policy allows only its
own script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dips.report.figures import ERRORS, activation_plots, error_plots, reliability_plots, threshold_plots, training_plots
from dips.report.photo_section import PhotoSection, csp_hash, page_script, photo_json
from dips.report.plots import Plot, inline_svg
from dips.report.records import Evaluation, Run, own_method
from dips.system.files import atomic_file
from dips.types import is_saliency_tuned

__all__ = ["write_report"]

_MODES = ("fast", "accurate", "unet")  # other modes of the run itself, which cards do not compare it with


def write_report(
    path: Path,
    *,
    title: str,
    photos: PhotoSection | None,
    run: Run | None = None,
    evaluation: Evaluation | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    settings_toml: str = "",
) -> None:
    """Write the report, completely or not at all.

    Args:
        path: the HTML file.
        title: heading, e.g. the run's name.
        photos: data of all photos, and the photos to show; None if there are none.
        run: how the run was made; None if the page is about a prediction.
        evaluation: the run's last evaluation; None if nothing was evaluated yet.
        metrics: a row per epoch, see :func:`~dips.report.figures.training_plots`.
        settings_toml: the run's settings.

    Raises:
        RunError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("dips.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(pct=_percent, tau=_threshold, span=_interval)
    methods = evaluation.methods if evaluation is not None else []
    own = own_method(methods)
    script = page_script() if photos is not None and photos.rows else ""
    html = templates.get_template("report.html.j2").render(
        title=title,
        run=run,
        evaluation=evaluation,
        methods=methods,
        own=own,
        baselines=[method for method in methods if method is not own and method.name not in _MODES],
        training_plots=_svgs(training_plots(metrics)),
        threshold_plots=_svgs(threshold_plots(methods)),
        activation_plots=_svgs(activation_plots(methods)),
        error_plots=_svgs(error_plots(methods)),
        reliability_plots=_svgs(reliability_plots(evaluation.at_run_tau if evaluation is not None else None)),
        errors=ERRORS,
        epochs=len(metrics),
        settings_toml=settings_toml,
        tuned=[note for row in run.weights.values() if is_saliency_tuned(note := str(row.get("note", "")))]
        if run is not None
        else [],
        photos=photos,
        script=script,
        script_source=csp_hash(script) if script else "'none'",
        data=photo_json(photos) if photos is not None and script else "",
    )
    with atomic_file(path) as file:
        file.write(html)


def _svgs(plots: Sequence[Plot]) -> list[tuple[str, str]]:
    """Return the caption and ``<svg>`` of each plot."""
    return [(plot.caption, inline_svg(plot)) for plot in plots]


def _percent(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"  # noqa: RUF001 - a dash for no number


def _threshold(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")  # noqa: RUF001


def _interval(limits: Sequence[float | None] | None) -> str:
    """Return ``lower to upper``, or nothing if either is unknown."""
    low, high = limits or (None, None)
    return "" if low is None or high is None or not math.isfinite(low + high) else f"{low:.1f} to {high:.1f}"
