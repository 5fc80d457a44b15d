"""A trained localizer: :class:`Model` predicts, evaluates and exports; :func:`load_run` opens its folder.

A run folder holds ``config.toml``, ``run.json`` (data, weights, environment, how epoch and threshold were chosen),
``metrics.jsonl``, ``model.safetensors`` + ``model.json``, ``README.md`` (model card), ``report.html``, after an evaluation
``evaluation.json``, ``evaluation.csv`` and ``evaluation-photos.json``, and until the training is done ``resume.safetensors``.
:mod:`dips.fitting` writes it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dips import __version__
from dips.config import Config, load_config, require_prediction, several
from dips.data import load_data
from dips.data.images import gather_images
from dips.errors import ConfigError, DataError, RunError, WeightsError
from dips.evaluate.protocol import find_protocol
from dips.evaluate.record import write_json
from dips.evaluation import evaluate_model
from dips.export.card import write_card
from dips.harvest.store import Store
from dips.models.backbones import Transformer, load_transformer
from dips.models.checkpoint import load_model
from dips.models.keymap import KeyMap
from dips.models.networks import TEMPER, Networks
from dips.models.weights import Weights, resolve
from dips.onnxrun import About, weights_line
from dips.predict import Predictor
from dips.reporting import write_run_report
from dips.runtime import file_sha256, log, pick_device, store_folder
from dips.types import Prediction

if TYPE_CHECKING:
    from dips.export.onnx import Compared

__all__ = ["CONFIG", "RUN", "Model", "load_run"]

CONFIG, RUN = "config.toml", "run.json"
_RECORD = ("data", "classes", "background", "weights", "accuracy", "selection", "label_free", "best_tau", "environment")
_COMPARED = 50  # photos at most, on which an export is compared
_CALIBRATED = 32  # photos at most, by which an export in 8 bits is calibrated
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
        self.record = _read_json(run / RUN)
        _require(run / RUN, self.record, _RECORD)
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
            return KeyMap.from_record(saved).to(self.device)
        except ValueError as error:
            raise RunError(f"{self.run / 'model.json'}: {error}; copy the run again") from error

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
            store=Store(store_folder(store)),
            photos=photos,
            protocol=find_protocol(protocol),
            note=note,
        )
        for path in [self.run / "evaluation.json", *([Path(json_path)] if json_path is not None else [])]:
            write_json(path, result)
        write_card(self.run / "README.md", self.record, result)
        write_run_report(self.run)
        return result

    def made_with(self) -> str:
        """The pretrained weights that predictions rest on, in a line."""
        return weights_line(self._inside())

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
            int8: training photos; the file that was accepted is then written in 8 bits, calibrated on up to 32 of them.

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
        known = () if int8 is None else _spread(gather_images(int8), _CALIBRATED)
        others = {item.resolve() for item in known}  # what a model was fitted on would flatter it
        sample = _spread([item for item in sample if item.resolve() not in others] or sample, _COMPARED)
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

    def _inside(self) -> dict[str, dict[str, str]]:
        """What is known of the pretrained weights that predictions rest on."""
        inside = ("transformer", "classifier", "encoder") if self.config.sst_share > 0 else ("classifier", "encoder")
        known = {role: item for role, item in self.record["weights"].items() if role in inside}
        return {role: {key: str(item[key]) for key in ("arch", "note", "licence")} for role, item in known.items()}

    def _about(self) -> About:
        config = dataclasses.replace(self.predictor.config, sst_share=self.config.sst_share)
        return About(
            classes=self.classes,
            background=self.background,
            predict=config,
            side=self.networks.side,
            photo_side=self._meta["photo_side"],
            weights=self._inside(),
            model=file_sha256(self.run / "model.json"),
            dips=__version__,
        )


def load_run(run: str | Path, *, device: str = "auto", settings: Sequence[str] = (), weights: Sequence[str] = ()) -> Model:
    """Open a run folder.

    Args:
        settings: ``predict.name=value`` strings.
        weights: where to look for the transformer's weights, if it is needed.

    Raises:
        RunError: the folder holds no trained model, or a damaged one.
        ConfigError: a setting that is fixed by the training.
    """
    folder, settings = Path(run), several(settings)
    require_prediction(settings)
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder} is no run folder ({CONFIG} is missing); give the folder that 'dips train --out' wrote")
    try:
        load_config(folder / CONFIG)
    except ConfigError as error:
        raise RunError(f"{error}; it is damaged or of another version: copy the run again or train anew") from error
    return Model(folder, load_config(folder / CONFIG, settings), pick_device(device), several(weights))


def _spread(photos: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly."""
    count = min(len(photos), most)
    return [photos[i * len(photos) // count] for i in range(count)]


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
