"""The training loop of the localizer (paper 3.3, 4).

In: localizer, frozen classifier, harvested photos; out: the averaged weights of the chosen epoch, ``metrics.jsonl`` and a
state to resume from in the run folder. Each step draws one proposal per photo, a crop and pseudo-pixels, all from generators
seeded with ``(seed, epoch, step, rank)``: a run that was killed and resumed ends, on the CPU, with the same bits as one that
was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from dips.config import TrainConfig
from dips.errors import RunError
from dips.system.console import log, time_left, track
from dips.train.augment import draw_views
from dips.train.average import Average
from dips.train.batches import Feed, TrainingPhotos, derive_seed
from dips.train.losses import Losses
from dips.train.sampling import draw_targets
from dips.train.schedule import build_optimizer, rate, set_rate
from dips.train.state import (
    METRICS,
    STATE,
    Progress,
    append_metrics,
    flatten_optimizer,
    load_state,
    restore_optimizer,
    save_state,
    trim_metrics,
)
from dips.train.tensorboard import require_board, write_epoch
from dips.types import in_words

__all__ = ["FitResult", "Validate", "fit_localizer"]

Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class FitResult:
    """The result of a training.

    Attributes:
        epoch: the chosen epoch, counted from 1.
        metrics: its validation metrics; empty without validation.
        epochs: number of epochs trained.
        seconds: time that they took, including validation and time before an interruption.
        state: the chosen weights on the CPU; the localizer holds them too.
    """

    epoch: int
    metrics: dict[str, float]
    epochs: int
    seconds: float
    state: dict[str, Tensor]


def fit_localizer(
    localizer: nn.Module,
    classifier: nn.Module | None,
    items: TrainingPhotos,
    *,
    config: TrainConfig,
    fabric: Fabric,
    run_dir: Path,
    validate: Validate | None = None,
    resume: bool = False,
    background: int | None = None,
    classifier_size: int | None = None,
    origin: str = "",
    save_minutes: float = 5.0,
) -> FitResult:
    """Train ``localizer`` in place; at the end it holds the averaged weights of the chosen epoch, in evaluation mode.

    Args:
        localizer: ``(B, 3, H, W)`` in [0, 1] to logits ``(B, 2, H, W)``; may offer ``parameter_groups(lr, encoder_fraction)``.
        classifier: frozen here; may be None if ``lambda_cls`` is 0.
        items: the harvested photos, including those of the background class.
        fabric: already launched; provides device, precision and processes.
        run_dir: folder for ``metrics.jsonl``, a line per epoch, and the state, ``resume.safetensors``.
        validate: called with the averaged network (evaluation mode, no gradients) after every epoch, on the first process
            only. The epoch with the highest ``select`` is chosen, the later of equal ones, which has seen more. Without
            ``select``, or with ``train.select_on = last``, the last epoch is chosen.
        resume: continue from the state in ``run_dir``, or from the start if there is none.
        background: label of the background class; any pixel of its photos may be drawn as background. A photo of
            another class without a proposal gets no labelled pixel.
        classifier_size: side of the squares that the classifier was fitted on; None = ``train.resize``.
        origin: identifies photos and weights; a run can be resumed only with the same.
        save_minutes: interval at which the state is also written inside an epoch.

    Raises:
        RunError: the folder holds another run, the state does not fit the settings, or the loss is not finite.
        ConfigError: settings that cannot work together.
    """
    run = _Run(localizer, classifier, items, config, fabric, run_dir, background, classifier_size, origin)
    run.begin(resume)
    while run.progress.epoch < config.epochs:
        run.epoch(save_minutes * 60)
        run.end_epoch(validate)
    return run.result()


class _Run:
    """A run in progress: its networks and how far it has come."""

    def __init__(
        self,
        localizer: nn.Module,
        classifier: nn.Module | None,
        items: TrainingPhotos,
        config: TrainConfig,
        fabric: Fabric,
        run_dir: Path,
        background: int | None,
        classifier_size: int | None,
        origin: str,
    ) -> None:
        if config.tensorboard:
            require_board()
        self.config, self.fabric, self.background = config, fabric, background
        self.state_file, self.metrics_file = run_dir / STATE, run_dir / METRICS
        self.device = fabric.device
        if classifier is not None:
            classifier = classifier.to(self.device).eval().requires_grad_(False)
        self.losses = Losses(classifier, config, background, classifier_size)
        self.feed = Feed(items, config, rank=fabric.global_rank, world=fabric.world_size)
        # Depthwise convolutions are faster in this layout: 3 to 14 % of a step on the CPU.
        self.localizer = localizer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wrapped, self.optimizer = fabric.setup(localizer, build_optimizer(localizer, config))
        self.average = Average(localizer, config.average)
        self.best: dict[str, Tensor] = {}
        settings = {k: v for k, v in asdict(config).items() if k not in ("workers", "tensorboard")}
        inputs = {"photos": self.feed.count, "processes": fabric.world_size, "fingerprint of photos and weights": origin}
        self.progress = Progress(run={**settings, **inputs})

    def begin(self, resume: bool) -> None:
        """Restore the state, or make sure that nothing is overwritten."""
        if resume and self.state_file.exists():
            self._restore(*load_state(self.state_file, Progress))
        elif not resume and (self.state_file.exists() or self.metrics_file.exists()):
            raise RunError(
                f"{self.state_file.parent} already holds a run; nothing was changed. "
                "Continue it with --resume, or choose another folder"
            )
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            trim_metrics(self.metrics_file, self.progress.epoch)

    def epoch(self, save_seconds: float) -> None:
        """Train to the end of the current epoch."""
        config, progress = self.config, self.progress
        number, skip = progress.epoch, progress.step
        started = saved = time.monotonic()
        before = progress.epoch_seconds
        self.wrapped.train()
        batches = track(self.feed.epoch(number, skip=skip), f"epoch {number + 1}/{config.epochs}", total=self.feed.steps - skip)
        for batch in batches:
            self._step(batch)
            now = time.monotonic()
            progress.epoch_seconds = before + now - started
            if now - saved >= save_seconds and progress.step < self.feed.steps:
                self._save()
                saved = now

    def _step(self, batch: Any) -> None:
        config, progress = self.config, self.progress
        seed = derive_seed(config.seed, progress.epoch, progress.step, self.fabric.global_rank)
        torch.manual_seed(seed)  # for dropout and the like inside the networks
        views = draw_views(batch.to(self.device), config, torch.Generator().manual_seed(seed))
        generator_device = self.device if self.device.type == "cuda" else torch.device("cpu")
        target = draw_targets(
            views.activation,
            views.inside & views.has_proposal[:, None, None],
            views.outside & views.has_proposal[:, None, None],
            config=config,
            generator=torch.Generator(generator_device).manual_seed(seed ^ 1),
            empty=views.labels == (-1 if self.background is None else self.background),
        )
        set_rate(self.optimizer, rate(config, progress.epoch * self.feed.steps + progress.step, self.feed.steps))
        with self.fabric.autocast():
            logits = self.wrapped(views.images)
            loss, parts = self.losses(logits, views.images, target, views.labels)
        names = ["loss", *parts]
        values = dict(zip(names, torch.stack([loss.detach(), *parts.values()]).tolist(), strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise RunError(
                f"the loss is not finite at epoch {progress.epoch + 1}, step {progress.step + 1} ({numbers}); "
                f"lower train.lr (now {config.lr:g}) or the weight of the part that is not, or train in 32-bit precision"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizer.step()
        self.average.update()
        progress.step += 1
        for name, value in values.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value

    def end_epoch(self, validate: Validate | None) -> None:
        """Validate, choose the best epoch and record it; then save the state of a finished epoch."""
        progress, started = self.progress, time.monotonic()
        metrics: dict[str, float] = {}
        if validate is not None:
            if self.fabric.is_global_zero:
                self.average.model.eval()
                with torch.no_grad():
                    metrics = {name: float(value) for name, value in validate(self.average.model).items()}
            metrics = self.fabric.broadcast(metrics)
        progress.epoch += 1
        if self._better(metrics):
            progress.best_epoch, progress.best_metrics = progress.epoch, metrics
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in self.average.model.state_dict().items()}
        seconds = progress.epoch_seconds + time.monotonic() - started
        progress.seconds += seconds
        means = {name: value / self.feed.steps for name, value in progress.sums.items()}
        if self.fabric.is_global_zero:
            self._record(means, metrics, seconds)
        progress.step, progress.sums, progress.epoch_seconds = 0, {}, 0.0
        self._save()

    def _better(self, metrics: dict[str, float]) -> bool:
        if self.config.select_on == "last" or "select" not in metrics or self.progress.best_epoch == 0:
            return True
        old = self.progress.best_metrics.get("select", -math.inf)
        new = metrics["select"]
        return new >= old or math.isnan(old)

    def _record(self, means: dict[str, float], metrics: dict[str, float], seconds: float) -> None:
        progress, config = self.progress, self.config
        record: dict[str, Any] = {"epoch": progress.epoch, "step": progress.epoch * self.feed.steps, "loss": means["loss"]}
        record |= {f"loss_{name}": value for name, value in means.items() if name != "loss"}
        record |= {"lr": max(group["lr"] for group in self.optimizer.param_groups), "seconds": round(seconds, 3)}
        if metrics.get("select") in [value for name, value in metrics.items() if name != "select"]:
            metrics = {name: value for name, value in metrics.items() if name != "select"}  # a duplicate under another name
        record |= {f"val_{name}": value for name, value in metrics.items()}
        append_metrics(self.metrics_file, record)
        if config.tensorboard:
            write_epoch(self.metrics_file.parent, record)
        rest = progress.seconds / progress.epoch * (config.epochs - progress.epoch)
        left = f", {time_left(rest)}" if rest and progress.epoch > 1 else ""  # the first epoch also loads and compiles
        numbers = "".join(f", {in_words(name)} {value:.4g}" for name, value in metrics.items())
        mark = " *" if progress.best_epoch == progress.epoch and metrics else ""
        log(f"epoch {progress.epoch}/{config.epochs}: loss {means['loss']:.4g}{numbers}{mark}  ({seconds:.0f} s{left})")

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        self.progress.updates = self.average.updates
        parts = {"best": self.best}
        if self.progress.epoch < self.config.epochs:  # a finished run has no further use for the rest
            parts |= {"model": self.localizer.state_dict(), "optimizer": flatten_optimizer(self.optimizer)}
            if self.average.model is not self.localizer:
                parts["average"] = self.average.model.state_dict()
        save_state(self.state_file, self.progress, parts)

    def _restore(self, progress: Progress, parts: dict[str, dict[str, Tensor]]) -> None:
        for name, now in self.progress.run.items():
            then = progress.run.get(name)
            if then != now:
                raise RunError(
                    f"{self.state_file} was written with {name} = {then}, now it is {now}; "
                    "resume with the settings, photos and weights the run was started with"
                )
        self.progress, self.best = progress, parts.get("best", {})
        self.average.updates = progress.updates
        try:
            if progress.epoch < self.config.epochs:
                self.localizer.load_state_dict(parts["model"])
                restore_optimizer(self.optimizer, parts.get("optimizer", {}))
                if self.average.model is not self.localizer:
                    self.average.model.load_state_dict(parts["average"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise RunError(
                f"{self.state_file} holds another network ({error}); resume with the localizer the run was started with"
            ) from error

    def result(self) -> FitResult:
        self.localizer.load_state_dict(self.best)
        self.localizer.eval()
        progress = self.progress
        return FitResult(progress.best_epoch, progress.best_metrics, progress.epoch, progress.seconds, self.best)
