"""The self-distillation loop: steps, checks, and a saved state from which a killed run resumes.

In: a transformer and photos. Out: the adapted transformer's tensors, and the measurements made along the way. Random draws
depend only on the seed and a photo's position: on the CPU, a run that was killed and repeated ends with bit-identical results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from dips.adaptation.collapse import Health
from dips.adaptation.crops import Feed, Photos, crop_sides
from dips.adaptation.learner import Learner
from dips.config import AdaptConfig
from dips.errors import ConfigError, RunError
from dips.models.transformer import Vit
from dips.system.console import log, time_left, track
from dips.system.device import synchronise
from dips.train.batches import derive_seed
from dips.train.state import load_state, save_state

__all__ = ["AdaptProgress", "fit_transformer", "steps_within"]

_CHECKED = 64  # photos
_TIMED = 3  # steps
_MIN_STEPS = 10
_CHECK_ORDER = 1 << 21  # takes the place of a photo's position in the seed that selects the checked photos


@dataclass
class AdaptProgress:
    """Progress of a run.

    Attributes:
        step: number of finished steps.
        steps: total number of steps.
        seconds: time from the first step to the last finished one, with the checks and saves between them.
        losses: losses of the steps since the last check.
        checks: measurements, the first before any step: ``step``, ``loss`` (mean since the previous check), ``entropy``,
            ``information`` and ``spread`` of the teacher (:class:`~dips.adaptation.collapse.Health`), and ``alarm``.
        run: settings and inputs that a resumed run must share with this one.
    """

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)


def fit_transformer(
    load: Callable[[], Vit],
    photos: Photos,
    *,
    config: AdaptConfig,
    fabric: Fabric,
    state_file: Path,
    origin: Mapping[str, str],
    save_minutes: float = 2.0,
) -> tuple[dict[str, Tensor], AdaptProgress]:
    """Continue the self-distillation of a transformer.

    Args:
        load: returns the transformer; called once more if steps have to be timed.
        photos: photos to learn from.
        fabric: already launched; provides device, precision and processes.
        state_file: where the state is saved; if it exists, the run resumes from it.
        origin: identifiers of photos and weights, by their names in messages.
        save_minutes: the state is saved at each check, and whenever this many minutes have passed.

    Returns:
        The adapted transformer's tensors, under timm's names and on the CPU; and the progress with its measurements.

    Raises:
        RunError: the teacher has collapsed, the loss is not finite, or the state belongs to another run.
        ConfigError: the settings are incompatible.
    """
    if config.batch % fabric.world_size:
        raise ConfigError(
            f"adapt.batch={config.batch} cannot be shared by {fabric.world_size} processes; set a multiple of that"
        )
    run = _Run(load, photos, config, fabric, state_file, origin)
    run.fit(save_minutes * 60)
    return run.learner.twins.adapted(), run.progress


class _Run:
    """A run in progress."""

    def __init__(
        self,
        load: Callable[[], Vit],
        photos: Photos,
        config: AdaptConfig,
        fabric: Fabric,
        state_file: Path,
        origin: Mapping[str, str],
    ) -> None:
        self.config, self.fabric, self.state_file = config, fabric, state_file
        shared = {key: value for key, value in vars(config).items() if key != "workers"}
        run = {**shared, "photos that can be read": len(photos), "processes": fabric.world_size, **origin}
        self.progress, parts = AdaptProgress(run=run), None
        if state_file.exists():
            self.progress, parts = _resumed(state_file, run)
        vit = load()
        self.feed = Feed(photos, config, vit.patch, rank=fabric.global_rank, world=fabric.world_size)
        self.checked = _checked(photos, crop_sides(config, vit.patch)[0], config.seed)
        if not self.progress.steps:
            steps = config.steps or steps_within(
                config.minutes * 60, Learner(load(), config, fabric, 1), self.feed, self.checked
            )
            self.progress.steps = fabric.broadcast(steps)
        self.learner = Learner(vit, config, fabric, self.progress.steps)
        if parts is None:
            self.learner.begin(self.checked)
        else:
            try:
                self.learner.restore(parts)
            except (RuntimeError, KeyError, ValueError) as error:
                raise RunError(f"{state_file} holds another network ({error}); remove it and start again") from error
            log(f"going on after step {self.progress.step} of {self.progress.steps}")
        fabric.barrier()

    def fit(self, save_seconds: float) -> None:
        """Run all remaining steps."""
        progress, steps = self.progress, self.progress.steps
        wanted = {round(number * steps / self.config.checks) for number in range(1, self.config.checks + 1)}
        if not progress.checks:
            self._save()  # the first check may take a while, and so did timing the steps
            self._check()
            self._save()
        saved = before = time.monotonic()
        crops = track(self.feed.steps(progress.step, steps), "adapting", total=steps - progress.step)
        for batch in crops:
            loss = self.learner.step(batch, progress.step)
            progress.step += 1
            progress.losses.append(loss)
            if not math.isfinite(loss):
                self._give_up(
                    f"the loss is not finite at step {progress.step}; no weights were written. Lower adapt.lr (now "
                    f"{self.config.lr:g}) or adapt.head_lr"
                )
            now = time.monotonic()
            progress.seconds, before = progress.seconds + now - before, now
            if progress.step in wanted:
                self._check()
            if progress.step in wanted or now - saved >= save_seconds:
                self._save()
                saved = time.monotonic()

    def _check(self) -> None:
        """Measure and log the teacher's health; raise if it has collapsed: on two alarms in a row, or on one at the end."""
        progress, learner = self.progress, self.learner
        health: Health = self.fabric.broadcast(learner.health(self.checked, min(progress.step, progress.steps - 1)))
        record: dict[str, Any] = {"step": progress.step}
        words = f"step {progress.step}/{progress.steps}: "
        if progress.losses:
            record["loss"] = sum(progress.losses) / len(progress.losses)
            words += f"loss {record['loss']:.3f}, "
        record |= {"entropy": health.entropy, "information": health.information, "spread": health.spread, "alarm": ""}
        if progress.step > learner.schedule.head_steps:  # training the head alone says nothing about the features
            start = progress.checks[0]
            record["alarm"] = health.alarm(Health(start["entropy"], start["information"], start["spread"], health.highest))
        left = progress.seconds / max(1, progress.step) * (progress.steps - progress.step)
        log(
            f"{words}teacher: entropy {health.entropy:.2f}, information {health.information:.2f} of {health.highest:.2f}, "
            f"spread of features {health.spread:.3f}{f'  ({time_left(left)})' if left else ''}"
        )
        progress.losses = []
        progress.checks.append(record)
        if not record["alarm"]:
            return
        if progress.checks[-2]["alarm"] or progress.step == progress.steps:
            self._give_up(
                f"the teacher has collapsed at step {progress.step}: {record['alarm']}; no weights were written. Lower "
                "adapt.lr and adapt.head_lr, raise adapt.batch, or use more photos that differ"
            )
        log(f"WARNING: the teacher is collapsing: {record['alarm']}; the run stops if the next check finds it so, too")

    def _give_up(self, why: str) -> NoReturn:
        """Remove the state, as a run resumed from it would end likewise, and raise."""
        if self.fabric.is_global_zero:
            self.state_file.unlink(missing_ok=True)
        raise RunError(why)

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            save_state(self.state_file, self.progress, self.learner.parts())


def _resumed(path: Path, run: Mapping[str, Any]) -> tuple[AdaptProgress, dict[str, dict[str, Tensor]]]:
    """Return progress and tensors of a saved state.

    Raises:
        RunError: the state is damaged, or belongs to a run other than ``run``.
    """
    progress, parts = load_state(path, AdaptProgress)
    for name, now in run.items():
        if (then := progress.run.get(name)) != now:
            raise RunError(
                f"{path} was written with {name} = {then}, now it is {now}; repeat the command that it belongs to, or remove "
                "it to start again"
            )
    return progress, parts


def _checked(photos: Photos, side: int, seed: int) -> Tensor:
    """Return the photos that the teacher is checked on, always the same, as squares ``(N, 3, side, side) uint8``."""
    generator = torch.Generator().manual_seed(derive_seed(seed, _CHECK_ORDER))
    chosen = torch.randperm(len(photos), generator=generator)[:_CHECKED].tolist()
    squares = [F.interpolate(photos[index][None].float(), (side, side), mode="bilinear", antialias=True) for index in chosen]
    return torch.cat(squares).round().clamp(0, 255).to(torch.uint8)


def steps_within(seconds: float, learner: Learner, feed: Feed, checked: Tensor) -> int:
    """Return how many steps fit into ``seconds`` once the time for all checks is set aside; at least ten.

    Args:
        learner: created for a single step, in which everything learns; it cannot be used afterwards.
    """
    device = learner.fabric.device
    times = []
    for batch in feed.steps(0, 1 + _TIMED):
        learner.step(batch, 0)
        synchronise(device)
        times.append(time.perf_counter())
    learner.health(checked, 0)
    synchronise(device)
    checks, step = (learner.config.checks + 1) * (time.perf_counter() - times[-1]), (times[-1] - times[0]) / _TIMED
    steps = max(_MIN_STEPS, int((seconds - checks) / step))
    total, longer = steps * step + checks, ""
    if total > 1.1 * seconds:
        longer = (
            f", more than the {seconds / 60:.3g} asked for: {_MIN_STEPS} steps are the least; a smaller adapt.batch or "
            "adapt.local_crops makes them shorter, adapt.steps sets their number"
        )
    log(f"{step:.2g} s per step: {steps} steps in about {total / 60:.1f} min{longer}")
    return steps
