"""The numbers of a comparison's table (Table 1 of the paper), before anything is typeset.

In: the record of :func:`dips.comparison.compare`. Out: a row per method with mean and spread over the seeds; first what learns
nothing, then the rivals, then DiPS, the better the lower.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CHOSEN", "COLUMNS", "GROUPS", "ORACLE", "Metric", "Number", "Row", "comparison_rows", "grouped", "shown_columns"]

Run = Mapping[str, Any]

GROUPS = ("Learns nothing", "Rivals", "DiPS")
"""From top to bottom."""

ORACLE, CHOSEN, COST = "best threshold of this split (oracle)", "validation's threshold", "cost"
"""What the columns belong to."""


@dataclass(frozen=True)
class Number:
    """Mean over the seeds and, of more than one, the sample standard deviation."""

    mean: float
    spread: float | None


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        key: its name in :attr:`Row.numbers`.
        part: what it belongs to: ``ORACLE``, ``CHOSEN`` or ``COST``.
        title: its heading, unique within the part.
        meaning: what it is, for the legend.
        of: takes the number from a run; None where there is none.
    """

    key: str
    part: str
    title: str
    meaning: str
    of: Callable[[Run], float | None]

    @property
    def percent(self) -> bool:
        """Whether more is better and the spread over the seeds matters."""
        return self.part != COST

    @property
    def heading(self) -> str:
        """The title as it is unique in the whole table."""
        return f"{self.title} (val)" if self.part == CHOSEN else self.title

    def words(self, number: Number | None) -> tuple[str, str]:
        """The mean and its spread as text with one decimal; empty where there is none, a dash where there is no number."""
        if number is None:
            return "–", ""  # noqa: RUF001 - a dash for no number
        return f"{number.mean:.1f}", f"{number.spread:.1f}" if number.spread is not None and self.percent else ""

    def best(self, rows: Sequence[Row]) -> str:
        """The highest mean as it is printed, so that what looks equal is equally good; empty where nothing is best."""
        found = [number.mean for row in rows if (number := row.numbers[self.key]) is not None]
        return f"{max(found):.1f}" if len(found) > 1 and self.percent else ""


@dataclass(frozen=True)
class Row:
    """One method in the table.

    Attributes:
        title: what it is called, with the number of seeds where some are missing.
        paper: where it comes from.
        labels: what supervises it: ``none`` or ``image``.
        group: one of ``GROUPS``.
        numbers: by :attr:`Metric.key`, in percent, minutes, milliseconds and millions; None where there is nothing.
    """

    title: str
    paper: str
    labels: str
    group: str
    numbers: Mapping[str, Number | None]


def _at(*keys: str, times: float = 1.0) -> Callable[[Run], float | None]:
    def of(run: Run) -> float | None:
        found: Any = run
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found * times if isinstance(found, int | float) and math.isfinite(found) else None

    return of


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
    Metric("min", COST, "train min", "minutes of training, those of the methods it builds on included", _at("minutes")),
    Metric("ms", COST, "ms/photo", "milliseconds that an answer takes", _at("seconds_per_photo", times=1e3)),
    Metric("params", COST, "M params", "millions of parameters that an answer needs", _at("parameters", times=1e-6)),
)


def comparison_rows(record: Mapping[str, Any]) -> list[Row]:
    """A row per method that was measured, in the order of ``GROUPS``, within each ascending by V2."""
    rows = [_row(method, len(record["seeds"])) for method in record["methods"] if method["runs"]]

    def place(row: Row) -> tuple[int, float]:
        v2 = row.numbers["v2"]
        return GROUPS.index(row.group), -1.0 if v2 is None else v2.mean

    return sorted(rows, key=place)


def shown_columns(rows: Sequence[Row]) -> list[Metric]:
    """The columns in which any method has a number."""
    return [metric for metric in COLUMNS if any(row.numbers[metric.key] is not None for row in rows)]


def grouped(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The groups that there are, with their rows."""
    found = [(group, [row for row in rows if row.group == group]) for group in GROUPS]
    return [(group, members) for group, members in found if members]


def _row(method: Mapping[str, Any], seeds: int) -> Row:
    runs = [{**run, "minutes": (run["fit"]["seconds"] + run["needs_seconds"]) / 60} for run in method["runs"]]
    idle = method["labels"] == "none" and not any(run["fit"]["steps"] or run["needs_seconds"] for run in runs)
    group = GROUPS[2] if method["own"] else GROUPS[0] if idle else GROUPS[1]
    title = method["title"] if len(runs) == seeds else f"{method['title']} ({len(runs)} of {seeds} seeds)"
    return Row(title, method["paper"], method["labels"], group, {metric.key: _number(metric, runs) for metric in COLUMNS})


def _number(metric: Metric, runs: Sequence[Run]) -> Number | None:
    values = [value for run in runs if (value := metric.of(run)) is not None]
    if not values:
        return None
    return Number(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
