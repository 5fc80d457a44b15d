"""DiPS from Python: :func:`fit` trains, :func:`load` opens a run, a :class:`Model` predicts and evaluates.

A run folder holds ``config.toml``, ``run.json`` (data, weights, environment, how epoch and threshold were chosen),
``metrics.jsonl``, ``model.safetensors`` + ``model.json``, ``README.md`` (model card), ``report.html``, after an evaluation
``evaluation.json``, ``evaluation.csv`` and ``evaluation-photos.json``, and until the training is done ``resume.safetensors``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dips import __version__
from dips.config import Config, load_config, to_toml
from dips.data import image_size, load_data
from dips.data.images import gather_images
from dips.errors import ConfigError, DataError, RunError, WeightsError
from dips.evaluate.protocol import find_protocol
from dips.evaluate.record import write_json
from dips.evaluation import evaluate_model
from dips.export.card import write_card
from dips.harvest.store import Store
from dips.models.backbones import Transformer, load_transformer
from dips.models.checkpoint import load_model, save_model
from dips.models.keymap import KeyMap
from dips.models.networks import TEMPER, Networks
from dips.models.weights import Weights, resolve
from dips.onnxrun import About
from dips.predict import Predictor
from dips.reporting import write_run_report
from dips.runtime import atomic_file, cache_folder, environment, file_sha256, launch_fabric, log, pick_device
from dips.train.state import STATE
from dips.types import DataSet, Prediction
from dips.workflow import Prepared, Trained, prepare, read_splits, train

if TYPE_CHECKING:
    from dips.export.onnx import Compared

__all__ = ["Model", "fit", "load", "write_run_report"]

_CONFIG, _RUN = "config.toml", "run.json"
_RECORD = ("data", "classes", "background", "weights", "accuracy", "selection", "label_free", "best_tau", "environment")
_COMPARED = 50  # photos at most, on which an export is compared
_META = ("classes", "background", "best_tau", "key_map", "temper", "photo_side")


class Model:
    """A trained localizer.

    Attributes:
        run: its folder.
        config: the settings it was trained with; ``predict`` may have been changed at :func:`load`.
        classes: names in label order.
        background: label of the class without object, if there is one.
        best_tau: thresholds chosen on validation.
        record: what ``run.json`` says.
        given: where to look for the transformer's weights.
    """

    def __init__(self, run: Path, config: Config, device: torch.device, weights: Sequence[str]) -> None:
        localizer, classifier, meta = load_model(run, device)
        _require(run / "model.json", meta, _META)
        self.record = _read_json(run / _RUN)
        _require(run / _RUN, self.record, _RECORD)
        if config.predict.sst_share < 0:  # the share of its training, not of this version's default
            share = meta.get("sst_share", config.sst_share)
            config = dataclasses.replace(config, predict=dataclasses.replace(config.predict, sst_share=share))
        config.check()
        self.run, self.config, self.device = run, config, device
        self.classes: tuple[str, ...] = tuple(meta["classes"])
        self.background: int | None = meta["background"]
        self.best_tau: dict[str, float] = meta["best_tau"]
        if meta["temper"] != TEMPER:
            raise RunError(f"{run} was made by another version, whose thresholds do not suit these maps; train anew")
        self._meta, self._localizer, self._classifier = meta, localizer, classifier
        self.given = tuple(weights)

    @property
    def trained_share(self) -> float:
        """The share of the linear map (``predict.sst_share``) that the thresholds were chosen for."""
        return float(self._meta.get("sst_share", self.config.sst_share))

    @cached_property
    def key_map(self) -> KeyMap | None:
        """The linear map on the transformer's keys that the harvest fitted; None unless ``harvest.refine=dataset``."""
        saved = self._meta["key_map"]
        if saved is None:
            return None
        try:
            key_map = KeyMap(saved["sizes"], len(saved["weight"][0]))
            key_map.weight.copy_(torch.tensor(saved["weight"]))
            key_map.bias.copy_(torch.tensor(saved["bias"]))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{self.run / 'model.json'}: key_map is damaged ({error}); copy the run again") from error
        return key_map.to(self.device)

    @cached_property
    def transformer_weights(self) -> Weights:
        """The weights of the harvest's transformer, found anew by name and checked against the recorded checksum.

        Raises:
            WeightsError: these weights are not here.
        """
        known = self.record["weights"]["transformer"]
        name = "embedded" if known["source"] == "embedded" else known["arch"]
        given = (*self.given, known["origin"]) if known["source"] == "file" and Path(known["origin"]).exists() else self.given
        found = resolve(name, role="transformer", given=given)
        if found.sha256 != known["sha256"]:
            raise WeightsError(
                f"{self.run} was made with other weights of {known['arch']} ({known['origin']}, sha256 {known['sha256'][:12]}) "
                f"than those found here ({found.origin}); give them with --weights"
            )
        return found

    @cached_property
    def transformer(self) -> Transformer:
        """The transformer of the harvest, loaded at first use.

        Raises:
            WeightsError: its weights are not here.
        """
        return load_transformer(self.transformer_weights).to(self.device)

    @cached_property
    def networks(self) -> Networks:
        """What answers for squares of photos."""
        share = self.config.sst_share
        return Networks(
            self._localizer,
            self._classifier,
            config=dataclasses.replace(self.config.predict, sst_share=share),
            classifier_size=self.config.classifier.size,
            device=self.device,
            key_map=self.key_map if share > 0 else None,
            transformer=self.transformer if share > 0 else None,
        )

    @cached_property
    def predictor(self) -> Predictor:
        """The networks and what makes objects of their maps."""
        threshold = self.config.predict.threshold
        if threshold < 0 and self.config.sst_share != self.trained_share:
            log("the threshold was chosen for another predict.sst_share; predict.threshold gives one that fits")
        config = dataclasses.replace(self.config.predict, threshold=self.best_tau["v2"] if threshold < 0 else threshold)
        return Predictor(
            self.networks,
            config=config,
            classes=self.classes,
            background=self.background,
            photo_side=self._meta["photo_side"],
        )

    def predict(
        self, photos: str | Path | Iterable[str | Path], *, skipped: Callable[[Path, str], None] | None = None
    ) -> Iterator[Prediction]:
        """Class, boxes, mask and score map of photos, one at a time.

        Args:
            photos: a photo, a folder, or several of these.
            skipped: told of every photo that cannot be read and why; by default it is logged.

        Raises:
            DataError: there is no photo.
        """
        return self.predictor.photos(gather_images(photos), skipped or (lambda path, why: log(f"skipped: {why}")))

    def evaluate(
        self,
        data: str | Path,
        *,
        split: str | None = "test",
        store: str | Path | None = None,
        photos: int = 300,
        json_path: str | Path | None = None,
        protocol: str = "wsol-224",
        note: str = "",
    ) -> dict[str, Any]:
        """Every metric of the protocol on a split, beside the mean attention map, the linear map and the centred Gaussian.

        Writes ``evaluation.json``, ``evaluation.csv`` (a line per photo), ``evaluation-photos.json`` (those that the report
        shows) and the report into the run folder anew.

        Args:
            split: folder of DATA; None or ``all`` takes all of DATA.
            store: of the harvest; default: the user's cache.
            photos: how many are shown in the report: the worst, the best and an even sample of the others.
            json_path: where the result is also written.
            protocol: ``wsol-224``, the field's, or ``original-pixels``.
            note: a sentence about the photos that stands at the top of the report.

        Raises:
            DataError: there is no photo, no such split, or none of its classes is the model's. Photos without true boxes count
                for the classification alone.
            WeightsError: the transformer, which the baselines and the linear map need, is not here.
            ConfigError: there is no such protocol.
        """
        result = evaluate_model(
            self,
            data,
            split=split,
            store=_store(store),
            photos=photos,
            protocol=find_protocol(protocol),
            note=note,
        )
        for path in [self.run / "evaluation.json", *([Path(json_path)] if json_path is not None else [])]:
            write_json(path, result)
        write_card(self.run / "README.md", self.record, result)
        write_run_report(self.run)
        return result

    def export(
        self,
        path: str | Path,
        *,
        photos: str | Path | None = None,
        tolerance: float = 1e-3,
        int8: str | Path | None = None,
    ) -> Compared:
        """Write the model as one ONNX file, which :func:`dips.load` and ``dips predict`` take without torch.

        Args:
            path: the file; its name ends in ``.onnx``, and it must not exist.
            photos: what torch and onnxruntime are compared on, up to 50; default: training photos, where they still are.
            tolerance: the largest difference of a score or a probability that is accepted.
            int8: training photos; the file that was accepted is then written in 8 bits, calibrated on them.

        Raises:
            RunError: the file cannot be written or would say something else than the model, or a package is missing.
            DataError: there are no photos to compare on.
            WeightsError: the transformer, which is part of the file unless ``predict.sst_share`` is 0, is not here.
        """
        from dips.export.onnx import export_onnx, require_new  # onnxscript is in an extra of its own

        require_new(Path(path))
        if self.device.type != "cpu":
            there = Model(self.run, self.config, torch.device("cpu"), self.given)
            return there.export(path, photos=photos, tolerance=tolerance, int8=int8)
        sample = self._training_photos() if photos is None else gather_images(photos)
        known = () if int8 is None else gather_images(int8)
        if known and not self.config.sst_share > 0:
            log("in 8 bits a model without transformer lost 1.7 points of MaxBoxAccV2 where it was measured (docs/export.md)")
        count = min(len(sample), _COMPARED)
        sample = [sample[i * len(sample) // count] for i in range(count)]
        return export_onnx(
            self.networks, Path(path), about=self._about(), photos=sample, tolerance=tolerance, calibration=known
        )

    def _training_photos(self) -> list[Path]:
        data = self.record["data"]
        try:
            return [sample.path for sample in load_data(data).samples]
        except DataError as error:
            raise DataError(
                f"the training photos are not here any more ({error}); give some to compare on (--photos)"
            ) from error

    def _about(self) -> About:
        config = dataclasses.replace(self.predictor.config, sst_share=self.config.sst_share)
        inside = ("transformer", "classifier", "encoder") if config.sst_share > 0 else ("classifier", "encoder")
        known = {role: item for role, item in self.record["weights"].items() if role in inside}
        return About(
            classes=self.classes,
            background=self.background,
            predict=config,
            side=self.networks.side,
            photo_side=self._meta["photo_side"],
            weights={role: {key: str(item[key]) for key in ("arch", "note", "licence")} for role, item in known.items()},
            model=file_sha256(self.run / "model.json"),
            dips=__version__,
        )


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
) -> Model:
    """Train a localizer from photos sorted by class.

    Args:
        data: see ``docs/data.md``.
        out: the run folder; must not exist, unless ``resume``.
        recipe: name or TOML file; default: ``default``.
        settings: ``stage.name=value`` strings that win over the recipe; a single one need not be in a list.
        weights: local weights files, folders, or NAME=FILE; likewise.
        store: folder of the harvest; default: the user's cache.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``. Started by ``torchrun``, each process takes a device of its own.
        resume: go on with a training that was stopped; the settings must be the same.

    Raises:
        DipsError: whatever is wrong with data, settings, weights or folders, before anything is written where possible.
    """
    run = Path(out)
    config, weights = load_config(recipe, _several(settings)), _several(weights)
    config.check()
    fabric = launch_fabric(device)
    place = fabric.device
    if fabric.is_global_zero:
        _open_run(run, config, resume)
    if resume and (run / "model.json").is_file():
        log(f"{run} is trained already")
        return load(run, device=device, weights=weights)
    train_set, val_set = read_splits(data, config)
    log(
        f"{len(train_set)} training and {len(val_set)} validation photos of {len(train_set.classes)} classes"
        + ("" if train_set.background is None else f"; '{train_set.classes[train_set.background]}' is without object")
    )
    if config.sst_share > 0:
        log(f"score maps will mix the U-Net with the transformer's linear map (share {config.sst_share:g}; predict.sst_share)")
    with fabric.rank_zero_first():  # it fills the store, other processes read it
        prepared = prepare(train_set, val_set, config=config, store=_store(store), device=place, given=weights)
    if fabric.is_global_zero:
        _begin_run(run, config, resume)
    trained = train(prepared, config=config, run=run, fabric=fabric, resume=resume)
    if fabric.is_global_zero:
        _save(run, Path(data), config, prepared, trained, place)
        log(f"trained: {trained.selection}")
    fabric.barrier()
    return load(run, device=str(place), weights=weights)


def load(run: str | Path, *, device: str = "auto", settings: Sequence[str] = (), weights: Sequence[str] = ()) -> Model:
    """Open a run folder.

    Args:
        settings: ``predict.name=value`` strings.
        weights: where to look for the transformer's weights, if it is needed.

    Raises:
        RunError: the folder holds no trained model, or a damaged one.
        ConfigError: a setting that is fixed by the training.
    """
    folder, settings = Path(run), _several(settings)
    if wrong := [item for item in settings if not item.strip().startswith("predict.")]:
        raise ConfigError(f"{wrong[0]} was fixed by the training; only predict.* can be set for a trained run")
    if not (folder / _CONFIG).is_file():
        raise RunError(f"{folder} is no run folder ({_CONFIG} is missing); give the folder that 'dips train --out' wrote")
    try:
        load_config(folder / _CONFIG)
    except ConfigError as error:
        raise RunError(f"{error}; it is damaged or of another version: copy the run again or train anew") from error
    return Model(folder, load_config(folder / _CONFIG, settings), pick_device(device), _several(weights))


def _photo_side(photos: DataSet) -> int:
    """Side of a square as large as the photos, in pixels: the median of up to 200 of them, from their headers."""
    every = photos.samples[:: max(1, len(photos) // 200)]
    sizes = [image_size(sample.path) for sample in every]
    return round(statistics.median(math.sqrt(width * height) for width, height in sizes))


def _several(items: Sequence[str]) -> tuple[str, ...]:
    return (items,) if isinstance(items, str) else tuple(map(str, items))


def _store(folder: str | Path | None) -> Store:
    return Store(cache_folder() / "store" if folder is None else Path(folder))


def _open_run(run: Path, config: Config, resume: bool) -> None:
    """Refuse what must not be overwritten before any work is done."""
    known = run / _CONFIG
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    if not resume:
        raise RunError(f"{run} exists already and is left as it is; choose another --out, or go on with it by --resume")
    if known.is_file() and (changed := load_config(known).differences(config)):
        raise RunError(f"{run} was begun with other settings ({', '.join(changed)}); give the same, or choose another --out")
    if not known.is_file():
        raise RunError(f"{run} is no run folder ({_CONFIG} is missing) and is left as it is; choose another --out")


def _begin_run(run: Path, config: Config, resume: bool) -> None:
    if not (resume and (run / _CONFIG).is_file()):
        with atomic_file(run / _CONFIG) as file:
            file.write(to_toml(config))


def _save(run: Path, data: Path, config: Config, prepared: Prepared, trained: Trained, device: torch.device) -> None:
    key_map = prepared.harvested.key_map
    record = {
        "data": str(data),
        "classes": list(prepared.train.classes),
        "background": prepared.train.background,
        "photos": {"train": len(prepared.train), "val": len(prepared.val), "skipped": len(prepared.harvested.problems)},
        "skipped": [{"path": str(p.path), "why": p.message} for p in prepared.harvested.problems],
        "weights": {role: item.record() for role, item in prepared.weights.items()},
        "accuracy": prepared.accuracy,
        "selection": trained.selection,
        "label_free": trained.label_free,
        "validation": trained.validation,
        "best_tau": trained.best_tau,
        "seed": config.train.seed,
        "seconds": {"harvest": round(prepared.harvested.seconds, 1), "training": round(trained.seconds, 1)},
        "environment": environment(device),
    }
    write_json(run / _RUN, record)
    meta = {
        "classes": list(prepared.train.classes),
        "background": prepared.train.background,
        "best_tau": trained.best_tau,
        "sst_share": config.sst_share,
        "temper": TEMPER,
        "photo_side": _photo_side(prepared.train),
        "key_map": None
        if key_map is None
        else {"sizes": list(key_map.sizes), "weight": key_map.weight.tolist(), "bias": key_map.bias.tolist()},
    }
    write_card(run / "README.md", record)
    write_run_report(run)
    save_model(run, trained.localizer.cpu(), prepared.classifier.cpu(), meta)  # its presence says that the run is done
    (run / STATE).unlink(missing_ok=True)


def _require(path: Path, record: dict[str, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in record]:
        raise RunError(
            f"{path} lacks {', '.join(missing)}: it is damaged or of another version; copy the run again or train anew"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is missing or damaged ({error}); copy the run again or train anew") from error
    if not isinstance(record, dict):
        raise RunError(f"{path} is damaged; copy the run again or train anew")
    return record
