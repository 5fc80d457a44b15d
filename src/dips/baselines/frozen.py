"""The base class of methods that use the frozen transformer without training it.

In: the study's transformer. Out: its keys or its attention, from which a method computes score maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from dips.baselines.method import ScoreMapMethod
from dips.baselines.study import FrozenFeatures, Study

__all__ = ["FrozenMethod", "centred"]


class FrozenMethod(ScoreMapMethod):
    """Computes score maps from the features of the study's transformer.

    Attributes:
        transformer: shared with all other methods, so that one pass per size and batch serves them all.
    """

    shares: ClassVar[bool] = True
    transformer: FrozenFeatures

    def build(self, study: Study) -> None:
        """Use the study's transformer."""
        self.transformer = study.transformer

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The transformer, and what is trained on it."""
        return self.transformer.network, *super().used_networks


def centred(keys: Tensor) -> Tensor:
    """Return keys ``(..., h, w, D)`` minus their mean over the patches of each photo.

    Keys can share a large constant: those of the embedded transformer (a tuned DINOv2) have cosines above 0.6 all over a photo,
    so that none of the papers' thresholds separates patches. For such networks, Darcet et al. (ICLR 2024, section 3.3) shift
    the Gram matrix by a hand-set bias; the mean needs no choice. (MaxBoxAccV2 on 60 training photos of birds20: LOST 69,
    TokenCut 61; with unchanged keys, as in the papers, 55 and 32.)

    >>> import torch
    >>> centred(torch.tensor([[[5.0], [7.0]]])).flatten().tolist()
    [-1.0, 1.0]
    """
    return keys - keys.mean((-3, -2), keepdim=True)
