"""``dips evaluate``: measure a trained run on a split, next to methods that need no training.

In: a :class:`~dips.runs.trained.TrainedRun` and DATA. Out: the numbers of the WSOL protocol and, in the run folder, the photos
shown in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from dips.benchmark.fingerprints import fingerprints
from dips.benchmark.frames import GroundTruth
from dips.benchmark.loop import CENTRE, evaluate_photos
from dips.benchmark.photo_rows import write_rows
from dips.benchmark.precision import BoxPrecision, PrecisionRecord
from dips.benchmark.records import (
    CENTRE_NOTE,
    REPLICATES,
    ClassRecord,
    MethodResult,
    ModelEvaluation,
    RunTauRecord,
    shared_fields,
)
from dips.data import align_classes, load_data
from dips.data.classes import ClassAccuracy, class_accuracy
from dips.data.copies import content_digest
from dips.data.images import image_size
from dips.data.listing import split_name
from dips.data.load import available_splits
from dips.data.problems import ProblemList, ProblemRecord, photo_problems
from dips.data.scale import depth_of
from dips.errors import DataError, WeightsError
from dips.evaluate.detection import DetectionCounter
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.reliability import Reliability
from dips.evaluate.result import BoxResult
from dips.harvest.attention import join_attention, normalised
from dips.models.frozen import FrozenNetworks
from dips.models.networks import Networks
from dips.report.photos import PHOTOS, ROWS, MapSpool, Rule, write_shown
from dips.runs.trained import TrainedRun
from dips.system.console import counted, log
from dips.system.device import environment
from dips.system.files import file_sha256, temporary_beside
from dips.system.names import as_text, some
from dips.types import Answer, Answerer, DataSet, FloatArray, PhotoBatch, Sample

__all__ = ["evaluate_model"]

_LOCALIZER, _ATTENTION = "localizer", "mean_attention"
_NOTES = {
    _ATTENTION: "class-token attention, mean over heads; no training",
    "fast": "linear map on the stages of the classifier's CNN; no transformer",
    "accurate": "linear map on the CNN's stages and the transformer's keys",
    "unet": "the trained U-Net alone",
    CENTRE: CENTRE_NOTE,
}


def evaluate_model(
    model: TrainedRun,
    data: str | Path,
    *,
    split: str | None,
    photos: int,
    protocol: Protocol,
    note: str,
    problems: ProblemList,
) -> dict[str, Any]:
    """See :meth:`dips.model.Model.evaluate`; writes ``ROWS`` and ``PHOTOS`` to the run folder."""
    dataset = _load(model, data, split)
    _refuse_reviewed(model, dataset)
    problems.add([*dataset.problems, *photo_problems(dataset.root, {dataset.split: dataset.samples})])
    answerers = _answerers(model)
    mode = model.config.predict.mode
    mismatch = _mismatch(model, dataset, data, split, protocol)
    if mismatch is not None:
        log(f"no numbers at validation's thresholds: {mismatch}")
    if _is_of_training(model, dataset, split) and split_name(split or "all") != "val":
        log("warning: the run was trained on photos of this data, perhaps on these: numbers on training photos flatter")
    reliability = _reliability(model)
    detections, precision = _detections(model, reliability), BoxPrecision(model.background)
    depth = depth_of([sample.path for sample in dataset.samples], model.meta.depth)
    rows_path, photos_path = model.run / ROWS, model.run / PHOTOS
    with temporary_beside(photos_path) as file:
        maps = MapSpool(file) if photos > 0 else None

        def keep(name: str, ground_truth: GroundTruth, score_map: FloatArray, classes: NDArray[np.int64]) -> None:
            if name != _LOCALIZER:
                return
            if maps is not None:
                maps.add(score_map)
            sample, boxes = ground_truth.sample, ground_truth.boxes
            if boxes is None and sample.label is not None and sample.label == model.background:
                boxes = np.zeros((0, 4), np.float32)  # known to show nothing, even without a boxes file
            count = precision.counter(sample, boxes, int(classes[0]))
            if boxes is not None:
                shows_nothing = model.background is not None and classes[0] == model.background
                size = ground_truth.size or (image_size(sample.path) if protocol.side is None else None)
                resized = None if shows_nothing else protocol.resized(score_map, size)
                detections.add(resized, boxes, on_found=count)

        def hear(name: str, ground_truth: GroundTruth, cells: FloatArray) -> None:
            if name == _LOCALIZER:
                precision.hear(cells)

        evaluation = evaluate_photos(
            answerers,
            dataset.samples,
            protocol=protocol,
            batch=model.networks.config.batch,
            replicates=REPLICATES,
            taus={_LOCALIZER: model.best_tau} if model.best_tau else {},
            classes_of=_LOCALIZER,
            centre=True,
            localize_all=True,
            on_map=keep,
            on_cells=hear,
            depth=depth,
        )
        problems.add(evaluation.problems)
        own = evaluation.methods[_LOCALIZER].boxes
        if own.n_boxed == 0 and evaluation.methods[_LOCALIZER].pxap is None:
            log("no photo of this split has ground-truth boxes or masks: only the classification is evaluated")
        write_rows(rows_path, own.images, classes=model.classes)
        write_shown(
            photos_path,
            evaluation.samples,
            own.images,
            maps,
            photos=photos,
            rule=_rule(model),
            classes=model.classes,
            depth=depth,
        )
    notes = {**_NOTES, _LOCALIZER: _NOTES[mode]}
    for name, item in answerers.items():
        if isinstance(item, Networks) and item.second_side:
            notes[name] += f"; what the fast map finds is seen again at {item.second_side} px"
    notes[_LOCALIZER] += f" (predict.mode={mode})"
    taus = {_LOCALIZER: model.best_tau, **_others_taus(model)} if mismatch is None else {}
    methods = {name: MethodResult(notes[name], result, taus.get(name) or None) for name, result in evaluation.methods.items()}
    of_classes = PrecisionRecord.of(precision.counted, model.classes)
    transformer = model.record.weights["transformer"]
    record = ModelEvaluation(
        **shared_fields(methods, protocol),
        data=as_text(str(data)),
        split=split or "all",
        photos=fingerprints(sample.path for sample in dataset.samples),
        note=note,
        validation_tau_from=mismatch or model.record.selection,
        at_run_tau=_at_run_tau(model, own, detections, reliability, of_classes),
        classes=_classes(model, evaluation.samples, own, of_classes),
        class_accuracy=_class_accuracy(model, own),
        labels=model.record.labels,
        sst=transformer.note or transformer.arch,
        mode=mode,
        second_look=model.networks.second_side,
        unet_share=model.networks.unet_share if mode != "unet" else 0.0,
        weights=msgspec.to_builtins(model.record.weights),
        seed=model.config.train.seed,
        skipped=ProblemRecord.of(evaluation.problems),
        problems=problems.records(),
        environment=environment(model.device),
        files={path.name: file_sha256(path) for path in (rows_path, photos_path)},
    )
    return dict(msgspec.to_builtins(record))


class _MeanAttention(Answerer):
    """The class token's attention, averaged over all heads and sides, as a baseline."""

    def __init__(self, frozen: FrozenNetworks, side: int, device: torch.device) -> None:
        self._frozen, self._side, self._device = frozen, side, device

    @property
    def side(self) -> int:
        """Side in pixels of the squares passed to all answerers."""
        return self._side

    @torch.inference_mode()
    def answer(self, batch: PhotoBatch) -> Answer:
        """Return the maps, without class probabilities."""
        look = self._frozen.look_at_squares(batch.squares, self._device)
        maps = normalised(join_attention(look.transformed).mean(1))[list(batch.positions)]
        return Answer(maps.float().cpu().numpy(), np.zeros((len(batch), 0), np.float32))


def _answerers(model: TrainedRun) -> dict[str, Answerer]:
    """Return the methods to measure: the localizer, its other modes and the mean attention; each network sees a photo once."""
    mode, modes = model.config.predict.mode, model.modes
    try:
        frozen = model.frozen
    except WeightsError as error:
        if model.uses_transformer:
            raise
        log(f"evaluated without the mean attention{' and predict.mode=accurate' if 'accurate' in modes else ''}: {error}")
        frozen, modes = model.networks.frozen, tuple(name for name in modes if name != "accurate")
    networks: dict[str, Networks] = {_LOCALIZER: model.networks_of(mode, frozen)}
    networks |= {name: model.networks_of(name, frozen) for name in modes if name != mode}
    attention = {_ATTENTION: _MeanAttention(frozen, max((networks[_LOCALIZER].side, *frozen.key_sides)), model.device)}
    return {**networks, **(attention if frozen.transformer is not None else {})}


def _others_taus(model: TrainedRun) -> dict[str, dict[str, float]]:
    """Return the thresholds of the modes whose maps are still like those that the thresholds were chosen on."""
    return {mode: taus for mode, taus in model.meta.thresholds.items() if model.suits(mode)}


def _reliability(model: TrainedRun) -> Reliability:
    """Return a counter of boxes by score, and above the calibration's thresholds for all classes."""
    calibration = model.predictor.calibration
    return Reliability(
        {} if calibration is None else {"typical": calibration.typical, "cautious": calibration.cautious},
    )


def _detections(model: TrainedRun, reliability: Reliability) -> DetectionCounter:
    """Return a counter of the boxes at the run's own threshold."""
    predict = model.predictor.config
    return DetectionCounter(
        [predict.threshold],
        min_area=predict.min_area,
        min_score=max(0.0, predict.min_score),
        max_boxes=predict.max_boxes,
        calibration=model.predictor.calibration,
        reliability=reliability,
    )


def _at_run_tau(
    model: TrainedRun,
    own: BoxResult,
    detections: DetectionCounter,
    reliability: Reliability,
    precision: PrecisionRecord | None,
) -> RunTauRecord | None:
    tau = model.predictor.config.threshold
    if not own.n_boxed:
        return None
    return RunTauRecord(
        tau=tau,
        box_acc_v2=own.at_tau(tau).box_acc_v2,
        precision=100 * float(detections.precision[0]),
        recall=100 * float(detections.recall[0]),
        f1=100 * float(detections.f1[0]),
        boxes=int(detections.boxes[0]),
        objects=detections.objects,
        ap50=None if precision is None else precision.ap50,
        ap=None if precision is None else precision.ap,
        calibrated=model.predictor.calibration is not None,
        reliability=reliability.record(objects=detections.objects),
    )


def _load(model: TrainedRun, data: str | Path, split: str | None) -> DataSet:
    column = model.config.data.label_column
    dataset = load_data(data, split=split or "all", background_class="", label_column=column)
    dataset = align_classes(dataset, model.classes, model.background)
    if not dataset.samples:
        raise DataError(f"there is no photo to evaluate on in {data}")
    return dataset


def _refuse_reviewed(model: TrainedRun, dataset: DataSet) -> None:
    """Raise an error if the run was trained on the boxes of any of these photos."""
    known = set(model.record.reviewed)
    if known and (found := [sample.id for sample in dataset.samples if content_digest(sample.path) in known]):
        what = f"the run was trained on the boxes of {counted(len(found), 'photo')} of these: {some(found, 3)}"
        raise DataError(f"{dataset.root}: {what}; evaluate it on others, for example on a test/ folder, or leave these out")


def _mismatch(model: TrainedRun, dataset: DataSet, data: str | Path, split: str | None, protocol: Protocol) -> str | None:
    """Return why the thresholds chosen in training do not apply to this split; None if they do."""
    if protocol != FRAMED:
        return f"the thresholds were chosen by the protocol {FRAMED.name}"
    if not model.as_trained:
        return "the thresholds were chosen for other settings of predict"
    if _is_of_training(model, dataset, split):
        remedy = "take the split 'test'" if "test" in available_splits(data) else "take photos that it was not trained with"
        return f"the thresholds were chosen on photos of this data, perhaps on these; {remedy}"
    return None


def _is_of_training(model: TrainedRun, dataset: DataSet, split: str | None) -> bool:
    """Return whether the run may have been trained or validated on these photos: from the same data, but not its test split."""
    trained, here = Path(model.record.data).resolve(), dataset.root.resolve()
    same = here == trained or here in trained.parents or trained in here.parents
    return same and split_name(split or "all") != "test"


def _rule(model: TrainedRun) -> Rule:
    predict = model.predictor.config
    background = None if model.background is None else model.classes[model.background]
    calibration = model.predictor.calibration
    return Rule(predict.threshold, predict.min_area, max(0.0, predict.min_score), predict.max_boxes, background, calibration)


def _classes(
    model: TrainedRun, samples: Sequence[Sample], own: BoxResult, precision: PrecisionRecord | None
) -> list[ClassRecord]:
    records = []
    for label, name in enumerate(model.classes):
        rows = [row for row, sample in zip(own.images, samples, strict=True) if label in sample.labels]
        if not rows:
            continue
        ious = [row.iou for row in rows if row.iou is not None]
        found = None if precision is None else precision.by_name(name)
        records.append(
            ClassRecord(
                name=name,
                n=len(rows),
                accuracy=100 * float(np.mean([row.predicted == row.label for row in rows])),
                box_acc_50=100 * float(np.mean([iou >= 0.5 for iou in ious])) if ious else None,
                ap50=None if found is None else found.ap50,
                ap=None if found is None else found.ap,
            )
        )
    return records


def _class_accuracy(model: TrainedRun, own: BoxResult) -> ClassAccuracy | None:
    pairs = [(row.label, row.predicted) for row in own.images if row.label is not None and row.predicted is not None]
    return class_accuracy([one for one, _ in pairs], [other for _, other in pairs], model.classes) if pairs else None
