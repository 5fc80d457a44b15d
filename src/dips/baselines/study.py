"""What a method learns from: photos with labels, networks to start from, and a budget that is the same for all.

In: the two parts of a data set, settings and a store. Out: :class:`Study`, handed to
:meth:`~dips.baselines.method.ScoreMapMethod.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dips.baselines.photos import Photos
from dips.config import Config
from dips.errors import ConfigError, WeightsError
from dips.models.backbones import Features, Transformer, load_transformer
from dips.models.inputs import resize_to
from dips.models.weights.resolve import Weights, resolve
from dips.system.device import seed_everything
from dips.types import FloatArray, Sample

if TYPE_CHECKING:
    from dips.baselines.method import ScoreMapMethod

__all__ = ["Study"]

Judge = Callable[[Iterable[FloatArray], Sequence[Sample]], float]
_BATCH = 16


@dataclass
class Study:
    """One fit of each method, with one seed.

    Attributes:
        data: where the photos lie, as the user named it.
        train, val: photos that methods learn from, and photos that settings are chosen on.
        classes: names in label order.
        background: label of the class without object, if there is one.
        config: settings of DiPS; the networks of the others are its classifier and its transformer.
        seconds: of training that each method may use.
        seed: of initial weights, order and crops.
        device: where to compute.
        judge: MaxBoxAccV2 (percent) of maps on samples with boxes; how validation chooses.
        folder: where a method may keep files of its own, in a folder of its name.
        store: folder of the harvest's store.
        given: local weights, as of ``--weights``.
        done: methods that are fitted and needed by others, by name.
    """

    data: Path
    train: Photos
    val: Photos
    classes: tuple[str, ...]
    background: int | None
    config: Config
    seconds: float
    seed: int
    device: torch.device
    judge: Judge
    folder: Path
    store: Path
    given: tuple[str, ...] = ()
    done: dict[str, ScoreMapMethod] = field(default_factory=dict)

    def fitted(self, name: str) -> ScoreMapMethod:
        """The method ``name``, which was fitted before because it is among ``needs``.

        Raises:
            ConfigError: it was not.
        """
        if name not in self.done:
            raise ConfigError(f"the method '{name}' is not fitted yet; name it in 'needs'")
        return self.done[name]

    def seed_everything(self) -> None:
        """Begin the random numbers anew, so that no method depends on what ran before it."""
        seed_everything(self.seed)

    def heads(self) -> int:
        """Number of attention heads of the transformer, which is loaded for it."""
        return self.transformer.network.heads

    @cached_property
    def cnn(self) -> Weights:
        """ImageNet weights of the CNN that all methods on a CNN share (``classifier.arch``)."""
        return resolve(self.config.classifier.arch, role="cnn", given=self.given)

    @cached_property
    def sst(self) -> Weights:
        """Weights of the transformer that all methods on one share (``harvest.sst``)."""
        return resolve(self.config.harvest.sst, role="transformer", given=self.given)

    @cached_property
    def weights(self) -> dict[str, Weights | None]:
        """Both networks' weights by role, ``cnn`` and ``transformer``; None for those that are not here."""
        found: dict[str, Weights | None] = {}
        for role in ("cnn", "transformer"):
            try:
                found[role] = self.cnn if role == "cnn" else self.sst
            except WeightsError:
                found[role] = None
        return found

    @property
    def uses_transformer(self) -> bool:
        """Whether a method has asked for the transformer."""
        return "transformer" in self.__dict__

    @cached_property
    def transformer(self) -> FrozenFeatures:
        """The frozen transformer."""
        return FrozenFeatures(load_transformer(self.sst).to(self.device))

    def choose(self, maps: Callable[[Tensor, Tensor], Tensor], side: int) -> float | None:
        """MaxBoxAccV2 (percent) of ``maps`` on the validation photos that have boxes; None where none has.

        Args:
            maps: as :meth:`~dips.baselines.method.ScoreMapMethod.maps`.
            side: of the squares that it is given.
        """
        shown = [i for i, sample in enumerate(self.val.samples) if sample.boxed]

        def answers() -> Iterator[FloatArray]:
            for start in range(0, len(shown), _BATCH):
                images, labels = self.val.batch(shown[start : start + _BATCH], side, self.device)
                with torch.no_grad():
                    found = maps(images, labels)
                yield from np.asarray(found.float().cpu().numpy())

        return self.judge(answers(), [self.val.samples[i] for i in shown]) if shown else None


class FrozenFeatures:
    """The frozen transformer, which remembers its last answers: methods that look at the same batch share one pass."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._known: dict[tuple[int, int], tuple[Tensor, Features]] = {}

    def __call__(self, images: Tensor, size: int) -> Features:
        """What it says about ``(B, 3, S, S)`` images, seen with a side of ``size`` rounded to its patches."""
        side = max(1, round(size / self.network.patch)) * self.network.patch
        place = (images.shape[-1], side)
        if place not in self._known or self._known[place][0] is not images:
            self._known[place] = images, self.network(resize_to(images, side))
        return self._known[place][1]
