"""The JSON of a comparison: what is kept of each method, and ``table.json``.

In: what methods learned and measured. Out: records, a schema per file. Numbers below ``boxes`` and ``at_tau`` are those of
:mod:`dips.evaluate.result`: percentages in [0, 100], thresholds in [0, 1], None where there is nothing to count.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dips.data.problems import ProblemRecord
from dips.system.records import Record

__all__ = ["ComparedMethod", "Comparison", "Failure", "FitFile", "MethodWords", "ResultFile", "StudyPhotoCounts"]


class MethodWords(Record, frozen=True, kw_only=True):
    """What a method says about itself, see :class:`~dips.baselines.method.ScoreMapMethod`.

    >>> MethodWords(name="cam", title="CAM", paper="Zhou et al., CVPR 2016", labels="image", own=False).needs
    []
    """

    name: str
    title: str
    paper: str
    labels: Literal["none", "image"]
    own: bool
    needs: list[str] = msgspec.field(default_factory=list)
    caveat: str = ""


class FitFile(Record, frozen=True, kw_only=True):
    """``fit.json``: how a method learned, see :class:`~dips.baselines.method.Fit`."""

    schema_version: int = 1
    steps: int = 0
    epochs: int | float = 0.0
    seconds: int | float = 0.0
    fixed: int | float = 0.0
    chosen: str = ""
    curve: list[dict[str, Any]] = msgspec.field(default_factory=list)
    limit: str = ""
    method: MethodWords


class ResultFile(Record, frozen=True, kw_only=True):
    """``test.json`` and the like: the numbers of a method on a split.

    Attributes:
        boxes: of :meth:`~dips.evaluate.result.BoxResult.record`.
        at_tau: of :meth:`~dips.evaluate.result.ThresholdResult.record`, at validation's thresholds; None without any.
        pxap: percent; None without masks.
        activations, dissection: see :class:`~dips.report.records.Activations`, :class:`~dips.report.records.Dissection`.
        top1_cls: percent of the photos whose class is right; None where the method names none.
        parameters: how many an answer needs.
        seconds_per_photo: that an answer takes.
    """

    schema_version: int = 1
    boxes: dict[str, Any]
    at_tau: dict[str, Any] | None
    pxap: float | None
    activations: dict[str, Any] | None
    dissection: dict[str, Any] | None
    top1_cls: float | None
    parameters: int
    seconds_per_photo: float
    skipped: list[ProblemRecord]


class ComparedMethod(MethodWords, frozen=True, kw_only=True):
    """One method of ``table.json``.

    Attributes:
        runs: one per seed: ``seed``, the keys of :class:`ResultFile` and of :class:`~dips.baselines.method.Fit` (``fit``), and
            ``needs_seconds``, the time that the methods took which it builds on.
    """

    runs: list[dict[str, Any]]


class StudyPhotoCounts(Record, frozen=True, kw_only=True):
    """Photos that methods learn from and choose on; ``val_boxed``: those of validation with ground-truth boxes."""

    train: int
    val: int
    val_boxed: int


class Failure(Record, frozen=True, kw_only=True):
    """A method that raised."""

    name: str
    title: str
    seed: int
    why: str


class Comparison(Record, frozen=True, kw_only=True):
    """``table.json``: many methods on one split by one protocol.

    Attributes:
        protocol: in words; ``protocol_name``: as a user types it.
        n_images, n_boxed, n_skipped: photos of the split, those with ground-truth boxes, and those that could not be read.
        budget_minutes: that each method may use in all; None where methods were trained until validation stopped improving.
        limits: when that was, in words; empty with a budget.
        stride: of the CNN's feature map, in pixels of the photo, where it can have that.
        seeds: each method was fitted with, ascending.
        cnn, transformer: the networks that methods start from, in words.
        weights: where they are from; None where there are none.
        environment: versions and hardware.
        problems: what was wrong with the data when the command ran last.
    """

    schema_version: int = 1
    data: str
    split: str
    protocol: str
    protocol_name: str
    n_images: int
    n_boxed: int
    n_skipped: int
    budget_minutes: float | None
    seeds: list[int]
    photos: StudyPhotoCounts
    cnn: str
    transformer: str
    weights: dict[str, Any]
    environment: dict[str, Any]
    methods: list[ComparedMethod]
    limits: str = ""
    stride: int = 16
    failed: list[Failure] = msgspec.field(default_factory=list)
    problems: list[ProblemRecord] = msgspec.field(default_factory=list)
