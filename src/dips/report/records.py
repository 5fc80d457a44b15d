"""Views of ``run.json`` and ``evaluation.json``: the keys that the report needs of a run folder, with their types.

In: these files, perhaps of an earlier version, which lacks some numbers. Out: records whose missing numbers are None or empty.
Percentages are in [0, 100], thresholds and scores in [0, 1]; counts by IoU have the keys ``30``, ``50`` and ``70``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dips.data.classes import ClassAccuracy
from dips.data.gain import ReviewGain
from dips.system.records import Record
from dips.types import EVALUATION_VERSION, RUN_VERSION

__all__ = ["Accuracies", "Activations", "BoxNumbers", "ClassNumbers", "Dissection", "Evaluation", "Method", "Run"]
__all__ += ["ThresholdNumbers", "as_methods", "own_method"]


class BoxNumbers(Record, frozen=True, kw_only=True):
    """The fields of :meth:`dips.evaluate.result.BoxResult.record`; each number at its best threshold on the evaluated split.

    Attributes:
        best_tau: these thresholds, by IoU and, for the largest contour, ``v1``.
        curves: percentage of photos that are correct at each threshold, ``tau``, under the same keys.
        intervals: bootstrap intervals: ``level`` and ``replicates``, and a pair of bounds for each number, by name.
    """

    n_images: int = 0
    n_boxed: int | None = None
    max_box_acc: float | None = None
    max_box_acc_v2: float | None = None
    max_box_acc_at: dict[str, float | None] = msgspec.field(default_factory=dict)
    best_tau: dict[str, float] | None = None
    gt_known: float | None = None
    top1_loc: float | None = None
    top5_loc: float | None = None
    class_top1: float | None = None
    intervals: dict[str, Any] | None = None
    curves: dict[str, list[float]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.curves and not {"tau", "30", "50", "70"} <= self.curves.keys():
            raise ValueError("curves lack tau, or an IoU")
        if len(set(map(len, self.curves.values()))) > 1:
            raise ValueError("curves are of different lengths")


class ThresholdNumbers(Record, frozen=True, kw_only=True):
    """The fields of :meth:`dips.evaluate.result.ThresholdResult.record`, at thresholds ``tau`` chosen on validation."""

    tau: dict[str, float] = msgspec.field(default_factory=dict)
    box_acc_v2: float | None = None


class Activations(Record, frozen=True, kw_only=True):
    """Values of score maps inside and outside the ground truth.

    Attributes:
        edges: ``(B + 1,)`` edges of the bins.
        foreground, background: ``(B,)`` percent of the pixels inside and outside that are in each bin; None without pixels.
        foreground_pixels, background_pixels: number of these pixels.
        truth: type of the ground truth, ``boxes`` or ``masks``.
    """

    edges: list[float]
    foreground: list[float | None]
    background: list[float | None]
    foreground_pixels: int
    background_pixels: int
    truth: str

    def __post_init__(self) -> None:
        if not len(self.edges) - 1 == len(self.foreground) == len(self.background):
            raise ValueError("activations have more or fewer edges than bins")


class Dissection(Record, frozen=True, kw_only=True):
    """Percent of the photos with ground-truth boxes by kind of error, at the threshold ``tau``; None if impossible."""

    tau: float
    tau_from: str
    n_images: int
    percent: dict[str, float | None]


class Method(Record, frozen=True, kw_only=True):
    """One method of an evaluation: the localizer that the run trained (``own``), or a method that it is compared with.

    >>> as_methods([{"name": "mean_attention", "boxes": {"max_box_acc_v2": 81.7}}])[0].name
    'mean attention'
    """

    name: str
    own: bool = False
    note: str = ""
    boxes: BoxNumbers = BoxNumbers()
    at_tau: ThresholdNumbers | None = None
    pxap: float | None = None
    activations: Activations | None = None
    dissection: Dissection | None = None


class ClassNumbers(Record, frozen=True, kw_only=True):
    """One class: number of photos, percent of them with the right label and with a box of IoU 0.5, and AP50 of its boxes; the
    last is None in older evaluations."""

    name: str
    n: int
    accuracy: float | None = None
    box_acc_50: float | None = None
    ap50: float | None = None


class ReliabilityCurve(Record, frozen=True, kw_only=True):
    """For each bin of scores: the number of boxes, their mean score, and the share that is right, 0 to 1."""

    boxes: list[float]
    score: list[float]
    right: list[float]

    def __post_init__(self) -> None:
        if not len(self.boxes) == len(self.score) == len(self.right):
            raise ValueError("the reliability curve has more or fewer scores than bins")
        if any(count < 1 for count in self.boxes) or not all(0 <= share <= 1 for share in (*self.score, *self.right)):
            raise ValueError("a point of the reliability curve has no box, or a share that is not between 0 and 1")


class KeptBoxes(Record, frozen=True, kw_only=True):
    """Boxes above a score: percent that are right, and percent of the objects that are found."""

    score: float
    boxes: int
    precision: float
    recall: float


class ReliabilityNumbers(Record, frozen=True, kw_only=True):
    """How far scores are from the probability that boxes are right."""

    ece: float = 0.0
    curve: ReliabilityCurve = ReliabilityCurve(boxes=[], score=[], right=[])
    typical: KeptBoxes | None = None
    cautious: KeptBoxes | None = None


class RunThreshold(Record, frozen=True, kw_only=True):
    """Percent of all boxes that are right, and of the objects that are found, at the run's own threshold ``tau``.

    Attributes:
        calibrated: whether scores are probabilities.
        reliability: None in older evaluations.
    """

    tau: float
    precision: float
    recall: float
    f1: float
    calibrated: bool = False
    reliability: ReliabilityNumbers | None = None


class Evaluation(Record, frozen=True, kw_only=True):
    """A view of ``evaluation.json``: the keys that the report needs of :class:`dips.benchmark.records.ModelEvaluation`.

    Attributes:
        protocol: a sentence that describes how boxes are judged.
        at_run_tau: quality of the boxes of ``dips predict``.
        note: a sentence about the photos for the top of the page.
        files: SHA-256 of the files that belong to this evaluation, by name.

    >>> Evaluation(data="photos", split="test", protocol="WSOL", n_images=4).methods
    []
    """

    schema_version: int = EVALUATION_VERSION
    data: str
    split: str
    protocol: str
    n_images: int
    top1_cls: float | None = None
    methods: list[Method] = msgspec.field(default_factory=list)
    classes: list[ClassNumbers] = msgspec.field(default_factory=list)
    class_accuracy: ClassAccuracy | None = None
    at_run_tau: RunThreshold | None = None
    note: str = ""
    files: dict[str, str] = msgspec.field(default_factory=dict)


class Accuracies(Record, frozen=True, kw_only=True):
    """Percent of validation photos whose class is right, for the CNN and, with a U-Net, for a linear one on class tokens."""

    classifier: float | None = None
    linear_probe: float | None = None


class Run(Record, frozen=True, kw_only=True):
    """A view of ``run.json``: the keys that the report needs of :class:`dips.runs.records.RunRecord`.

    Attributes:
        environment: versions and hardware.
        weights: origin of each network's weights, by its part: ``arch``, ``source``, ``origin``, ``sha256``, ``note``.
        selection: a description of how checkpoint and threshold were chosen.
        label_free: whether they were chosen without ground-truth boxes.
        several: number of training photos with several labels.
        reviewed: the photos with reviewed boxes that the run was trained on.
        review_gain: the improvement from these; None if they are too few to tell.
    """

    schema_version: int = RUN_VERSION
    environment: dict[str, Any]
    weights: dict[str, dict[str, Any]]
    accuracy: Accuracies
    class_accuracy: ClassAccuracy | None = None
    selection: str
    label_free: bool
    several: int = 0
    reviewed: tuple[str, ...] = ()
    review_gain: ReviewGain | None = None


def as_methods(methods: Sequence[Mapping[str, Any]]) -> list[Method]:
    """Return the methods of an evaluation's result, with underscores in names replaced by spaces."""
    return [with_words(method) for method in msgspec.convert(methods, list[Method])]


def with_words(method: Method) -> Method:
    """Return the method with underscores in its name replaced by spaces."""
    return msgspec.structs.replace(method, name=method.name.replace("_", " "))


def own_method(methods: Sequence[Method]) -> Method | None:
    """Return the method that the run trained: the one with ``own``, else the first."""
    return next((method for method in methods if method.own), methods[0] if methods else None)
