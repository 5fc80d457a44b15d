"""The JSON of an evaluation: ``evaluation.json`` of ``dips evaluate``, ``--json`` of ``dips score``, input of ``--tau-from``.

In: results of a split. Out: records with the keys of docs/metrics.md, in percent; None if there is nothing to count.
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
"""Number of resamples of the photos for each bootstrap interval."""


class MethodRecord(Record, frozen=True, kw_only=True):
    """The numbers of one method.

    Attributes:
        own: whether it is the evaluated method; the others are there for comparison.
        note: a description of the method.
        boxes: see :meth:`~dips.evaluate.result.BoxResult.record`.
        at_tau: see :meth:`~dips.evaluate.result.ThresholdResult.record`; None if no threshold was chosen on validation.
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
    """The main numbers of a method included for comparison."""

    max_box_acc: float | None
    max_box_acc_v2: float | None
    max_box_acc_at: dict[str, float | None]
    best_tau: dict[str, float] | None
    intervals: dict[str, Any] | None
    at_validation_tau: dict[str, Any] | None
    pxap: float | None


class EvaluationRecord(Record, frozen=True, kw_only=True):
    """The fields common to all evaluations. The numbers at the top are those of the evaluated method."""

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
        n: number of photos with this class, perhaps among others.
        accuracy: percent of them predicted as one of their classes.
        box_acc_50: percent of them with a correct box at IoU 0.5.
        ap50, ap: average precision of its boxes at the run's own threshold, as in a
            :class:`~dips.benchmark.precision.PrecisionRecord`; None if it has no true box.
    """

    name: str
    n: int
    accuracy: float
    box_acc_50: float | None
    ap50: float | None = None
    ap: float | None = None


class RunTauRecord(Record, frozen=True, kw_only=True):
    """Results at the run's own threshold, by the field's metrics and over all boxes; percent.

    Attributes:
        tau: the threshold.
        box_acc_v2: as MaxBoxAccV2, with this one threshold.
        precision: precision of all boxes, at IoU 0.5. Photos predicted as the background class have none; boxes in other photos
            of that class are wrong.
        recall: recall of all ground-truth boxes.
        f1: their harmonic mean.
        boxes, objects: number of boxes, and of ground-truth boxes.
        ap50, ap: average precision of the boxes with their classes, as in a
            :class:`~dips.benchmark.precision.PrecisionRecord`; None if no class is known.
        calibrated: whether scores are probabilities, not only a ranking.
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
        note: the user's note about the photos.
        validation_tau_from: how the thresholds were chosen, or why none of them applies to these photos.
        at_run_tau: quality of the boxes of ``dips predict``, at the run's own threshold; None if it has none.
        class_accuracy: ``top1_cls`` with equal weight for each class; None if no photo has a class.
        mode, second_look, unet_share: how the run predicts (``predict.mode``); side in pixels of the second look, 0 for none.
        labels: description of the labels that the run was trained on.
        sst: the transformer, which predicts (``accurate``) or taught the maps.
        skipped, problems: photos that could not be read; all problems of the data, including these.
        files: SHA-256 of the other files that the evaluation wrote to the run folder, by name.
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
        n_truth: number of photos of the split, with or without a map.
        resized: whether maps of other sizes were accepted; ``partial``: whether missing ones were.
        validation_tau_from: the file that the thresholds came from.
        precision: average precision of the boxes, if the maps are those of a prediction.
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
    """A method's description, its results, and the thresholds chosen for it on a validation split.

    Thresholds of one method do not apply to another.
    """

    note: str
    result: MapResult
    tau: Mapping[str, float] | None = None


def shared_fields(methods: Mapping[str, MethodResult], protocol: Protocol) -> dict[str, Any]:
    """Return the fields of :class:`EvaluationRecord`.

    Args:
        methods: methods by name; the first is the evaluated one.
        protocol: the protocol of the numbers.
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
    """The thresholds of ``best_tau`` at which a split can be measured."""

    v1: _Tau
    at_30: _Tau
    at_50: _Tau
    at_70: _Tau


class _CentreTaus(Record, frozen=True, kw_only=True):
    best_tau: _Taus | None = None


class _BaselineTaus(Record, frozen=True, kw_only=True):
    centre: _CentreTaus = _CentreTaus()


class _ValidationRecord(Record, frozen=True, kw_only=True):
    """The fields that ``--tau-from`` needs of a :class:`MapEvaluation` or :class:`ModelEvaluation`, even of old versions."""

    schema_version: int = EVALUATION_VERSION
    best_tau: _Taus
    protocol_name: str | None = None
    photos: str = ""
    baselines: _BaselineTaus = _BaselineTaus()


def read_validation_taus(path: Path, protocol: Protocol, photos: str) -> dict[str, dict[str, float]]:
    """Read the thresholds of a validation split, ``best_tau`` of an evaluation's JSON.

    Args:
        protocol: the protocol of the current evaluation.
        photos: fingerprints of the photos to be evaluated at the thresholds.

    Returns:
        Thresholds by method: ``maps``, the evaluated method, and ``centre``, if present.

    Raises:
        DataError: the file has none, was made with another protocol, or with some of the ``photos``.
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
