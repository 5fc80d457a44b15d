"""A trained run folder, opened for prediction: settings, thresholds, networks.

A run folder holds ``config.toml``, ``run.json`` (data, weights, environment, how epoch and threshold were chosen),
``metrics.jsonl``, ``model.safetensors`` + ``model.json``, ``README.md`` (model card), ``report.html``,
``training-photos.json`` (shown in it), after an evaluation ``evaluation.json``, ``evaluation.csv`` and
``evaluation-photos.json``, and until the training is done ``resume.safetensors``. Only a U-Net has ``metrics.jsonl``.
:mod:`dips.fitting.fit` writes the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from dips.config import Config, load_config, several
from dips.errors import RunError, WeightsError
from dips.models.backbones import Transformer, load_transformer
from dips.models.frozen import FrozenNetworks
from dips.models.networks import TEMPER, Networks, mode_settings, offered_modes, require_mode, second_side
from dips.models.weights.resolve import Weights, resolve
from dips.predict.model import PredictionModel, weights_line
from dips.predict.predictor import Predictor
from dips.runs.checkpoint import load_model
from dips.runs.identity import run_config
from dips.runs.records import CONFIG, read_run_record
from dips.system.console import log
from dips.system.device import pick_device
from dips.system.names import is_remote

__all__ = ["TrainedRun"]

_OF_MAPS = ("mode", "flip", "second_look", "unet_share", "size")  # settings that change score maps


class TrainedRun(PredictionModel):
    """A run folder, opened; :class:`dips.model.Model` is its public interface.

    Attributes:
        run: its folder.
        config: the settings it was trained with; ``predict`` may have been overridden at :func:`load`.
        classes: names in label order.
        background: label of the class without object, if there is one.
        stored: its networks.
        trained: the settings of prediction for which thresholds were chosen.
        meta: how to use the networks, from ``model.json``.
        record: the contents of ``run.json``.
        given: where to look for the transformer's weights.
    """

    def __init__(self, run: Path, config: Config, device: torch.device, weights: Sequence[str]) -> None:
        self.stored = load_model(run, device)
        self.meta = self.stored.meta
        if self.meta.temper != TEMPER:
            raise RunError(f"{run} was made by another version, whose thresholds do not suit these maps; train again")
        self.record = read_run_record(run)
        require_mode(config.predict, linear=self.stored.linear is not None, unet=self.stored.localizer is not None)
        self.trained = load_config(run / CONFIG).predict
        self.run, self.config, self.device = run, config, device
        self.classes, self.background = self.meta.classes, self.meta.background
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
        folder = Path(run)
        return cls(folder, run_config(folder, several(settings)), pick_device(device), several(weights))

    @property
    def best_tau(self) -> dict[str, float]:
        """Thresholds chosen on validation for the mode of prediction."""
        return self.meta.thresholds.get(self.config.predict.mode, {})

    @property
    def as_trained(self) -> bool:
        """Whether thresholds were chosen for maps like these."""
        return self.suits(self.config.predict.mode)

    def suits(self, mode: str) -> bool:
        """Return whether thresholds were chosen for the maps that this mode makes with the current settings."""
        now, then = (mode_settings(settings, mode) for settings in (self.config.predict, self.trained))
        no_unet = mode != "unet" and now.unet_share == 0
        same_unet = no_unet or now.size == then.size
        same_share = mode == "unet" or now.unet_share == then.unet_share
        same_looks = now.flip == then.flip and second_side(now) == second_side(then)
        return mode in self.meta.thresholds and same_looks and same_share and same_unet

    @cached_property
    def transformer_weights(self) -> Weights:
        """The weights of the harvest's transformer, looked up again by name and checked against the recorded checksum.

        Raises:
            WeightsError: these weights are not found.
        """
        recorded = self.record.weights["transformer"]
        name = "embedded" if recorded.source == "embedded" else recorded.arch
        there = recorded.source == "file" and not is_remote(Path(recorded.origin), self.run) and Path(recorded.origin).exists()
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
            WeightsError: its weights are not found.
        """
        return load_transformer(self.transformer_weights).to(self.device)

    @cached_property
    def frozen(self) -> FrozenNetworks:
        """The classifier's CNN, with the transformer: see :attr:`networks` for those that prediction needs."""
        sides = self.config.harvest.sizes
        return FrozenNetworks(
            self.stored.classifier, side=self.config.classifier.size, transformer=self.transformer, key_sides=sides
        )

    @cached_property
    def networks(self) -> Networks:
        """The networks that predict from squares of photos; the transformer is loaded only if its keys are needed."""
        frozen = (
            self.frozen if self.uses_transformer else FrozenNetworks(self.stored.classifier, side=self.config.classifier.size)
        )
        return self.networks_of(self.config.predict.mode, frozen)

    def networks_of(self, mode: str, frozen: FrozenNetworks) -> Networks:
        """Return the networks of a mode of prediction, built on the given frozen ones, which several modes may share.

        Raises:
            ConfigError: this run does not offer the mode.
        """
        return self.stored.networks(mode, frozen, self.config.predict, self.device)

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes of prediction that this run offers."""
        return offered_modes(self.stored.linear, self.stored.localizer)

    @property
    def uses_transformer(self) -> bool:
        """Return whether predictions need the transformer."""
        return self.config.predict.mode == "accurate"

    @cached_property
    def predictor(self) -> Predictor:
        """The networks, and how their maps become objects."""
        if self.config.predict.threshold < 0 and not self.as_trained:
            before, now = (vars(settings) for settings in (self.trained, self.config.predict))
            changed = [f"{name}={value}" for name, value in now.items() if name in _OF_MAPS and value != before[name]]
            log(
                f"the threshold was chosen for other settings of predict than {', '.join(changed)}: boxes may be too large or "
                "too small; look at the overlays, and set predict.threshold, or try others with 'dips boxes DIR --threshold'"
            )
        return self.stored.predictor(self.networks, self.config.predict, calibrated=self.as_trained)

    def described(self) -> tuple[Path, str, int]:
        """Return folder, mode of prediction, and side of the square in which a photo is seen, in pixels."""
        return self.run, self.config.predict.mode, self.config.classifier.size

    def made_with(self) -> str:
        """Return the pretrained weights that predictions are based on, in one line."""
        return weights_line(self.weights_inside())

    def weights_inside(self) -> dict[str, dict[str, str]]:
        """Return ``arch``, ``note`` and ``licence`` of the pretrained weights that predictions need, by role.

        A transformer that was only used to fit the map is listed as ``teacher``: its note belongs beside every number.
        """
        needed = {"classifier"}
        needed |= {"transformer"} if self.uses_transformer else set()
        needed |= {"encoder"} if self.networks.localizer is not None else set()
        weights = {
            role: {"arch": item.arch, "note": item.note, "licence": item.licence}
            for role, item in self.record.weights.items()
            if role in {*needed, "transformer"}
        }
        if not self.uses_transformer:
            weights["teacher"] = weights.pop("transformer")
        return weights
