"""The table of a comparison (Table 1 of the paper), before typesetting.

In: a :class:`~dips.comparison.records.Comparison`. Out: a :class:`Table`, whose cells are text; Markdown, LaTeX and the
terminal only typeset it. Each method has a row with mean and spread over the seeds: first methods that learn nothing, then the
rivals, then DiPS, with better methods further down.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dips.comparison.records import ComparedMethod, Comparison
from dips.system.console import counted
from dips.types import is_saliency_tuned

__all__ = ["CHOSEN", "COLUMNS", "COST", "GROUPS", "ORACLE", "Cell", "Metric", "Number", "Row", "Table", "comparison_table"]
__all__ += ["data_name"]

Run = Mapping[str, Any]

GROUPS = ("Learns nothing", "Rivals", "DiPS")
"""Groups of rows, from top to bottom."""

ORACLE, CHOSEN, COST = "best threshold of this split (oracle)", "validation's threshold", "cost"
"""Groups of columns."""

_MAX_BUDGETS = 1.1  # methods that took longer than this many budgets are listed


@dataclass(frozen=True)
class Number:
    """Mean over the seeds and, with more than one, the sample standard deviation.

    >>> Number(85.5, spread=None).mean
    85.5
    """

    mean: float
    spread: float | None


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        key: its name in :attr:`Row.numbers`.
        part: its group: ``ORACLE``, ``CHOSEN`` or ``COST``.
        title: its heading, unique within the part.
        meaning: its explanation in the legend.
        of: returns the number of a run; None if there is none.

    >>> COLUMNS[8].heading, COLUMNS[8].of({"at_tau": {"box_acc_v2": 58.3}}), COLUMNS[8].of({"at_tau": None})
    ('V2 (val)', 58.3, None)
    """

    key: str
    part: str
    title: str
    meaning: str
    of: Callable[[Run], float | None]

    @property
    def percent(self) -> bool:
        """Whether higher is better and the spread over the seeds matters."""
        return self.part != COST

    @property
    def heading(self) -> str:
        """The title, made unique within the whole table."""
        return f"{self.title} (val)" if self.part == CHOSEN else self.title


@dataclass(frozen=True)
class Cell:
    """A number as printed: mean and spread with one decimal; a dash if it is missing, no spread for a single seed.

    ``best``: whether it is the highest mean of its column as printed, so that means that look equal are marked alike.

    >>> Cell("85.5", "0.7", best=True).mean
    '85.5'
    """

    mean: str
    spread: str
    best: bool


@dataclass(frozen=True)
class Row:
    """One method in the table.

    Attributes:
        title: its name, with the number of seeds if some are missing.
        paper: where it comes from.
        labels: what supervises it: ``none`` or ``image``.
        group: one of ``GROUPS``.
        numbers: by :attr:`Metric.key`, in percent, minutes, milliseconds and millions; None if missing.
        cells: the same as text.
        caveat: what readers must know about the method's numbers; may be empty.
    """

    title: str
    paper: str
    labels: str
    group: str
    numbers: Mapping[str, Number | None]
    cells: Mapping[str, Cell]
    caveat: str = ""

    @property
    def marked(self) -> str:
        """The title, with a dagger if there is a caveat."""
        return f"{self.title} †" if self.caveat else self.title


@dataclass(frozen=True)
class Table:
    """Everything that is printed about a comparison.

    Attributes:
        data: the data set as the user named it; ``name``: its folder.
        columns: columns in which at least one method has a number.
        groups: the non-empty ones of ``GROUPS`` with their rows, ascending by V2.
        notes: how the numbers were obtained, one sentence each.
        failures: which methods failed with which seed, and why, one line each.
    """

    data: str
    name: str
    columns: Sequence[Metric]
    groups: Sequence[tuple[str, Sequence[Row]]]
    notes: Sequence[str]
    failures: Sequence[str]

    @property
    def rows(self) -> list[Row]:
        """All rows from top to bottom."""
        return [row for _, members in self.groups for row in members]

    @property
    def caveats(self) -> list[str]:
        """The caveats of the methods with a dagger, one line each."""
        return [f"† {row.title}: {row.caveat}" for row in self.rows if row.caveat]


def _at(*keys: str, times: float = 1.0) -> Callable[[Run], float | None]:
    """Return a function that reads the number at nested keys of a run, times a factor."""

    def number(run: Run) -> float | None:
        value: Any = run
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value * times if isinstance(value, int | float) and math.isfinite(value) else None

    return number


COLUMNS = (
    Metric("v2", ORACLE, "V2", "MaxBoxAccV2, the mean of the next three", _at("boxes", "max_box_acc_v2")),
    Metric("30", ORACLE, "IoU 0.3", "any box has an IoU of at least 0.3", _at("boxes", "max_box_acc_at", "30")),
    Metric("50", ORACLE, "IoU 0.5", "any box has an IoU of at least 0.5", _at("boxes", "max_box_acc_at", "50")),
    Metric("70", ORACLE, "IoU 0.7", "any box has an IoU of at least 0.7", _at("boxes", "max_box_acc_at", "70")),
    Metric("v1", ORACLE, "MaxBoxAcc", "the largest contour's box has an IoU of at least 0.5", _at("boxes", "max_box_acc")),
    Metric("gt", ORACLE, "GT-known", "the class is given; in this protocol the same as IoU 0.5", _at("boxes", "gt_known")),
    Metric("top1", ORACLE, "Top-1 loc", "as GT-known at its threshold, and the class is right", _at("boxes", "top1_loc")),
    Metric("pxap", ORACLE, "PxAP", "area under precision and recall of the pixels, over all thresholds", _at("pxap")),
    Metric("v2_val", CHOSEN, "V2", "as V2, thresholds chosen on validation", _at("at_tau", "box_acc_v2")),
    Metric("v1_val", CHOSEN, "MaxBoxAcc", "as MaxBoxAcc, threshold chosen on validation", _at("at_tau", "box_acc")),
    Metric("min", COST, "train min", "minutes of the whole fit, those of the methods it builds on included", _at("minutes")),
    Metric("ms", COST, "ms/photo", "milliseconds that a map takes", _at("seconds_per_photo", times=1e3)),
    Metric("params", COST, "M params", "millions of parameters that an answer needs", _at("parameters", times=1e-6)),
)


def comparison_table(comparison: Comparison) -> Table:
    """Return the table of a comparison, with a row per measured method."""
    measured = [(method, _numbers(method)) for method in comparison.methods if method.runs]
    best = {}
    for metric in COLUMNS:
        means = [number.mean for _, numbers in measured if (number := numbers[metric.key]) is not None]
        best[metric.key] = f"{max(means):.1f}" if len(means) > 1 and metric.percent else ""
    rows = [_row(method, numbers, best, len(comparison.seeds)) for method, numbers in measured]
    rows.sort(key=lambda row: -1.0 if row.numbers["v2"] is None else row.numbers["v2"].mean)
    return Table(
        data=comparison.data,
        name=data_name(comparison),
        columns=[metric for metric in COLUMNS if any(row.numbers[metric.key] is not None for row in rows)],
        groups=[(group, members) for group in GROUPS if (members := [row for row in rows if row.group == group])],
        notes=_notes(comparison),
        failures=[f"{each.title}, seed {each.seed}: {' '.join(each.why.split())}" for each in comparison.failed],
    )


def data_name(comparison: Comparison) -> str:
    """Return the name of the data's folder, even if it was given as ``.``."""
    return Path(comparison.data).resolve().name


def _row(method: ComparedMethod, numbers: Mapping[str, Number | None], best: Mapping[str, str], seeds: int) -> Row:
    idle = method.labels == "none" and not any(run["fit"]["steps"] or run["needs_seconds"] for run in method.runs)
    group = GROUPS[2] if method.own else GROUPS[0] if idle else GROUPS[1]
    title = method.title if len(method.runs) == seeds else f"{method.title} ({len(method.runs)} of {counted(seeds, 'seed')})"
    cells = {metric.key: _cell(metric, numbers[metric.key], best[metric.key]) for metric in COLUMNS}
    return Row(title, method.paper, method.labels, group, numbers, cells, " ".join(method.caveat.split()))


def _numbers(method: ComparedMethod) -> dict[str, Number | None]:
    runs = [{**run, "minutes": _minutes(run)} for run in method.runs]
    numbers: dict[str, Number | None] = {}
    for metric in COLUMNS:
        values = [value for run in runs if (value := metric.of(run)) is not None]
        spread = statistics.stdev(values) if len(values) > 1 else None
        numbers[metric.key] = Number(statistics.fmean(values), spread) if values else None
    return numbers


def _cell(metric: Metric, number: Number | None, best: str) -> Cell:
    if number is None:
        return Cell("–", "", best=False)  # noqa: RUF001 - a dash for no number
    mean = f"{number.mean:.1f}"
    return Cell(mean, f"{number.spread:.1f}" if number.spread is not None and metric.percent else "", best=mean == best)


def _notes(comparison: Comparison) -> list[str]:
    """Return notes on photos, protocol, seeds, networks, budget and machine, one sentence each."""
    seeds, skipped, boxed = comparison.seeds, comparison.n_skipped, comparison.photos.val_boxed
    tuned = is_saliency_tuned(comparison.transformer)
    caveat = "; numbers made with it are not those of a purely self-supervised one" if tuned else ""
    left_out = f"; {skipped} of them could not be read and are left out" if skipped else ""
    chosen_on = (
        f"Checkpoints, percentiles and the thresholds of (val): chosen on the boxes of {counted(boxed, 'validation photo')}"
    )
    if not boxed:
        chosen_on = (
            "No validation photo has boxes: no checkpoint or threshold was chosen by them, the (val) columns are left out, and "
            "the sheet shows the best threshold of the measured photos (oracle)"
        )
    return [
        f"{counted(comparison.n_images, 'photo')} of the split {comparison.split}, {comparison.n_boxed} with "
        f"ground-truth boxes{left_out}",
        f"Protocol: {comparison.protocol}",
        f"CNN: {comparison.cnn}; stride of the methods on it: {comparison.stride}, or the next larger one that it can have",
        f"Transformer: {comparison.transformer}{caveat}",
        *_budget_notes(comparison),
        chosen_on,
        *_start_notes(comparison),
        f"Times: on {comparison.environment['device']}, {comparison.environment['cpus']} CPU cores",
        f"Seeds: {', '.join(map(str, seeds))}{' (mean ± sample standard deviation)' if len(seeds) > 1 else ''}",
    ]


def _start_notes(comparison: Comparison) -> list[str]:
    """Return a note on the methods of which validation chose the network before training."""
    chosen = [
        method.title
        for method in comparison.methods
        if any(str(run["fit"].get("chosen", "")).startswith("step 0 of ") for run in method.runs)
    ]
    if not chosen:
        return []
    return [
        "Training brought nothing on validation, so that the start was chosen (step 0: only new layers fitted): "
        + ", ".join(chosen)
    ]


def _budget_notes(comparison: Comparison) -> list[str]:
    """Return notes on how long methods were trained, and on which of them took longer or were ended by a limit."""
    if comparison.budget_minutes is None:
        ended = [
            (method.title, {limit for run in method.runs if (limit := run["fit"].get("limit"))})
            for method in comparison.methods
        ]
        limited = ", ".join(f"{title} ({' and '.join(sorted(limits))})" for title, limits in ended if limits)
        return [
            f"Budget: none; methods were trained {comparison.limits}. DiPS has a fixed length",
            *([f"Ended by a limit, while validation may still have improved: {limited}"] if limited else []),
        ]
    most = _MAX_BUDGETS * comparison.budget_minutes
    over, over_fixed = (
        ", ".join(
            f"{method.title} ({statistics.fmean(map(minutes, method.runs)):.1f} min)"
            for method in comparison.methods
            if any(minutes(run) > most for run in method.runs)
        )
        for minutes in (_minutes, _fixed_minutes)
    )
    return [
        f"Budget: {comparison.budget_minutes:g} minutes per method in all, for harvest, what it builds on, training and checks "
        "on validation, whenever that was done; at least a few steps are always taken",
        *([f"More than {_MAX_BUDGETS:g} times the budget: {over}"] if over else []),
        *(
            [f"Of these, work that no budget shortens (harvest, what it builds on, choices) took longer: {over_fixed}"]
            if over_fixed
            else []
        ),
    ]


def _minutes(run: Run) -> float:
    """Return the minutes that a method took, including the methods it builds on."""
    return float(run["fit"]["seconds"] + run["needs_seconds"]) / 60


def _fixed_minutes(run: Run) -> float:
    """Return the minutes that no budget can shorten: methods it builds on, harvests, and fits that only choose."""
    fit = run["fit"]
    return float(run["needs_seconds"] + (fit.get("fixed", 0.0) if fit["steps"] else fit["seconds"])) / 60
