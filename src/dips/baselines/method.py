"""The base class of all compared methods.

In: a :class:`~dips.baselines.study.Study`, the only source that a method learns from: training photos with their labels, a
budget, networks to start from. Out: a method that answers batches of photos with score maps. Each is one class in one file.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from dips.baselines.answering import TorchAnswerer
from dips.baselines.study import Study

__all__ = ["Fit", "ScoreMapMethod"]


@dataclass(frozen=True)
class Fit:
    """How a method was fitted.

    Attributes:
        steps: number of optimiser steps; 0 if nothing was learned.
        epochs: how often it saw each training photo, on average.
        seconds: wall-clock seconds of the whole fit.
        fixed: the part of ``seconds`` that no budget can shorten, such as a harvest.
        chosen: description of what was chosen on the validation part, and how; empty if nothing was.
        curve: measurements during training, one mapping per checkpoint.
        limit: description of the limit that ended a training before it converged; empty if none did.

    >>> Fit(steps=100, seconds=2.5, curve=({"step": 50, "v2": 61.0},)).record()["curve"]
    [{'step': 50, 'v2': 61.0}]
    """

    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    fixed: float = field(default=0.0, kw_only=True)
    chosen: str = ""
    curve: tuple[Mapping[str, float], ...] = field(default=())
    limit: str = field(default="", kw_only=True)

    def then(self, second: Fit) -> Fit:
        """Return the combined fit of a two-stage training; each row of the curve has its ``stage``, 1 or 2."""
        stages = (self, second)
        return Fit(
            steps=self.steps + second.steps,
            epochs=self.epochs + second.epochs,
            seconds=self.seconds + second.seconds,
            fixed=self.fixed + second.fixed,
            chosen=f"first stage: {self.chosen}; second: {second.chosen}",
            curve=tuple({"stage": number, **row} for number, stage in enumerate(stages, 1) for row in stage.curve),
            limit=", ".join(dict.fromkeys(stage.limit for stage in stages if stage.limit)),
        )

    def record(self) -> dict[str, Any]:
        """Return the fit as JSON-serialisable values."""
        finite = [{key: value if math.isfinite(value) else None for key, value in row.items()} for row in self.curve]
        return {**asdict(self), "curve": finite}


class ScoreMapMethod(TorchAnswerer):
    """Answers photos with maps of how much each pixel belongs to the object.

    A subclass sets the class attributes and implements :meth:`build` and :meth:`maps`; :meth:`train` if it learns,
    :meth:`probabilities` if it predicts classes.

    >>> import numpy as np
    >>> from dips.types import PhotoBatch
    >>> class Brightness(ScoreMapMethod):
    ...     name, title, paper, side = "brightness", "Brightness", "none", 8
    ...     def build(self, study):
    ...         pass
    ...     def maps(self, images, labels):
    ...         return images.mean(1)
    >>> Brightness().answer(PhotoBatch(np.full((2, 8, 8, 3), 255, np.uint8))).maps.shape
    (2, 8, 8)

    Attributes:
        name: the name that users type.
        title: the name in tables.
        paper: where it comes from.
        labels: what supervises it: nothing, or the photos' classes.
        needs: names of methods that must be fitted first.
        side: side in pixels of its square inputs.
        shares: whether it shares networks with other methods, so that it is cheapest to measure them together.
        own: whether it is this project's own.
        caveat: what readers of its numbers must know, e.g. that parts of the method are not as published; tables mark its row
            and print this text below. May be empty.
        spent: seconds that its own fit took, even if that was in an earlier run.
    """

    paper: ClassVar[str]
    labels: ClassVar[Literal["none", "image"]] = "none"
    needs: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[bool] = False
    own: ClassVar[bool] = False
    caveat: ClassVar[str] = ""
    spent: float = 0.0
    _needed: tuple[ScoreMapMethod, ...] = ()

    def take(self, study: Study) -> None:
        """Store the device, and the fitted methods that it needs, whose networks count as its own."""
        self._device, self._background = study.device, study.background
        done = (study.done.get(name) for name in self.needs)
        self._needed = tuple(method for method in done if isinstance(method, ScoreMapMethod))

    def fit(self, study: Study) -> Fit:
        """Build the method's networks and train them within the study's budget.

        The budget is reduced by the time spent on the methods that it builds on and on building its networks.

        Raises:
            DipsError: it cannot be fitted to these photos.
        """
        started = time.perf_counter()
        study.seed_everything()
        self.take(study)
        self.build(study)
        budget = study.seconds
        if study.limits is None:
            below = sum(method.spent for method in self._below())
            study.seconds = max(0.0, budget - below - (time.perf_counter() - started))
        try:
            fit = self.train(study)
        finally:
            study.seconds = budget
        self.freeze()
        fit = replace(fit, seconds=max(fit.seconds, time.perf_counter() - started))
        self.spent = fit.seconds
        return fit

    def restore(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Build the method and load what :meth:`state` returned after an earlier fit.

        Raises:
            RuntimeError: the tensors belong to another network.
        """
        self.take(study)
        self.build(study)
        self.load(study, state)
        self.freeze()

    def load(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state` returned, after :meth:`build`; a method that stores other tensors overrides both.

        Raises:
            RuntimeError: the tensors belong to another network.
        """
        if self.network is not None:
            self.network.load_state_dict(dict(state))

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of a fitted method that must be stored; empty if nothing was learned."""
        network = self.network
        return {} if network is None else {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}

    def freeze(self) -> None:
        """Switch to evaluation mode and freeze all parameters."""
        if self.network is not None:
            self.network.eval().requires_grad_(False)

    @property
    def network(self) -> nn.Module | None:
        """Everything that is trained, as one module; None if nothing is."""
        return None

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The networks that an answer needs, besides those of the methods that it builds on; by default, :attr:`network`."""
        return () if self.network is None else (self.network,)

    @property
    def parameters(self) -> int:
        """Number of parameters needed for an answer: those of its own networks and of all methods it builds on, each once."""
        networks = (network for method in (self, *self._below()) for network in method.used_networks)
        return sum({id(p): p.numel() for network in networks for p in network.parameters()}.values())

    def _below(self) -> list[ScoreMapMethod]:
        """Return all methods that it builds on, directly or indirectly, each once."""
        found: dict[int, ScoreMapMethod] = {}
        rest = list(self._needed)
        while rest:
            method = rest.pop()
            if id(method) not in found:
                found[id(method)] = method
                rest += method._needed
        return list(found.values())

    @abstractmethod
    def build(self, study: Study) -> None:
        """Create the networks on the study's device, as they are before training."""

    def train(self, study: Study) -> Fit:
        """Learn from ``study.train``; by default there is nothing to learn."""
        return Fit()
