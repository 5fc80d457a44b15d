"""The base of all methods that read the frozen transformer and learn nothing."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dips.baselines.method import ScoreMapMethod
from dips.baselines.study import FrozenFeatures, Study

__all__ = ["FrozenMethod", "centred"]


class FrozenMethod(ScoreMapMethod):
    """Score maps from what the study's transformer says about a photo.

    Attributes:
        transformer: shared with all others, so that one pass per size and batch serves them all.
    """

    shares: ClassVar[bool] = True
    transformer: FrozenFeatures

    def build(self, study: Study) -> None:
        """Takes the transformer."""
        self.transformer = study.transformer

    @property
    def parameters(self) -> int:
        """Those of the transformer."""
        return sum(p.numel() for p in self.transformer.network.parameters())


def centred(keys: Tensor) -> Tensor:
    """Keys ``(..., h, w, D)`` less their mean over the patches of each photo.

    Keys can share a large constant: those of the embedded transformer (a tuned DINOv2) have cosines above 0.6 all over a photo,
    where no threshold of the papers tells patches apart. Darcet et al. (ICLR 2024, section 3.3) shift the Gram matrix by a bias
    set by hand for such networks; the mean needs no choice.
    """
    return keys - keys.mean((-3, -2), keepdim=True)
