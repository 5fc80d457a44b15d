"""The JSON files of a comparison: those of each method, and ``table.json``.

In: how methods were fitted, and their results. Out: records, one schema per file. Numbers under ``boxes`` and ``at_tau`` come
from :mod:`dips.evaluate.result`: percentages in [0, 100], thresholds in [0, 1], None if there is nothing to count.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dips.data.problems import ProblemRecord
from dips.system.records import Record

__all__ = ["ComparedMethod", "Comparison", "Failure", "FitFile", "MethodWords", "ResultFile", "StudyPhotoCounts"]


class MethodWords(Record, frozen=True, kw_only=True):
    """A method's description of itself; see :class:`~dips.baselines.method.ScoreMapMethod`.

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
    """``fit.json``: how a method was fitted; see :class:`~dips.baselines.method.Fit`."""

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
    """``test.json`` and the like: a method's results on a split.

    Attributes:
        boxes: result of :meth:`~dips.evaluate.result.BoxResult.record`.
        at_tau: result of :meth:`~dips.evaluate.result.ThresholdResult.record`, at validation's thresholds; None without any.
        pxap: percent; None without masks.
        activations, dissection: see :class:`~dips.report.records.Activations`, :class:`~dips.report.records.Dissection`.
        top1_cls: percentage of photos whose class is right; None if the method predicts none.
        parameters: number of parameters needed for an answer.
        seconds_per_photo: seconds that an answer takes.
        ground_truth: fingerprint of the photos and ground truth that it was measured on; empty in files of early versions.
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
    ground_truth: str = ""


class ComparedMethod(MethodWords, frozen=True, kw_only=True):
    """One method of ``table.json``.

    Attributes:
        runs: one per seed: ``seed``, the keys of :class:`ResultFile` and of :class:`~dips.baselines.method.Fit` (``fit``), and
            ``needs_seconds``, the time taken by the methods that it builds on.
    """

    runs: list[dict[str, Any]]


class StudyPhotoCounts(Record, frozen=True, kw_only=True):
    """Numbers of photos that methods learn from and choose on; ``val_boxed``: validation photos with ground-truth boxes."""

    train: int
    val: int
    val_boxed: int


class Failure(Record, frozen=True, kw_only=True):
    """A method that raised an exception."""

    name: str
    title: str
    seed: int
    why: str


class Comparison(Record, frozen=True, kw_only=True):
    """``table.json``: many methods on one split by one protocol.

    Attributes:
        protocol: description; ``protocol_name``: name as typed by the user.
        n_images, n_boxed, n_skipped: photos of the split, those with ground-truth boxes, and those that could not be read.
        budget_minutes: total minutes per method; None if methods were trained until validation stopped improving.
        limits: description of when such a training ends; empty with a budget.
        stride: stride of the CNN's feature map, in pixels of the photo, if the CNN supports it.
        seeds: seeds that methods were fitted with, ascending.
        cnn, transformer: descriptions of the networks that methods start from.
        weights: where their weights come from; None for missing ones.
        environment: versions and hardware.
        problems: problems of the data when the command last ran.
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
