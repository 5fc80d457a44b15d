"""Methods without any training: the frozen transformer's attention (paper 3.1), all heads or a single one, and a Gaussian.

In: the study's transformer. Out: score maps; every other method should be better than these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dips.baselines.frozen import FrozenMethod
from dips.baselines.method import ScoreMapMethod
from dips.baselines.study import Study
from dips.harvest.attention import join_attention, normalised
from dips.scoremaps.levels import centre_map

__all__ = ["Centre", "Head", "MeanAttention"]


class _Attention(FrozenMethod):
    """Class-token attention at the sizes of the harvest (``harvest.sizes``), joined in the same way."""

    paper = "Caron et al., ICCV 2021"
    sizes: tuple[int, ...]

    def build(self, study: Study) -> None:
        """Use the study's transformer and the harvest's sizes."""
        super().build(study)
        self.sizes = study.config.harvest.sizes
        self.side = max(self.sizes)

    def attention(self, images: Tensor) -> Tensor:
        """Return the non-negative attention ``(B, heads, h, w)`` of images ``(B, 3, S, S)`` in [0, 1], on the finest grid."""
        return join_attention([self.transformer(images, size) for size in self.sizes])


class MeanAttention(_Attention):
    """The mean over all heads."""

    name = "mean"
    title = "Attention, mean of heads"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean attention ``(B, h, w)`` in [0, 1], maximum 1."""
        return normalised(self.attention(images).mean(1))


class Head(_Attention):
    """A single head: ``head1``, ``head2`` and so on, each a separate method."""

    name: str  # type: ignore[misc]  # of an instance, not of the class
    title: str  # type: ignore[misc]

    def __init__(self, number: int) -> None:
        """Select the head ``number``, counted from 1."""
        self.name = f"head{number}"
        self.title = f"Attention, head {number}"
        self.number = number

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the head's attention ``(B, h, w)`` in [0, 1], maximum 1."""
        return normalised(self.attention(images)[:, self.number - 1])


class Centre(ScoreMapMethod):
    """A Gaussian in the centre, whatever the photo shows."""

    name = "centre"
    title = "Centred Gaussian"
    paper = "Choe et al., CVPR 2020"

    def build(self, study: Study) -> None:
        """Build nothing: there is no network."""

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the same map for all photos, ``(B, side, side)`` in [0, 1]: see :func:`~dips.scoremaps.levels.centre_map`."""
        return torch.from_numpy(centre_map(self.side)).to(images.device).expand(len(images), -1, -1)
