"""``dips evaluate``: a trained run on a split, next to what needs no training.

In: a :class:`~dips.runs.trained.TrainedRun` and DATA. Out: the numbers of the WSOL protocol and, in the run folder, the photos
that the report shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dips.benchmark.fingerprints import fingerprints
from dips.benchmark.loop import CENTRE, StoredMaps, evaluate_photos
from dips.benchmark.photo_rows import write_rows
from dips.benchmark.records import (
    CENTRE_NOTE,
    REPLICATES,
    ClassRecord,
    MethodResult,
    ModelEvaluation,
    shared_fields,
)
from dips.data import align_classes, load_data
from dips.data.listing import split_name
from dips.data.problems import ProblemRecord
from dips.errors import DataError
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.result import BoxResult
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.store import Store
from dips.models.networks import Networks
from dips.report.photos import PHOTOS, ROWS, MapSpool, Rule, write_shown
from dips.runs.trained import TrainedRun
from dips.system.console import log
from dips.system.device import environment
from dips.system.files import as_text, file_sha256, temporary_beside
from dips.types import Answer, Answerer, DataSet, FloatArray, PhotoBatch, Sample

__all__ = ["evaluate_model"]

_LOCALIZER, _ATTENTION, _LINEAR = "localizer", "mean_attention", "linear_map"
_NOTES = {
    _LOCALIZER: "the trained localizer",
    _ATTENTION: "class-token attention, mean over heads; no training",
    _LINEAR: "linear classifier on the transformer's keys; no U-Net",
    CENTRE: CENTRE_NOTE,
}


def evaluate_model(
    model: TrainedRun,
    data: str | Path,
    *,
    split: str | None,
    store: Store,
    photos: int,
    protocol: Protocol,
    note: str,
) -> dict[str, Any]:
    """See :meth:`dips.model.Model.evaluate`; writes ``ROWS`` and ``PHOTOS`` into the run folder."""
    dataset = _load(model, data, split)
    harvest = _harvest(model, dataset, store)
    mismatch = _mismatch(model, dataset, split, protocol)
    if mismatch is not None:
        log(f"no numbers at validation's thresholds: {mismatch}")
    rows_path, photos_path = model.run / ROWS, model.run / PHOTOS
    with temporary_beside(photos_path) as file:
        maps = MapSpool(file) if photos > 0 else None

        def keep(name: str, sample: Sample, score_map: FloatArray) -> None:
            if maps is not None and name == _LOCALIZER:
                maps.add(score_map)

        evaluation = evaluate_photos(
            _answerers(model, harvest),
            harvest.samples,
            protocol=protocol,
            batch=model.networks.config.batch,
            replicates=REPLICATES,
            taus={_LOCALIZER: model.best_tau},
            classes_of=_LOCALIZER,
            centre=True,
            localize_all=True,
            on_map=keep,
        )
        own = evaluation.methods[_LOCALIZER].boxes
        if own.n_boxes == 0 and evaluation.methods[_LOCALIZER].pxap is None:
            log("no photo of this split has ground-truth boxes or masks: only the classification is evaluated")
        write_rows(rows_path, own.images, classes=model.classes)
        write_shown(photos_path, evaluation.samples, own.images, maps, photos=photos, rule=_rule(model), classes=model.classes)
    methods = {
        name: MethodResult(_NOTES[name], result, model.best_tau if name == _LOCALIZER and mismatch is None else None)
        for name, result in evaluation.methods.items()
    }
    transformer = model.record.weights["transformer"]
    record = ModelEvaluation(
        **shared_fields(methods, protocol),
        data=as_text(str(data)),
        split=split or "all",
        photos=fingerprints(sample.path for sample in dataset.samples),
        note=note,
        validation_tau_from=mismatch or model.record.selection,
        classes=_classes(model, own),
        sst=transformer.note or transformer.arch,
        sst_share=model.config.sst_share,
        weights=msgspec.to_builtins(model.record.weights),
        seed=model.config.train.seed,
        skipped=ProblemRecord.of([*harvest.problems, *evaluation.problems]),
        environment=environment(model.device),
        files={path.name: file_sha256(path) for path in (rows_path, photos_path)},
    )
    return dict(msgspec.to_builtins(record))


class _WithStoredLinearMaps(Answerer):
    """A run's networks, whose linear maps are those of the harvest, so that the transformer need not look again."""

    def __init__(self, networks: Networks, linear: Callable[[str], FloatArray]) -> None:
        self._networks, self._linear = networks, linear

    @property
    def side(self) -> int:
        """Side in pixels of the squares that the networks see."""
        return self._networks.side

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return what the networks answer."""
        return self._networks.answer(batch, [self._linear(batch.ids[i]) for i in batch.positions])


def _answerers(model: TrainedRun, harvest: Harvest) -> dict[str, Answerer]:
    """Return what is measured: the localizer, the mean attention and, if the run has it, the linear map."""
    networks = model.networks
    digests = {sample.id: digest for sample, digest in zip(harvest.samples, harvest.digests, strict=True)}
    attention = StoredMaps(lambda id: harvest.mean_attention(digests[id]), networks.side)
    if model.key_map is None:
        return {_LOCALIZER: networks, _ATTENTION: attention}

    @lru_cache(networks.config.batch)  # asked for twice in each batch
    def linear(id: str) -> FloatArray:
        score_map = harvest.linear(digests[id])
        assert score_map is not None  # it exists for all photos or for none
        return score_map

    localizer = _WithStoredLinearMaps(networks, linear)
    return {_LOCALIZER: localizer, _ATTENTION: attention, _LINEAR: StoredMaps(linear, networks.side)}


def _load(model: TrainedRun, data: str | Path, split: str | None) -> DataSet:
    dataset = load_data(data, split=split or "all", background_class="")
    dataset = align_classes(dataset, model.classes, model.background)
    if not dataset.samples:
        raise DataError(f"there is no photo to evaluate on in {data}")
    return dataset


def _harvest(model: TrainedRun, dataset: DataSet, store: Store) -> Harvest:
    """Return attention and linear map of the photos; nothing is fitted on them."""
    harvester = Harvester(
        model.config.harvest,
        model.config.train.resize,
        store,
        model.transformer_weights,
        lambda: model.transformer,
        model.device,
    )
    return harvester.run(dataset, fitted=model.key_map)


def _mismatch(model: TrainedRun, dataset: DataSet, split: str | None, protocol: Protocol) -> str | None:
    """Return why the thresholds that the run's training chose do not suit this split; None if they do."""
    if protocol != FRAMED:
        return f"they were chosen by the protocol {FRAMED.name}"
    if model.config.sst_share != model.trained_share:
        return f"they were chosen for predict.sst_share={model.trained_share:g}"
    trained = Path(model.record.data).resolve()
    here = dataset.root.resolve()
    same = here == trained or here in trained.parents or trained in here.parents
    if same and split_name(split or "all") != "test":
        return "they were chosen on photos of this data, perhaps on these; take the split 'test'"
    return None


def _rule(model: TrainedRun) -> Rule:
    predict = model.predictor.config
    background = None if model.background is None else model.classes[model.background]
    return Rule(predict.threshold, predict.min_area, max(0.0, predict.min_score), predict.max_boxes, background)


def _classes(model: TrainedRun, own: BoxResult) -> list[ClassRecord]:
    records = []
    for label, name in enumerate(model.classes):
        rows = [row for row in own.images if row.label == label]
        if not rows:
            continue
        ious = [row.iou for row in rows if row.iou is not None]
        records.append(
            ClassRecord(
                name=name,
                n=len(rows),
                accuracy=100 * float(np.mean([row.predicted == label for row in rows])),
                box_acc_50=100 * float(np.mean([iou >= 0.5 for iou in ious])) if ious else None,
            )
        )
    return records
