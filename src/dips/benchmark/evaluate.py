"""``dips evaluate``: a trained model on a split, beside what needs no training, as one JSON-able result.

In: a :class:`~dips.runs.trained.TrainedRun` and DATA. Out: the numbers of the WSOL protocol and the photos that the
report shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dips.benchmark.answers import Evaluation, evaluate_photos
from dips.benchmark.result_files import CENTRE_NOTE, REPLICATES, fingerprints, summary, write_rows
from dips.data import align_classes, load_data
from dips.data.listing import split_name
from dips.errors import DataError
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.result import BoxResult
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.store import Store
from dips.report.photos import PHOTOS, ROWS, MapSpool, Rule, write_shown
from dips.runs.trained import TrainedRun
from dips.system.console import log
from dips.system.device import environment
from dips.system.files import file_sha256, temporary_beside
from dips.types import DataSet, FloatArray

__all__ = ["evaluate_model"]


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
    dataset = _data(model, data, split)
    harvested = _maps(model, dataset, store)
    digests = harvested.digests

    def attention(position: int) -> FloatArray:
        return harvested.mean_attention(digests[position])

    def linear(position: int) -> FloatArray | None:
        return harvested.linear(digests[position])

    others = {"mean_attention": attention} | ({"linear_map": linear} if model.key_map is not None else {})
    unfit = _unfit(model, dataset, split, protocol)
    if unfit is not None:
        log(f"no numbers at validation's thresholds: {unfit}")
    rows_path, photos_path = model.run / ROWS, model.run / PHOTOS
    with temporary_beside(photos_path) as file:
        maps = MapSpool(file) if photos > 0 else None
        found = evaluate_photos(
            model.networks,
            harvested.samples,
            others=others,
            linear="linear_map" if model.key_map is not None else None,
            tau=model.best_tau,
            protocol=protocol,
            replicates=REPLICATES,
            seen=None if maps is None else maps.add,
        )
        own = found.methods["localizer"].boxes
        if own.n_boxes == 0 and found.methods["localizer"].pxap is None:
            log("no photo of this split has true boxes or masks: only the classification is evaluated")
        result = _result(model, data, split, dataset, found, harvested, protocol, unfit, note)
        write_rows(rows_path, own.images, classes=model.classes)
        write_shown(photos_path, found.samples, own.images, maps, photos=photos, rule=_rule(model), classes=model.classes)
    result["files"] = {path.name: file_sha256(path) for path in (rows_path, photos_path)}
    return result


def _rule(model: TrainedRun) -> Rule:
    predict = model.predictor.config
    background = None if model.background is None else model.classes[model.background]
    return Rule(predict.threshold, predict.min_area, max(0.0, predict.min_score), predict.max_boxes, background)


def _data(model: TrainedRun, data: str | Path, split: str | None) -> DataSet:
    dataset = load_data(data, split=split or "all", background_class="")
    dataset = align_classes(dataset, model.classes, model.background)
    if not dataset.samples:
        raise DataError(f"there is no photo to evaluate on in {data}")
    return dataset


def _unfit(model: TrainedRun, dataset: DataSet, split: str | None, protocol: Protocol) -> str | None:
    """Why the thresholds of training are no validation's for this split, if they are not."""
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


def _maps(model: TrainedRun, dataset: DataSet, store: Store) -> Harvest:
    """Attention and linear map of the same photos; nothing is fitted on them."""
    harvest = Harvester(
        model.config.harvest,
        model.config.train.resize,
        store,
        model.transformer_weights,
        lambda: model.transformer,
        model.device,
    )
    return harvest.run(dataset, fitted=model.key_map)


def _result(
    model: TrainedRun,
    data: str | Path,
    split: str | None,
    dataset: DataSet,
    found: Evaluation,
    harvested: Harvest,
    protocol: Protocol,
    unfit: str | None,
    note: str,
) -> dict[str, Any]:
    taus = {"localizer": model.best_tau} if unfit is None else {}
    own_result = found.methods["localizer"]
    others = {name: (_NOTES[name], result) for name, result in found.methods.items() if name != "localizer"}
    transformer = model.record.weights["transformer"]
    problems = [*harvested.problems, *found.problems]
    return {
        **summary(("localizer", _NOTES["localizer"], own_result), others, protocol, taus),
        "data": str(data),
        "split": split or "all",
        "photos": fingerprints(sample.path for sample in dataset.samples),
        "note": note,
        "validation_tau_from": unfit or model.record.selection,
        "classes": _classes(model, own_result.boxes),
        "sst": transformer.note or transformer.arch,
        "sst_share": model.config.sst_share,
        "weights": msgspec.to_builtins(model.record.weights),
        "seed": model.config.train.seed,
        "skipped": [{"path": str(p.path), "why": p.message} for p in problems],
        "environment": environment(model.device),
    }


_NOTES = {
    "localizer": "the trained localizer",
    "mean_attention": "class-token attention, mean over heads; no training",
    "linear_map": "linear classifier on the transformer's keys; no U-Net",
    "centre": CENTRE_NOTE,
}


def _classes(model: TrainedRun, own: BoxResult) -> list[dict[str, Any]]:
    rows = []
    for label, name in enumerate(model.classes):
        mine = [row for row in own.images if row.label == label]
        if not mine:
            continue
        ious = [row.iou for row in mine if row.iou is not None]
        rows.append(
            {
                "name": name,
                "n": len(mine),
                "accuracy": 100 * float(np.mean([row.predicted == label for row in mine])),
                "box_acc_50": 100 * float(np.mean([iou >= 0.5 for iou in ious])) if ious else None,
            }
        )
    return rows
