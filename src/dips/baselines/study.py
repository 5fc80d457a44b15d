"""Everything a method is fitted on: photos with labels, networks to start from, and a budget that is the same for all.

In: the two parts of a data set, settings and a store. Out: :class:`Study`, the argument of
:meth:`~dips.baselines.method.ScoreMapMethod.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dips.baselines.answering import TorchAnswerer
from dips.baselines.limits import Limits
from dips.baselines.photos import Photos
from dips.config import Config
from dips.data.depth import Depth
from dips.data.problems import ProblemList
from dips.errors import ConfigError, NoWeightsError
from dips.models.backbones import Features, Transformer, load_transformer
from dips.models.inputs import resize_to, whole_patches
from dips.models.weights.resolve import Weights, resolve
from dips.system.device import seed_everything
from dips.types import FloatArray, Sample

__all__ = ["Study"]

Judge = Callable[[Iterable[FloatArray], Sequence[Sample]], float]
_BATCH = 16


@dataclass
class Study:
    """Everything that methods are fitted on with one seed.

    .. code-block:: python

        from dips.baselines.cam import Cam
        from dips.comparison.run import open_study

        study = open_study("birds", folder="study", budget=1)
        cam = Cam()
        cam.fit(study)
        study.done["cam"] = cam  # for methods that build on it

    Attributes:
        data: folder or file of the photos, as the user named it.
        train, val: photos that methods learn from, and photos that settings are chosen on.
        classes: names in label order.
        background: label of the background class (photos without an object), if there is one.
        config: settings of DiPS; other methods use its classifier and its transformer as their networks.
        seconds: total seconds that each method may use, for what it builds on, its own training and its checks. While a method
            trains: the seconds left.
        limits: for training until validation stops improving; ``seconds`` is then the maximum for a method's own training.
            None: ``seconds`` is a budget.
        stride: stride of the last feature map of CNN-based methods, in pixels of the photo, if the CNN supports it.
        seed: seed of initial weights, order and crops.
        device: device that everything is computed on.
        judge: returns MaxBoxAccV2 (percent) of maps on samples with boxes; the criterion for choices on validation.
        folder: folder in which each method may store files, in a subfolder of its name.
        store: folder of the harvest's store.
        given: local weights, as for ``--weights``.
        done: methods that are fitted and needed by others, by name.
        depth: how values of more than 8 bits are reduced to 8.
        problems: problems of the data, already logged.
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
    done: dict[str, TorchAnswerer] = field(default_factory=dict)
    depth: Depth = field(default_factory=Depth)
    problems: ProblemList = field(default_factory=ProblemList)
    limits: Limits | None = None
    stride: int = 16

    def fitted(self, name: str) -> TorchAnswerer:
        """Return the fitted method ``name``, which the caller lists in its ``needs``.

        Raises:
            ConfigError: it is not fitted.
        """
        if name not in self.done:
            raise ConfigError(f"the method '{name}' is not fitted yet; name it in 'needs'")
        return self.done[name]

    def seed_everything(self) -> None:
        """Reset the random number generators, so that no method depends on what ran before it."""
        seed_everything(self.seed)

    def heads(self) -> int:
        """Return the number of attention heads of the transformer, which is loaded for this."""
        return self.transformer.network.heads

    @cached_property
    def cnn(self) -> Weights:
        """ImageNet weights of the CNN that all CNN-based methods share (``classifier.arch``)."""
        return resolve(self.config.classifier.arch, role="cnn", given=self.given)

    @cached_property
    def sst(self) -> Weights:
        """Weights of the transformer that all transformer-based methods share (``harvest.sst``)."""
        return resolve(self.config.harvest.sst, role="transformer", given=self.given)

    @cached_property
    def weights(self) -> dict[str, Weights | None]:
        """Both networks' weights by role, ``cnn`` and ``transformer``; None for missing ones.

        Raises:
            WeightsError: those that the user gave cannot be used.
        """
        weights: dict[str, Weights | None] = {}
        for role in ("cnn", "transformer"):
            try:
                weights[role] = self.cnn if role == "cnn" else self.sst
            except NoWeightsError:
                weights[role] = None
        return weights

    @property
    def uses_transformer(self) -> bool:
        """Whether a method has requested the transformer."""
        return "transformer" in self.__dict__

    @cached_property
    def transformer(self) -> FrozenFeatures:
        """The frozen transformer."""
        return FrozenFeatures(load_transformer(self.sst).to(self.device))

    def less(self, seconds: float, passes: float = 0.0) -> Study:
        """Return the study with what is left of the budget, or of the limits, after ``seconds`` and ``passes``."""
        limits = None if self.limits is None else self.limits.less(passes)
        return self._with(max(0.0, self.seconds - seconds), limits)

    def part(self, fraction: float) -> Study:
        """Return the study for a stage that may use a fraction of the budget, or of the limits."""
        limits = None if self.limits is None else self.limits.part(fraction)
        return self._with(fraction * self.seconds, limits)

    def _with(self, seconds: float, limits: Limits | None) -> Study:
        """Return the study with another budget or other limits; weights that are already loaded are shared."""
        study = replace(self, seconds=seconds, limits=limits)
        loaded = ("cnn", "sst", "weights", "transformer")
        study.__dict__.update({name: self.__dict__[name] for name in loaded if name in self.__dict__})
        return study

    @property
    def boxed(self) -> list[Sample]:
        """The validation photos that have boxes."""
        return [sample for sample in self.val.samples if sample.boxed]

    def boxed_batches(self, side: int, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation photos that have boxes, or the first ``most`` of them, as squares with labels."""
        boxed = [i for i, sample in enumerate(self.val.samples) if sample.boxed][:most]
        for start in range(0, len(boxed), _BATCH):
            yield self.val.batch(boxed[start : start + _BATCH], side, self.device)

    def choose(self, maps: Callable[[Tensor, Tensor], Tensor], side: int, most: int | None = None) -> float | None:
        """Return MaxBoxAccV2 (percent) of ``maps`` on the validation photos that have boxes; None if none has.

        Args:
            maps: as :meth:`~dips.baselines.method.ScoreMapMethod.maps`.
            side: side in pixels of the squares passed to ``maps``.
            most: use only this many of the photos, the first ones; None uses all.
        """
        boxed = self.boxed[:most]

        def answers() -> Iterator[FloatArray]:
            for images, labels in self.boxed_batches(side, most):
                with torch.no_grad():
                    score_maps = maps(images, labels)
                yield from np.asarray(score_maps.float().cpu().numpy())

        return self.judge(answers(), boxed) if boxed else None


class FrozenFeatures:
    """The frozen transformer, which caches its last outputs: methods that look at the same batch share one pass."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._last: dict[tuple[int, int], tuple[Tensor, Features]] = {}  # by side of the images and of the network's inputs

    def __call__(self, images: Tensor, size: int) -> Features:
        """Return the features of images ``(B, 3, S, S)`` in [0, 1], resized to ``size`` rounded to whole patches."""
        side = whole_patches(size, self.network.patch)
        key = (images.shape[-1], side)
        if key not in self._last or self._last[key][0] is not images:
            self._last[key] = images, self.network(resize_to(images, side))
        return self._last[key][1]
