"""Fit the localizer, and choose epoch and threshold on the validation part (paper 3.3)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from dips.benchmark.loop import evaluate_maps
from dips.config import Config
from dips.evaluate.boxes import boxes_at_thresholds, tau_grid
from dips.evaluate.protocol import FRAMED
from dips.evaluate.result import BoxResult
from dips.fitting.prepare import TrainingInputs
from dips.fitting.splits import boxed_positions, criterion
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.system.device import seed_everything
from dips.train.loop import FitResult, fit_localizer
from dips.types import FloatArray, PhotoBatch

__all__ = ["TrainingResult", "train"]

_FINE = 1000  # the protocol's
_COARSE = 101  # thresholds while training: a hundredth is fine enough to compare epochs


@dataclass(frozen=True)
class TrainingResult:
    """A localizer with the threshold for it, and how both were chosen.

    Attributes:
        best_tau: thresholds chosen on validation, names as in :attr:`dips.evaluate.BoxResult.best_tau`.
        selection: how epoch and threshold were chosen, in words.
        label_free: no box had a part in it.
        validation: the chosen localizer's numbers on the validation part.
        seconds: of training, those before an interruption included.
    """

    localizer: Localizer
    fit: FitResult
    best_tau: dict[str, float]
    selection: str
    label_free: bool
    validation: dict[str, float]
    seconds: float


def train(prepared: TrainingInputs, *, config: Config, run: Path, fabric: Fabric, resume: bool = False) -> TrainingResult:
    """Fit the localizer and choose epoch and threshold on the validation part.

    Args:
        run: folder for metrics and the state to resume from.

    Raises:
        RunError: the folder holds another run.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    shown = boxed_positions(prepared.val)
    select_on = criterion(config, prepared.val)
    seed_everything(config.train.seed)
    localizer = (
        Localizer.from_weights(prepared.weights["encoder"])
        if config.localizer.pretrained
        else Localizer(config.localizer.encoder)
    )
    by_boxes = bool(shown) and select_on != "proposals"
    held_out = {} if by_boxes else _held_out(prepared)
    networks = _validator(prepared, config, localizer, fabric.device)

    def on_boxes(thresholds: int) -> BoxResult:
        samples = [prepared.val.samples[i] for i in shown]
        return evaluate_maps(_val_maps(networks, prepared, shown), samples, thresholds=thresholds)

    def validate(network: nn.Module) -> dict[str, float]:
        networks.localizer = network  # type: ignore[assignment]
        if by_boxes:
            result = on_boxes(_COARSE)
            return {"select": result.max_box_acc_v2, "v2": result.max_box_acc_v2, **_flat(result.max_box_acc_at)}
        agreement, _ = _agreement(networks, prepared, held_out)
        return {"select": agreement, "agreement": agreement}

    fit = fit_localizer(
        localizer,
        prepared.classifier,
        prepared.items,
        config=config.train,
        fabric=fabric,
        run_dir=run,
        validate=None if select_on == "last" else validate,
        resume=resume,
        background=prepared.train.background,
        origin=prepared.origin,
    )
    started = time.perf_counter()
    networks.localizer = localizer.to(fabric.device).eval()
    networks.config = dataclasses.replace(networks.config, flip=config.predict.flip)  # the threshold is for maps as predicted
    if by_boxes:
        result = on_boxes(_FINE)
        best_tau, words = result.best_tau, f"true boxes of {len(shown)} validation photos"
        validation = {"v2": result.max_box_acc_v2, **_flat(result.max_box_acc_at)}
    else:
        agreement, tau = _agreement(networks, prepared, held_out)
        best_tau, words = dict.fromkeys(("v1", "30", "50", "70", "v2"), tau), "agreement with held-out proposals, no boxes"
        validation = {"agreement": agreement}
    selection = (
        f"epoch {fit.epoch} of {fit.epochs} ({'the last' if select_on == 'last' else 'by ' + words}); threshold by {words}"
    )
    seconds = fit.seconds + time.perf_counter() - started
    return TrainingResult(localizer, fit, best_tau, selection, not by_boxes, validation, seconds)


def _flat(at: dict[str, float]) -> dict[str, float]:
    return {f"box_acc_{name}": value for name, value in at.items()}


def _validator(prepared: TrainingInputs, config: Config, localizer: Localizer, device: torch.device) -> Networks:
    """The networks as they will predict, but for mirror images, which epochs need not; linear maps come from the harvest."""
    return Networks(
        localizer,
        prepared.classifier,
        config=dataclasses.replace(config.predict, sst_share=config.sst_share, flip=False),
        classifier_size=config.classifier.size,
        device=device,
    )


def _val_maps(networks: Networks, prepared: TrainingInputs, positions: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Maps of validation photos in the protocol's frame, from their stored squares."""
    maps = []
    for start in range(0, len(positions), networks.config.batch):
        part = positions[start : start + networks.config.batch]
        squares = [prepared.val_square(i) for i in part]
        linear = [prepared.val_linear(i) for i in part] if networks.config.sst_share > 0 else None
        maps += [FRAMED.resized(m, None) for m in networks.answer(PhotoBatch(np.stack(squares)), linear).maps]
    return maps


def _held_out(prepared: TrainingInputs) -> dict[int, FloatArray]:
    """Box ``(1, 4)`` of the best proposal of validation photos by position, shares of the frame."""
    boxes = {i: prepared.val_items[i].boxes[:1] for i in range(len(prepared.val_items))}
    return {i: box for i, box in boxes.items() if len(box)}  # photos of the background class have none


def _agreement(networks: Networks, prepared: TrainingInputs, held_out: dict[int, FloatArray]) -> tuple[float, float]:
    """Label-free criterion: mean IoU (percent) of the map's largest box with the best held-out proposal's box, and the
    threshold that reaches it."""
    if not held_out:
        return 0.0, 0.5
    curves = []
    for box, found in zip(held_out.values(), _val_maps(networks, prepared, list(held_out)), strict=True):
        levels = boxes_at_thresholds(found, _COARSE)
        curves.append(levels.best_iou(np.rint(box * found.shape[0]), multi_contour=False))
    mean = np.mean(curves, axis=0)
    return float(100 * mean.max()), float(tau_grid(_COARSE)[mean.argmax()])
