"""The JSON of an evaluation: ``evaluation.json`` of ``dips evaluate``, ``--json`` of ``dips score``, what ``--tau-from`` reads.

In: results of a split. Out: records whose keys are those of docs/metrics.md, in percent; None where there is nothing to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from dips.benchmark.fingerprints import shared_photos
from dips.benchmark.precision import PrecisionRecord
from dips.data.classes import ClassAccuracy
from dips.data.problems import ProblemRecord
from dips.errors import DataError
from dips.evaluate.protocol import Protocol
from dips.evaluate.result import MapResult
from dips.system.records import Record, read_record
from dips.types import EVALUATION_VERSION

__all__ = [
    "CENTRE_NOTE",
    "REPLICATES",
    "EvaluationRecord",
    "MapEvaluation",
    "MethodRecord",
    "MethodResult",
    "ModelEvaluation",
    "RunTauRecord",
    "read_validation_taus",
    "shared_fields",
]

CENTRE_NOTE = "a centred Gaussian; does not look at the photo"

REPLICATES = 1000
"""Resamples of the photos behind each bootstrap interval."""


class MethodRecord(Record, frozen=True, kw_only=True):
    """The numbers of one method.

    Attributes:
        own: it is the one that is evaluated; the others are there for comparison.
        note: what it is.
        boxes: see :meth:`~dips.evaluate.result.BoxResult.record`.
        at_tau: see :meth:`~dips.evaluate.result.ThresholdResult.record`; None where nothing was chosen on validation.
        pxap, activations, dissection: see :class:`~dips.evaluate.result.MapResult`.
    """

    name: str
    own: bool
    note: str
    boxes: dict[str, Any]
    at_tau: dict[str, Any] | None
    pxap: float | None
    activations: dict[str, Any] | None
    dissection: dict[str, Any] | None


class BaselineRecord(Record, frozen=True, kw_only=True):
    """The main numbers of a method that is there for comparison."""

    max_box_acc: float | None
    max_box_acc_v2: float | None
    max_box_acc_at: dict[str, float | None]
    best_tau: dict[str, float] | None
    intervals: dict[str, Any] | None
    at_validation_tau: dict[str, Any] | None
    pxap: float | None


class EvaluationRecord(Record, frozen=True, kw_only=True):
    """What every evaluation says. The numbers at the top are those of the method that is evaluated."""

    schema_version: int = EVALUATION_VERSION
    protocol: str
    protocol_name: str
    n_images: int
    n_boxed: int
    n_boxes: int
    max_box_acc: float | None
    max_box_acc_v2: float | None
    max_box_acc_at: dict[str, float | None]
    gt_known: float | None
    top1_loc: float | None
    top5_loc: float | None
    pxap: float | None
    top1_cls: float | None
    top5_cls: float | None
    best_tau: dict[str, float] | None
    intervals: dict[str, Any] | None
    at_validation_tau: dict[str, Any] | None
    baselines: dict[str, BaselineRecord]
    methods: list[MethodRecord]


class ClassRecord(Record, frozen=True, kw_only=True):
    """One class of an evaluation.

    Attributes:
        n: photos that have it, perhaps among others.
        accuracy: percent of them that are predicted as a class of theirs.
        box_acc_50: percent of them with a box that is right at IoU 0.5.
        ap50, ap: average precision of its boxes at the run's own threshold, as in a
            :class:`~dips.benchmark.precision.PrecisionRecord`; None where it has no true box.
    """

    name: str
    n: int
    accuracy: float
    box_acc_50: float | None
    ap50: float | None = None
    ap: float | None = None


class RunTauRecord(Record, frozen=True, kw_only=True):
    """What the run's own threshold gives, by the field's metrics and over all boxes; percent.

    Attributes:
        tau: the threshold.
        box_acc_v2: as MaxBoxAccV2, with this one threshold.
        precision: of all boxes, at IoU 0.5. Photos predicted as the background class have none; boxes in others of that class
            are wrong.
        recall: of all ground-truth boxes.
        f1: their harmonic mean.
        boxes, objects: how many there are of each.
        ap50, ap: average precision of the boxes with their classes, as in a
            :class:`~dips.benchmark.precision.PrecisionRecord`; None where no class is known.
        calibrated: whether scores are chances, not only an order.
        reliability: see :meth:`~dips.evaluate.reliability.Reliability.record`.
    """

    tau: float
    box_acc_v2: float | None
    precision: float
    recall: float
    f1: float
    boxes: int
    objects: int
    ap50: float | None = None
    ap: float | None = None
    calibrated: bool = False
    reliability: dict[str, Any] = msgspec.field(default_factory=dict)


class ModelEvaluation(EvaluationRecord, frozen=True, kw_only=True):
    """``evaluation.json``: a run on a split.

    Attributes:
        photos: see :func:`~dips.benchmark.fingerprints.fingerprints`.
        note: a sentence of the user's about the photos.
        validation_tau_from: how the thresholds were chosen, or why none of them suits these photos.
        at_run_tau: what the boxes of ``dips predict`` are worth, at the run's own threshold; None where it has none.
        class_accuracy: ``top1_cls`` where each class counts the same; None where no photo has a class.
        mode, second_look, unet_share: how the run predicts (``predict.mode``); side in pixels of the second look, 0 for none.
        labels: what the run was trained on, in words.
        sst: the transformer, which predicts (``accurate``) or taught the maps.
        skipped, problems: photos that could not be read; everything that was wrong with the data, these included.
        files: SHA-256 of what else the evaluation left in the run folder, by name.
    """

    data: str
    split: str
    photos: str
    note: str
    validation_tau_from: str
    at_run_tau: RunTauRecord | None
    classes: list[ClassRecord]
    class_accuracy: ClassAccuracy | None = None
    mode: str
    second_look: int
    unet_share: float
    labels: str = "image labels"
    sst: str
    weights: dict[str, Any]
    seed: int
    skipped: list[ProblemRecord]
    problems: list[ProblemRecord] = msgspec.field(default_factory=list)
    environment: dict[str, Any]
    files: dict[str, str]


class MapEvaluation(EvaluationRecord, frozen=True, kw_only=True):
    """``dips score --json``: ready maps on a split.

    Attributes:
        photos: see :func:`~dips.benchmark.fingerprints.fingerprints`.
        n_truth: photos of the split, with a map or without.
        resized: maps of other sizes were accepted; ``partial``: missing ones were.
        validation_tau_from: the file that the thresholds came from.
        precision: of the boxes of a prediction, where the maps are those of one.
    """

    maps: str
    data: str
    split: str
    photos: str
    n_truth: int
    resized: bool
    partial: bool
    problems: list[ProblemRecord]
    validation_tau_from: str | None
    precision: PrecisionRecord | msgspec.UnsetType = msgspec.UNSET
    environment: dict[str, Any]


class MethodResult(NamedTuple):
    """A method's results, with a note that says what it is, and thresholds that were chosen for it on a validation split.

    Thresholds of one method suit no other.
    """

    note: str
    result: MapResult
    tau: Mapping[str, float] | None = None


def shared_fields(methods: Mapping[str, MethodResult], protocol: Protocol) -> dict[str, Any]:
    """Return the fields of :class:`EvaluationRecord`.

    Args:
        methods: by name; the first one is the one that is evaluated.
        protocol: what the numbers belong to.
    """
    own = next(iter(methods))
    records = {
        name: MethodRecord(name=name, own=name == own, note=method.note, **method.result.record(method.tau))
        for name, method in methods.items()
    }
    first, boxes = records[own], records[own].boxes
    same = (
        "n_images",
        "n_boxed",
        "n_boxes",
        "max_box_acc",
        "max_box_acc_v2",
        "max_box_acc_at",
        "gt_known",
        "top1_loc",
        "top5_loc",
    )
    thresholds = len(methods[own].result.boxes.taus)
    return {
        "protocol": f"{protocol.words}, {thresholds} thresholds; maximum over thresholds on this split (oracle)",
        "protocol_name": protocol.name,
        **{key: boxes[key] for key in same},
        "pxap": first.pxap,
        "top1_cls": boxes["class_top1"],
        "top5_cls": boxes["class_top5"],
        "best_tau": boxes["best_tau"],
        "intervals": boxes["intervals"],
        "at_validation_tau": first.at_tau,
        "baselines": {name: _baseline(record) for name, record in records.items() if name != own},
        "methods": list(records.values()),
    }


def _baseline(method: MethodRecord) -> BaselineRecord:
    keys = ("max_box_acc", "max_box_acc_v2", "max_box_acc_at", "best_tau", "intervals")
    return BaselineRecord(**{key: method.boxes[key] for key in keys}, at_validation_tau=method.at_tau, pxap=method.pxap)


_Tau = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Taus(Record, frozen=True, kw_only=True, rename={"at_30": "30", "at_50": "50", "at_70": "70"}):
    """The thresholds of ``best_tau`` that a split can be measured at."""

    v1: _Tau
    at_30: _Tau
    at_50: _Tau
    at_70: _Tau


class _CentreTaus(Record, frozen=True, kw_only=True):
    best_tau: _Taus | None = None


class _BaselineTaus(Record, frozen=True, kw_only=True):
    centre: _CentreTaus = _CentreTaus()


class _ValidationRecord(Record, frozen=True, kw_only=True):
    """A view: what ``--tau-from`` needs of a :class:`MapEvaluation` or a :class:`ModelEvaluation`, of earlier versions, too."""

    schema_version: int = EVALUATION_VERSION
    best_tau: _Taus
    protocol_name: str | None = None
    photos: str = ""
    baselines: _BaselineTaus = _BaselineTaus()


def read_validation_taus(path: Path, protocol: Protocol, photos: str) -> dict[str, dict[str, float]]:
    """Read the thresholds of a validation split, ``best_tau`` of an evaluation's JSON.

    Args:
        protocol: the one that the thresholds are for.
        photos: fingerprints of the photos that are evaluated at them.

    Returns:
        Thresholds by what they suit: ``maps``, the method that was evaluated, and ``centre``, if it is there.

    Raises:
        DataError: the file has none, was made by another protocol, or with some of the ``photos``.
    """
    remedy = "give the JSON that 'dips score' or 'dips evaluate' wrote for the validation split, with ground-truth boxes"
    record = read_record(path, _ValidationRecord, remedy=remedy, error=DataError)
    try:
        common = shared_photos(record.photos, photos)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); {remedy}") from error
    if record.protocol_name not in (None, protocol.name):
        raise DataError(
            f"{path} holds thresholds of the protocol {record.protocol_name}, not of {protocol.name}; score both splits by one"
        )
    if common:
        raise DataError(
            f"{path} was made with {common} of the photos that are scored now, so its thresholds are not validated; score "
            "another split"
        )
    found = {"maps": record.best_tau, "centre": record.baselines.centre.best_tau}
    return {name: msgspec.to_builtins(taus) for name, taus in found.items() if taus is not None}
