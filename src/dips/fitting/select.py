"""Choose thresholds and, if a U-Net is trained, its epoch, on the validation part (paper 3.3).

In: :class:`~dips.fitting.inputs.TrainingInputs`. Out: a :class:`TrainingResult` with thresholds for every mode of prediction
that the run offers. Validation sees the photos as prediction does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from dips.benchmark.frames import GroundTruth
from dips.benchmark.loop import evaluate_maps, evaluate_photos
from dips.config import Config
from dips.data.split import spread
from dips.evaluate.boxes import boxes_at_thresholds, tau_grid
from dips.evaluate.detection import DetectionCounter
from dips.evaluate.protocol import FRAMED
from dips.evaluate.result import BoxResult
from dips.fitting.calibrate import calibrate, judge
from dips.fitting.inputs import TrainingInputs
from dips.fitting.splits import boxed_positions, resolve_select_on
from dips.models.inputs import resize_to, to_tensor
from dips.models.localizer import Localizer
from dips.models.networks import Networks, offered_modes, tempered, unet_logits
from dips.scoremaps.calibration import Calibration
from dips.scoremaps.levels import packed, unpacked
from dips.system.console import counted
from dips.system.device import seed_everything
from dips.train.loop import FitResult, fit_localizer
from dips.types import FloatArray, Sample

__all__ = ["TrainingResult", "fit_and_select", "steady_taus"]

_THRESHOLDS = 1000  # as in the protocol
_COARSE_THRESHOLDS = 101  # while training: steps of a hundredth are fine enough to compare epochs
_DETECTION_TAUS = np.arange(0.05, 0.96, 0.01)
_MAX_PHOTOS = 400  # for choosing thresholds
_MAX_EMPTY = 64  # additional photos without object, for calibrating scores

_SeenMap = tuple[int | None, NDArray[np.uint16], NDArray[Any]]  # a photo's only label, its score map and its true boxes


@dataclass(frozen=True)
class TrainingResult:
    """What a run is made of, and how it was chosen.

    Attributes:
        localizer: the U-Net of the chosen epoch; None where none was trained.
        fit: the U-Net's training.
        thresholds: thresholds chosen on validation, by mode of prediction: names as in
            :attr:`dips.evaluate.BoxResult.best_tau`, and ``run``, the one that boxes are predicted with.
        selection: how epoch and threshold were chosen, in words.
        label_free: whether no box influenced the choice.
        validation: numbers on the validation part, percent.
        calibration: calibration of the scores of boxes, by mode; empty if too few validation photos have boxes.
        seconds: training time, including that before an interruption.
    """

    localizer: Localizer | None
    fit: FitResult | None
    thresholds: dict[str, dict[str, float]]
    selection: str
    label_free: bool
    validation: dict[str, float]
    calibration: dict[str, Calibration]
    seconds: float


def fit_and_select(
    inputs: TrainingInputs, *, config: Config, run: Path, fabric: Fabric, resume: bool = False
) -> TrainingResult:
    """Fit the U-Net, if one is to be trained, and choose epoch and thresholds on the validation part.

    Args:
        run: folder for metrics and for the state to resume from.

    Raises:
        RunError: the folder holds another run.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    validation = _Validation(inputs, config)
    localizer, fit, epoch = None, None, ""
    if inputs.proposals is not None:
        select_on = resolve_select_on(config, inputs.val)
        seed_everything(config.train.seed)
        encoder = inputs.weights["encoder"]
        localizer = Localizer.from_weights(encoder) if config.localizer.pretrained else Localizer(config.localizer.encoder)
        fit = fit_localizer(
            localizer,
            inputs.classifier,
            inputs.proposals.train,
            config=config.train,
            fabric=fabric,
            run_dir=run,
            validate=None if select_on == "last" else validation.validate_epoch,
            resume=resume,
            background=inputs.train.background,
            classifier_size=config.classifier.size,
            origin=inputs.origin,
        )
        by = "the last" if select_on == "last" else f"by {validation.epoch_words}"
        epoch = f"epoch {fit.epoch} of {fit.epochs} ({by}); "
    started = time.perf_counter()
    thresholds, metrics, calibration = validation.choose_thresholds(localizer, fabric.device)
    return TrainingResult(
        localizer,
        fit,
        thresholds=thresholds,
        selection=f"{epoch}threshold by {validation.words}",
        label_free=not validation.by_boxes,
        validation=metrics,
        calibration=calibration,
        seconds=(fit.seconds if fit is not None else 0.0) + time.perf_counter() - started,
    )


class _Validation:
    """Measures localizers on the validation part.

    If photos have ground-truth boxes, and ``train.select_on`` is not ``proposals``, these decide. Otherwise epochs are compared
    by agreement with the best proposals of photos that nothing was trained on, and the threshold is the linear maps' level
    between object and background.

    Attributes:
        by_boxes: whether ground-truth boxes decide.
        words: how thresholds are chosen, as text for people.
        epoch_words: how epochs are chosen, likewise.
    """

    def __init__(self, inputs: TrainingInputs, config: Config) -> None:
        self._inputs, self._config = inputs, config
        self._boxed = boxed_positions(inputs.val)
        self.by_boxes = bool(self._boxed) and resolve_select_on(config, inputs.val) != "proposals"
        agreement = "agreement with held-out proposals, no boxes"
        self._proposals = {} if self.by_boxes or inputs.proposals is None else _best_proposals(inputs)
        self.words = self.epoch_words = agreement
        if self.by_boxes:
            self.words = self.epoch_words = (
                f"ground-truth boxes of {counted(len(spread(self._boxed, _MAX_PHOTOS)), 'validation photo')}"
            )
        elif config.predict.mode != "unet":
            self.words = "the model's own level between object and background, without boxes"

    def validate_epoch(self, network: nn.Module) -> dict[str, float]:
        """Return the metrics of one epoch's U-Net, in percent; epochs are compared by ``select``."""
        localizer = cast(Localizer, network)
        if not self.by_boxes:
            agreement, _ = self._agreement(localizer)
            return {"select": agreement, "agreement": agreement}
        samples = [self._inputs.val.samples[i] for i in self._boxed]
        result = evaluate_maps(self._unet_maps(localizer, self._boxed), samples, thresholds=_COARSE_THRESHOLDS)
        at_iou = {f"box_acc_{name}": value for name, value in result.max_box_acc_at.items()}
        return {"select": result.max_box_acc_v2, "v2": result.max_box_acc_v2, **at_iou}

    def choose_thresholds(
        self, localizer: Localizer | None, device: torch.device
    ) -> tuple[dict[str, dict[str, float]], dict[str, float], dict[str, Calibration]]:
        """Return thresholds by mode, the metrics of the mode that the run predicts with, and score calibrations by mode."""
        networks = self._networks(localizer, device)
        mode = self._config.predict.mode
        samples = self._inputs.val.samples
        if self.by_boxes:
            empty = [sample for sample in samples if sample.label == self._inputs.train.background and not sample.boxed]
            chosen = [samples[i] for i in spread(self._boxed, _MAX_PHOTOS)]
            return self._by_boxes(networks, [*chosen, *spread(empty, min(len(chosen), _MAX_EMPTY))])
        taus: dict[str, float] = {}
        metrics: dict[str, float] = {}
        if localizer is not None and "unet" in networks:
            agreement, taus["unet"] = self._agreement(localizer.to(device).eval())
            metrics = {"agreement": agreement} if mode == "unet" else {}
        linear = {name: item for name, item in networks.items() if name != "unet"}
        taus |= self._by_level(linear, [sample for sample in samples if sample.label != self._inputs.train.background])
        names = ("v1", "30", "50", "70", "v2", "run")
        return {name: dict.fromkeys(names, tau) for name, tau in taus.items()}, metrics, {}

    def _networks(self, localizer: Localizer | None, device: torch.device) -> dict[str, Networks]:
        """Return the networks of every mode that the run offers."""
        inputs = self._inputs
        frozen = inputs.frozen()
        return {
            mode: Networks.of_mode(
                mode,
                frozen,
                settings=self._config.predict,
                device=device,
                background=inputs.train.background,
                linear=inputs.linear,
                localizer=localizer,
            )
            for mode in offered_modes(inputs.linear, localizer)
        }

    def _by_boxes(
        self, networks: Mapping[str, Networks], samples: Sequence[Sample]
    ) -> tuple[dict[str, dict[str, float]], dict[str, float], dict[str, Calibration]]:
        """Choose by ground-truth boxes: each metric's threshold by the metric, that of predicted boxes by F1 over all boxes.

        Photos of the class without object, at the end, are used for the calibration alone.
        """
        settings = self._config.predict
        options = {"min_area": settings.min_area, "min_score": max(0.0, settings.min_score), "max_boxes": settings.max_boxes}
        seen: dict[str, list[_SeenMap]] = {name: [] for name in networks}
        counters = {name: DetectionCounter(_DETECTION_TAUS.tolist(), **options) for name in networks}  # type: ignore[arg-type]

        def count(name: str, ground_truth: GroundTruth, score_map: FloatArray, _: NDArray[np.int64]) -> None:
            true = np.zeros((0, 4), np.float32) if ground_truth.boxes is None else ground_truth.boxes
            if len(true):
                counters[name].add(FRAMED.resized(score_map, None), true)
            sample = ground_truth.sample
            seen[name].append((None if sample.others else sample.label, packed(score_map), true))

        evaluation = evaluate_photos(
            networks,
            samples,
            batch=settings.batch,
            thresholds=_THRESHOLDS,
            localize_all=True,
            on_map=count,
            depth=self._inputs.depth,
        )
        thresholds = {
            name: {**steady_taus(result.boxes), "run": counters[name].best_tau} for name, result in evaluation.methods.items()
        }
        calibration = {name: self._calibrate(maps, counters[name].best_tau) for name, maps in seen.items()}
        own = evaluation.methods[settings.mode].boxes
        at_iou = {f"box_acc_{name}": value for name, value in own.max_box_acc_at.items()}
        metrics = {"v2": own.max_box_acc_v2, **at_iou, "f1": 100 * float(counters[settings.mode].f1.max())}
        return thresholds, metrics, {name: item for name, item in calibration.items() if item is not None}

    def _calibrate(self, maps: Sequence[_SeenMap], threshold: float) -> Calibration | None:
        """Return the calibration of the scores of boxes that are found at the threshold."""
        settings, classes = self._config.predict, self._inputs.train.classes
        options = {"min_area": settings.min_area, "max_boxes": settings.max_boxes}
        return calibrate(
            [
                judge(
                    "" if label is None else classes[label],
                    FRAMED.resized(unpacked(levels), None),
                    true,
                    threshold,
                    **options,  # type: ignore[arg-type]
                )
                for label, levels, true in maps
            ]
        )

    def _by_level(self, networks: Mapping[str, Networks], samples: Sequence[Sample]) -> dict[str, float]:
        """Choose without boxes: the threshold, a fraction of a map's maximum, at which maps cross the level of an object."""
        if not networks or self._inputs.linear is None:
            return {}
        fractions: dict[str, list[float]] = {name: [] for name in networks}
        logits = {name: item.level for name, item in networks.items()}
        levels = {name: float(tempered(torch.tensor(logit))) for name, logit in logits.items()}

        def measure(name: str, ground_truth: GroundTruth, score_map: FloatArray, _: NDArray[np.int64]) -> None:
            fractions[name].append(min(1.0, levels[name] / max(float(score_map.max()), 1e-6)))

        evaluate_photos(
            networks,
            spread(samples, _MAX_PHOTOS),
            batch=self._config.predict.batch,
            localize_all=True,
            on_map=measure,
            depth=self._inputs.depth,
        )
        return {name: float(np.median(values)) if values else levels[name] for name, values in fractions.items()}

    def _agreement(self, localizer: Localizer) -> tuple[float, float]:
        """Return the mean IoU (percent) of maps' largest boxes with the best proposals, and the threshold that reaches it."""
        if not self._proposals:
            return 0.0, 0.5
        curves = []
        score_maps = self._unet_maps(localizer, list(self._proposals))
        for box, score_map in zip(self._proposals.values(), score_maps, strict=True):
            levels = boxes_at_thresholds(score_map, _COARSE_THRESHOLDS)
            curves.append(levels.best_iou(np.rint(box * score_map.shape[0]), multi_contour=False))
        mean = np.mean(curves, axis=0)
        return float(100 * mean.max()), float(tau_grid(_COARSE_THRESHOLDS)[mean.argmax()])

    @torch.inference_mode()
    def _unet_maps(self, localizer: Localizer, positions: Sequence[int]) -> list[FloatArray]:
        """Return the U-Net's maps of validation photos in the protocol's frame, from their stored squares."""
        device, settings = next(localizer.parameters()).device, self._config.predict
        maps = []
        for start in range(0, len(positions), settings.batch):
            squares = [self._inputs.val_square(i) for i in positions[start : start + settings.batch]]
            images = resize_to(to_tensor(squares, device), settings.size)
            score_maps = tempered(unet_logits(localizer, images)).cpu().numpy()
            maps += [FRAMED.resized(score_map, None) for score_map in score_maps]
        return maps


def steady_taus(result: BoxResult) -> dict[str, float]:
    """Return the middle one of the thresholds that are at most one photo worse than the best, named as in ``best_tau``.

    With few photos, the best one is a matter of chance: on others, the middle one is better (docs/results.md).
    """
    one_photo = 100 / max(1, result.n_boxed) + 1e-6
    good = {name: np.flatnonzero(curve >= curve.max() - one_photo) for name, curve in result.curves.items()}
    return {name: float(result.taus[positions[len(positions) // 2]]) for name, positions in good.items()}


def _best_proposals(inputs: TrainingInputs) -> dict[int, FloatArray]:
    """Return the box ``(1, 4)`` of the best proposal of each validation photo, by position, in fractions of the frame."""
    assert inputs.proposals is not None
    items = inputs.proposals.val
    boxes = {i: items[i].boxes[:1] for i in range(len(items))}
    return {i: box for i, box in boxes.items() if len(box)}  # photos of the background class have none
