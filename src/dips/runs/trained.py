"""A trained run folder, opened: settings, thresholds, networks; it predicts.

A run folder holds ``config.toml``, ``run.json`` (data, weights, environment, how epoch and threshold were chosen),
``metrics.jsonl``, ``model.safetensors`` + ``model.json``, ``README.md`` (model card), ``report.html``, after an evaluation
``evaluation.json``, ``evaluation.csv`` and ``evaluation-photos.json``, and until the training is done ``resume.safetensors``.
:mod:`dips.fitting.fit` writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from dips.config import Config, load_config, require_prediction, several
from dips.errors import ConfigError, RunError, WeightsError
from dips.models.backbones import Transformer, load_transformer
from dips.models.keymap import KeyMap
from dips.models.networks import TEMPER, Networks
from dips.models.weights.resolve import Weights, resolve
from dips.predict.model import PredictionModel, weights_line
from dips.predict.predictor import Predictor
from dips.runs.checkpoint import load_key_map, load_model
from dips.runs.records import CONFIG, REMEDY, read_run_record
from dips.system.console import log
from dips.system.device import pick_device

__all__ = ["TrainedRun"]


class TrainedRun(PredictionModel):
    """A run folder, opened; :class:`dips.model.Model` is what users see of it.

    Attributes:
        run: its folder.
        config: the settings it was trained with; ``predict`` may have been changed at :func:`load`.
        classes: names in label order.
        background: label of the class without object, if there is one.
        best_tau: thresholds chosen on validation.
        meta: how ``model.json`` says the networks are to be used.
        record: what ``run.json`` says.
        given: where to look for the transformer's weights.
    """

    def __init__(self, run: Path, config: Config, device: torch.device, weights: Sequence[str]) -> None:
        self._localizer, self._classifier, self.meta = load_model(run, device)
        if self.meta.temper != TEMPER:
            raise RunError(f"{run} was made by another version, whose thresholds do not suit these maps; train again")
        self.record = read_run_record(run)
        if config.predict.sst_share < 0:  # the one of its training, not of this version's default
            fraction = config.sst_share if self.meta.sst_share is None else self.meta.sst_share
            config = dataclasses.replace(config, predict=dataclasses.replace(config.predict, sst_share=fraction))
        config.check()
        self.run, self.config, self.device = run, config, device
        self.classes, self.background, self.best_tau = self.meta.classes, self.meta.background, self.meta.best_tau
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
            raise RunError(f"{folder} is not a run folder ({CONFIG} is missing); give the folder that 'dips train --out' wrote")
        try:
            load_config(folder / CONFIG)
        except ConfigError as error:
            raise RunError(f"{error}; it is damaged or of another version: {REMEDY}") from error
        return cls(folder, load_config(folder / CONFIG, settings), pick_device(device), several(weights))

    @property
    def trained_share(self) -> float:
        """The fraction of the linear map (``predict.sst_share``) that the thresholds were chosen for."""
        return self.config.sst_share if self.meta.sst_share is None else self.meta.sst_share

    @cached_property
    def key_map(self) -> KeyMap | None:
        """The linear map on the transformer's keys that the harvest fitted; None unless ``harvest.refine=dataset``."""
        return None if self.meta.key_map is None else load_key_map(self.meta.key_map, self.run).to(self.device)

    @cached_property
    def transformer_weights(self) -> Weights:
        """The weights of the harvest's transformer, looked up again by name and checked against the recorded checksum.

        Raises:
            WeightsError: these weights are not here.
        """
        recorded = self.record.weights["transformer"]
        name = "embedded" if recorded.source == "embedded" else recorded.arch
        there = recorded.source == "file" and Path(recorded.origin).exists()
        weights = resolve(name, role="transformer", given=(*self.given, recorded.origin) if there else self.given)
        if weights.sha256 != recorded.sha256:
            raise WeightsError(
                f"{self.run} was made with other weights of {recorded.arch} ({recorded.origin}, sha256 {recorded.sha256[:12]}) "
                f"than those found here ({weights.origin}); give them with --weights"
            )
        return weights

    @cached_property
    def transformer(self) -> Transformer:
        """The transformer of the harvest, loaded at first use.

        Raises:
            WeightsError: its weights are not here.
        """
        return load_transformer(self.transformer_weights).to(self.device)

    @cached_property
    def networks(self) -> Networks:
        """The networks that answer for squares of photos."""
        fraction = self.config.sst_share
        return Networks(
            self._localizer,
            self._classifier,
            config=dataclasses.replace(self.config.predict, sst_share=fraction),
            classifier_size=self.config.classifier.size,
            device=self.device,
            key_map=self.key_map if fraction > 0 else None,
            transformer=self.transformer if fraction > 0 else None,
        )

    @cached_property
    def predictor(self) -> Predictor:
        """The networks, and how their maps become objects."""
        threshold = self.config.predict.threshold
        if threshold < 0 and self.config.sst_share != self.trained_share:
            log("the threshold was chosen for another predict.sst_share; predict.threshold gives one that fits")
        config = dataclasses.replace(self.config.predict, threshold=self.best_tau["v2"] if threshold < 0 else threshold)
        return Predictor(
            self.networks,
            config=config,
            classes=self.classes,
            background=self.background,
            photo_side=self.meta.photo_side,
        )

    def made_with(self) -> str:
        """Return the pretrained weights that predictions rest on, in a line."""
        return weights_line(self.weights_inside())

    def weights_inside(self) -> dict[str, dict[str, str]]:
        """Return ``arch``, ``note`` and ``licence`` of the pretrained weights that predictions rest on, by role."""
        return {
            role: {"arch": item.arch, "note": item.note, "licence": item.licence}
            for role, item in self.record.weights.items()
            if role != "transformer" or self.config.sst_share > 0
        }
