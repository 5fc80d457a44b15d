"""CAM and C2AM on the frozen transformer that DiPS harvests with, so that a table separates the effects of method and network.

In: keys of the study's transformer. Out: class activations of a linear classifier on them; the object side of a disentangler.
The transformer is frozen, as in DiPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.c2am import C2am, Sides
from dips.baselines.classifiers import class_activations
from dips.baselines.frozen import FrozenMethod
from dips.baselines.method import Fit
from dips.baselines.study import FrozenFeatures, Study
from dips.baselines.training import train_network
from dips.models.linear_map import unit_keys
from dips.models.linear_probe import LinearProbe

__all__ = ["C2amTokens", "CamTokens", "KeySides"]


class CamTokens(FrozenMethod):
    """Class activations (Zhou et al., section 2) of a linear classifier on the mean of the keys.

    Keys have unit length, as in the linear maps of DiPS; of several sizes (``harvest.sizes``), the largest is used.
    """

    name = "cam-tokens"
    title = "CAM on the transformer's keys"
    paper = "Zhou et al., CVPR 2016"
    labels: ClassVar[Literal["none", "image"]] = "image"
    probe: LinearProbe

    @property
    def network(self) -> nn.Module:
        """The linear classifier."""
        return self.probe

    def build(self, study: Study) -> None:
        """Use the study's transformer, and create a linear layer."""
        super().build(study)
        self.side = max(study.config.harvest.sizes)
        self.probe = LinearProbe(self.transformer.network.dim, len(study.classes)).to(study.device)

    def train(self, study: Study) -> Fit:
        """Fit the linear layer, as DiPS fits its classifier."""
        keys, labels = study.train.answers(lambda images: self._keys(images).mean((2, 3)), self.side, study.device)
        self.probe.fit(keys, labels)
        return Fit()

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return min-max normalised activations ``(B, h, w)`` in [0, 1], one value per patch."""
        return normalise.min_max(class_activations(self._keys(images), self.probe.head.weight[labels]))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.probe(self._keys(images).mean((2, 3)))).softmax(1)

    def _keys(self, images: Tensor) -> Tensor:
        """Return keys ``(B, D, h, w)`` of unit length."""
        return unit_keys(self.transformer(images, self.side).keys).permute(0, 3, 1, 2)


class KeySides(Sides):
    """The disentangler on the keys of a frozen transformer, which is not part of its weights.

    Attributes:
        transformer: the study's transformer.
        size: side in pixels of the transformer's input.
    """

    def __init__(self, transformer: FrozenFeatures, size: int) -> None:
        super().__init__(transformer.network.dim)
        self.transformer, self.size = transformer, size

    def features(self, images: Tensor) -> Tensor:
        """Return keys ``(B, D, h, w)``; negative values are set to 0, as in the CNN's features."""
        return self.transformer(images, self.size).keys.float().permute(0, 3, 1, 2).relu()


class C2amTokens(C2am):
    """Class-agnostic activations on the transformer, at 224 pixels as on the CNN: only the convolution learns."""

    name = "c2am-tokens"
    title = "C2AM on the transformer's keys"
    shares: ClassVar[bool] = True
    transformer: FrozenFeatures

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The transformer and the convolution."""
        return self.transformer.network, self.net

    def build(self, study: Study) -> None:
        """Use the study's transformer, and create the convolution with random weights."""
        self.transformer = study.transformer
        self.net = KeySides(study.transformer, self.side).to(study.device)

    def train(self, study: Study) -> Fit:
        """Train the convolution; the transformer stays frozen."""
        return train_network(self.training(study), study)
