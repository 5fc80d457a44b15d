"""Fit the localizer, and choose epoch and threshold on the validation part (paper 3.3)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from dips.benchmark.loop import evaluate_maps
from dips.config import Config
from dips.evaluate.boxes import boxes_at_thresholds, tau_grid
from dips.evaluate.protocol import FRAMED
from dips.fitting.prepare import TrainingInputs
from dips.fitting.splits import boxed_positions, resolve_select_on
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.system.device import seed_everything
from dips.train.loop import FitResult, fit_localizer
from dips.types import FloatArray, PhotoBatch

__all__ = ["TrainingResult", "fit_and_select"]

_FINE_THRESHOLDS = 1000  # the protocol's
_COARSE_THRESHOLDS = 101  # while training: a hundredth is fine enough to compare epochs


@dataclass(frozen=True)
class TrainingResult:
    """A localizer with the threshold for it, and how both were chosen.

    Attributes:
        best_tau: thresholds chosen on validation, names as in :attr:`dips.evaluate.BoxResult.best_tau`.
        selection: how epoch and threshold were chosen, in words.
        label_free: no box had a part in it.
        validation: the chosen localizer's numbers on the validation part, percent.
        seconds: of training, those before an interruption included.
    """

    localizer: Localizer
    fit: FitResult
    best_tau: dict[str, float]
    selection: str
    label_free: bool
    validation: dict[str, float]
    seconds: float


def fit_and_select(
    inputs: TrainingInputs, *, config: Config, run: Path, fabric: Fabric, resume: bool = False
) -> TrainingResult:
    """Fit the localizer and choose epoch and threshold on the validation part.

    Args:
        run: folder for metrics and the state to resume from.

    Raises:
        RunError: the folder holds another run.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    select_on = resolve_select_on(config, inputs.val)
    seed_everything(config.train.seed)
    encoder = inputs.weights["encoder"]
    localizer = Localizer.from_weights(encoder) if config.localizer.pretrained else Localizer(config.localizer.encoder)
    validation = _Validation(inputs, config, localizer, fabric.device)
    fit = fit_localizer(
        localizer,
        inputs.classifier,
        inputs.items,
        config=config.train,
        fabric=fabric,
        run_dir=run,
        validate=None if select_on == "last" else validation.validate_epoch,
        resume=resume,
        background=inputs.train.background,
        classifier_size=config.classifier.size,
        origin=inputs.origin,
    )
    started = time.perf_counter()
    metrics, best_tau = validation.measure_final(localizer, flip=config.predict.flip)
    epoch = "the last" if select_on == "last" else f"by {validation.words}"
    return TrainingResult(
        localizer,
        fit,
        best_tau=best_tau,
        selection=f"epoch {fit.epoch} of {fit.epochs} ({epoch}); threshold by {validation.words}",
        label_free=not validation.by_boxes,
        validation=metrics,
        seconds=fit.seconds + time.perf_counter() - started,
    )


class _Validation:
    """The validation part as a measure of localizers.

    Where photos have ground-truth boxes it is MaxBoxAccV2 on these photos, else, or with ``train.select_on=proposals``, the
    agreement with the best proposals of photos that nothing was trained on, which needs no box.

    Attributes:
        by_boxes: which of the two it is.
        words: the same for people.
    """

    def __init__(self, inputs: TrainingInputs, config: Config, localizer: Localizer, device: torch.device) -> None:
        self._inputs, self._boxed = inputs, boxed_positions(inputs.val)
        self.by_boxes = bool(self._boxed) and resolve_select_on(config, inputs.val) != "proposals"
        self._proposals = {} if self.by_boxes else _best_proposals(inputs)
        self.words = (
            f"ground-truth boxes of {len(self._boxed)} validation photos"
            if self.by_boxes
            else "agreement with held-out proposals, no boxes"
        )
        # as they will predict, but for mirror images, which epochs need not; linear maps come from the harvest
        self._networks = Networks(
            localizer,
            inputs.classifier,
            config=dataclasses.replace(config.predict, sst_share=config.sst_share, flip=False),
            classifier_size=config.classifier.size,
            device=device,
        )

    def validate_epoch(self, network: nn.Module) -> dict[str, float]:
        """Return what one epoch's localizer reaches, in percent; ``select`` is what epochs are compared by."""
        self._networks.localizer = cast(Localizer, network)
        metrics, _ = self._measure(_COARSE_THRESHOLDS)
        return {"select": metrics["v2" if self.by_boxes else "agreement"], **metrics}

    def measure_final(self, localizer: Localizer, *, flip: bool) -> tuple[dict[str, float], dict[str, float]]:
        """Return what the chosen localizer reaches with maps as they will be predicted, in percent, and its thresholds."""
        self._networks.localizer = localizer.to(self._networks.device).eval()
        self._networks.config = dataclasses.replace(self._networks.config, flip=flip)
        return self._measure(_FINE_THRESHOLDS)

    def _measure(self, thresholds: int) -> tuple[dict[str, float], dict[str, float]]:
        if self.by_boxes:
            samples = [self._inputs.val.samples[i] for i in self._boxed]
            result = evaluate_maps(self._score_maps(self._boxed), samples, thresholds=thresholds)
            at_iou = {f"box_acc_{name}": value for name, value in result.max_box_acc_at.items()}
            return {"v2": result.max_box_acc_v2, **at_iou}, result.best_tau
        agreement, tau = self._agreement()
        return {"agreement": agreement}, dict.fromkeys(("v1", "30", "50", "70", "v2"), tau)

    def _agreement(self) -> tuple[float, float]:
        """Return the mean IoU (percent) of maps' largest boxes with the best proposals, and the threshold that reaches it."""
        if not self._proposals:
            return 0.0, 0.5
        curves = []
        score_maps = self._score_maps(list(self._proposals))
        for box, score_map in zip(self._proposals.values(), score_maps, strict=True):
            levels = boxes_at_thresholds(score_map, _COARSE_THRESHOLDS)
            curves.append(levels.best_iou(np.rint(box * score_map.shape[0]), multi_contour=False))
        mean = np.mean(curves, axis=0)
        return float(100 * mean.max()), float(tau_grid(_COARSE_THRESHOLDS)[mean.argmax()])

    def _score_maps(self, positions: Sequence[int]) -> list[FloatArray]:
        """Return maps of validation photos in the protocol's frame, from their stored squares."""
        networks, inputs = self._networks, self._inputs
        maps = []
        for start in range(0, len(positions), networks.config.batch):
            part = positions[start : start + networks.config.batch]
            squares = [inputs.val_square(i) for i in part]
            linear = [inputs.val_linear(i) for i in part] if networks.config.sst_share > 0 else None
            maps += [
                FRAMED.resized(score_map, None) for score_map in networks.answer(PhotoBatch(np.stack(squares)), linear).maps
            ]
        return maps


def _best_proposals(inputs: TrainingInputs) -> dict[int, FloatArray]:
    """Return the box ``(1, 4)`` of the best proposal of validation photos by position, in fractions of the frame."""
    boxes = {i: inputs.val_items[i].boxes[:1] for i in range(len(inputs.val_items))}
    return {i: box for i, box in boxes.items() if len(box)}  # photos of the background class have none
