"""From photos sorted by class to a run folder: :func:`fit` trains and writes what :mod:`dips.model` opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dips.config import Config, several, to_toml, training_config
from dips.data.images import image_size, median_side
from dips.data.labels import several_labels
from dips.data.problems import ProblemList, ProblemRecord
from dips.fitting.inputs import TrainingInputs, resolve_weights
from dips.fitting.photos import TrainingPhotos, read_photos
from dips.fitting.prepare import prepare
from dips.fitting.select import TrainingResult, fit_and_select
from dips.harvest.store import Store
from dips.model import Model
from dips.models.networks import TEMPER
from dips.report.predictions import TRAINING_PHOTOS, write_training_photos
from dips.report.run_report import write_run_report
from dips.runs.card import write_card
from dips.runs.checkpoint import StoredModel, save_model
from dips.runs.identity import require_new_run
from dips.runs.records import (
    CONFIG,
    MODEL,
    RUN,
    ModelMeta,
    PhotoCounts,
    RunRecord,
    RunSeconds,
    WeightsRecord,
    read_run_record,
)
from dips.system.console import log
from dips.system.device import environment, launch_fabric
from dips.system.environment import store_folder
from dips.system.files import atomic_file
from dips.system.journal import refuse_other_work
from dips.system.records import write_json
from dips.train.state import STATE
from dips.types import DataSet, Sample

__all__ = ["fit"]


def fit(
    data: str | Path,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
    weights: Sequence[str] = (),
    store: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    problems: str | Path | ProblemList | None = None,
    reviewed: str | Path | None = None,
) -> Model:
    """Train a localizer from photos sorted by class.

    Args:
        data: folder or file, see ``docs/data.md``.
        out: the run folder; must not exist, unless ``resume``.
        recipe: name or TOML file; default: ``default``.
        settings: ``stage.name=value`` strings that override the recipe; a single one need not be in a list.
        weights: local weight files, folders, or NAME=FILE; likewise.
        store: folder of the harvest; default: the user's cache.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``. Under ``torchrun``, each process uses its own device.
        resume: continue a training that was stopped; settings, photos and weights must be the same.
        problems: a file for all problems of the data, of which only the first few are printed; or the list to add them to.
        reviewed: boxes that a person confirmed or drew on some of the photos, to train on: a COCO file as ``dips view`` saves
            it, or the prediction folder that contains it.

    Returns:
        The trained model, opened.

    Raises:
        DipsError: data, settings, weights or folders are wrong; raised before anything is written where possible.

    .. code-block:: python

        model = dips.fit("photos", out="run", settings=["train.epochs=2"])
        for prediction in model.predict("new-photos"):
            print(prediction.path, prediction.label, prediction.boxes)
    """
    run = Path(out)
    config, weights = training_config(recipe, several(settings)), several(weights)
    told = problems if isinstance(problems, ProblemList) else ProblemList(problems)
    fabric = launch_fabric(device)
    if fabric.is_global_zero:
        require_new_run(run, config, resume=resume, besides=told.file)
    photos = read_photos(data, config, reviewed)
    if resume and (run / MODEL).is_file():
        _require_same_inputs(run, photos, config, weights)
        log(f"{run} is trained already")
        return Model.open(run, device=device, weights=weights)
    told.add(photos.train.problems)
    with fabric.rank_zero_first():  # it fills the store, other processes read it
        inputs = prepare(
            photos.train,
            photos.val,
            blank=photos.blank,
            config=config,
            store=Store(store_folder(store)),
            device=fabric.device,
            given=weights,
        )
    told.add(inputs.problems)
    if fabric.is_global_zero:
        _begin_run(run, config, resume)
    result = fit_and_select(inputs, config=config, run=run, fabric=fabric, resume=resume)
    if fabric.is_global_zero:
        _save(
            run, Path(data), config, inputs, result, told, fabric.device, photos.side or _photo_side(inputs.train), photos.whole
        )
        log(f"trained: {result.selection}")
    fabric.barrier()
    return Model.open(run, device=str(fabric.device), weights=weights)


def _require_same_inputs(run: Path, photos: TrainingPhotos, config: Config, weights: Sequence[str]) -> None:
    """Check that a finished run was trained on such photos, as far as classes and counts tell, and with these weights.

    Raises:
        RunError: it was not.
    """
    record, parts = read_run_record(run), photos.whole
    then, now = (record.photos.train, record.photos.val), (len(parts[0]), len(parts[1]))
    others = record.classes != photos.train.classes or (then != now and not record.photos.skipped)
    differing = [f"other photos ({record.data})"] if others else []
    for role, item in resolve_weights(config, weights).items():
        if record.weights[role].sha256 != item.sha256:
            differing.append(f"other weights of the {role} ({record.weights[role].origin})")
    refuse_other_work(run, "a run", differing, remedy="repeat the command that it belongs to, or choose another --out")


def _begin_run(run: Path, config: Config, resume: bool) -> None:
    """Create the run folder with its settings; a resumed one already has them."""
    if not (resume and (run / CONFIG).is_file()):
        with atomic_file(run / CONFIG) as file:
            file.write(to_toml(config))


def _save(
    run: Path,
    data: Path,
    config: Config,
    inputs: TrainingInputs,
    result: TrainingResult,
    problems: ProblemList,
    device: torch.device,
    side: int,
    whole: tuple[DataSet, DataSet],
) -> None:
    """Write everything that the run folder holds besides settings and metrics.

    Args:
        side: side of a typical training photo, or of a tile, in pixels.
        whole: the photos, not split into tiles.
    """
    train, skipped = inputs.train, inputs.problems
    photos, val_photos = (_used(part, used) for part, used in zip(whole, (train, inputs.val), strict=True))
    record = RunRecord(
        data=str(data),
        classes=train.classes,
        background=train.background,
        photos=PhotoCounts(train=len(photos), val=len(val_photos), skipped=len(skipped)),
        skipped=tuple(ProblemRecord.of(skipped)),
        several=several_labels(photos),
        reviewed=inputs.reviewed,
        review_gain=inputs.gain,
        problems=tuple(problems.records()),
        weights={role: WeightsRecord(**item.record()) for role, item in inputs.weights.items()},
        accuracy=inputs.accuracy,
        class_accuracy=inputs.class_accuracy,
        selection=result.selection,
        label_free=result.label_free,
        validation=result.validation,
        best_tau=result.thresholds[config.predict.mode],
        seed=config.train.seed,
        seconds=RunSeconds(harvest=round(inputs.seconds, 1), training=round(result.seconds, 1)),
        environment=environment(device),
    )
    meta = ModelMeta(
        classes=train.classes,
        background=train.background,
        thresholds=result.thresholds,
        mode=config.predict.mode,
        unet_share=config.predict.unet_share,
        temper=TEMPER,
        photo_side=side,
        depth=inputs.depth,
        calibration=result.calibration,
        object_classes=several_labels(photos) > 0,
    )
    write_json(run / RUN, record)
    write_card(run / "README.md", record)
    parts = [("validation", val_photos), ("training", photos)]
    stored = StoredModel(inputs.classifier, inputs.linear, result.localizer, meta)
    networks = stored.networks(config.predict.mode, inputs.frozen(), config.predict, device)
    predictor = stored.predictor(networks, config.predict)
    write_training_photos(run / TRAINING_PHOTOS, predictor, parts, classes=train.classes)
    write_run_report(run)
    save_model(run, inputs.classifier, inputs.linear, result.localizer, meta)  # model.json marks the run as done
    (run / STATE).unlink(missing_ok=True)


def _used(photos: DataSet, used: DataSet) -> tuple[Sample, ...]:
    """Return the photos that are in ``used``, whole or as tiles."""
    paths = {sample.path for sample in used.samples}
    return tuple(sample for sample in photos.samples if sample.path in paths)


def _photo_side(photos: DataSet) -> int:
    """Return the side in pixels of a square as large as the photos: the median of about 200 of them, from their headers."""
    return round(median_side(image_size(sample.path) for sample in photos.samples[:: max(1, len(photos) // 200)]))
