"""A run folder that was trained, opened: settings, thresholds, networks; it predicts.

A run folder holds ``config.toml``, ``run.json`` (data, weights, environment, how epoch and threshold were chosen),
``metrics.jsonl``, ``model.safetensors`` + ``model.json``, ``README.md`` (model card), ``report.html``, after an evaluation
``evaluation.json``, ``evaluation.csv`` and ``evaluation-photos.json``, and until the training is done ``resume.safetensors``.
:mod:`dips.fitting.fit` writes it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from dips.config import Config, load_config, require_prediction, several
from dips.errors import ConfigError, RunError, WeightsError
from dips.models.backbones import Transformer, load_transformer
from dips.models.keymap import KeyMap
from dips.models.networks import TEMPER, Networks
from dips.models.weights.resolve import Weights, resolve
from dips.predict.model import PredictionModel, weights_line
from dips.predict.predictor import Predictor
from dips.runs.checkpoint import load_model
from dips.system.console import log
from dips.system.device import pick_device

__all__ = ["CONFIG", "RUN", "TrainedRun"]

CONFIG, RUN = "config.toml", "run.json"
_RECORD = ("data", "classes", "background", "weights", "accuracy", "selection", "label_free", "best_tau", "environment")
_META = ("classes", "background", "best_tau", "key_map", "temper", "photo_side")


class TrainedRun(PredictionModel):
    """A run folder, opened.

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
        self.meta, self._localizer, self._classifier = meta, localizer, classifier
        self.given = tuple(weights)

    @classmethod
    def open(cls, run: str | Path, *, device: str = "auto", settings: Sequence[str] = (), weights: Sequence[str] = ()) -> Self:
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
        return cls(folder, load_config(folder / CONFIG, settings), pick_device(device), several(weights))

    @property
    def trained_share(self) -> float:
        """The share of the linear map (``predict.sst_share``) that the thresholds were chosen for."""
        return float(self.meta.get("sst_share", self.config.sst_share))

    @cached_property
    def key_map(self) -> KeyMap | None:
        """The linear map on the transformer's keys that the harvest fitted; None unless ``harvest.refine=dataset``."""
        saved = self.meta["key_map"]
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
            photo_side=self.meta["photo_side"],
        )

    def made_with(self) -> str:
        """The pretrained weights that predictions rest on, in a line."""
        return weights_line(self.weights_inside())

    def weights_inside(self) -> dict[str, dict[str, str]]:
        """What is known of the pretrained weights that predictions rest on."""
        inside = ("transformer", "classifier", "encoder") if self.config.sst_share > 0 else ("classifier", "encoder")
        known = {role: item for role, item in self.record["weights"].items() if role in inside}
        return {role: {key: str(item[key]) for key in ("arch", "note", "licence")} for role, item in known.items()}


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
