"""BGC (Kim et al., CVPR 2022): bridges the gap between what a classifier and what a localizer needs from a feature map.

In: training crops. Out: a plain classifier, whose class activations are the maps. An activation is the length of a feature
times the length of the class's weights times their cosine: active features are turned towards the class, inactive ones away
from it; lengths follow the cosines; and features must stay the same if the most active ones of an earlier stage are erased.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.adl import attention, drop_mask
from dips.baselines.classifiers import of_class
from dips.baselines.cnn import CnnMethod, class_scores
from dips.baselines.normalise import min_max
from dips.models.backbones import stages
from dips.models.classifier import Classifier

__all__ = ["Bgc", "cosines", "erase", "length_gap", "similarity_gap"]

# All from the authors' settings for CUB with a ResNet50, whose map has 28x28 positions; here it has 14x14.
OBJECT, GROUND = 0.4, 0.2
"""Normalised length of a feature above which it counts as object, and below which as background."""

SIMILARITY, LENGTH, DROP = 0.5, 0.05, 2.0
"""Weights of the three losses besides the cross-entropy."""

ERASE_ABOVE, ERASE_PROBABILITY = 0.8, 0.25
"""Fraction of the largest activity above which a position may be erased, and the probability that it is."""

WARM = 2 / 7
"""Fraction of the training without the losses on cosines and lengths: 20 of 70 epochs."""


def cosines(features: Tensor, weights: Tensor) -> Tensor:
    """Return the cosines ``(B, C, h, w)`` between features ``(B, F, h, w)`` and the classes' weights ``(C, F)``.

    >>> round(cosines(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1), torch.tensor([[2.0, 0.0]])).item(), 4)
    0.6
    """
    return torch.einsum("bfhw,cf->bchw", F.normalize(features, dim=1), F.normalize(weights, dim=1))


def similarity_gap(similarity: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean cosine of the background minus the object's, a scalar in [-2, 2]; a part without positions counts as 0.

    Args:
        similarity: ``(B, h, w)``, cosines with the photo's class.
        lengths: ``(B, h, w)`` in [0, 1]: below :data:`GROUND` is background, above :data:`OBJECT` is object.
    """
    return (_mean_where(similarity, lengths < GROUND) - _mean_where(similarity, lengths > OBJECT)).mean()


def length_gap(lengths: Tensor, similarity: Tensor) -> Tensor:
    """Return the mean length where no class is found minus that where one is, a scalar in [-1, 1].

    Args:
        lengths: ``(B, h, w)`` in [0, 1].
        similarity: ``(B, h, w)``, the largest cosine with any class (as the authors train on CUB; for ImageNet it is that of
            the photo's class). Above 0 a class is found, below 0 none.
    """
    return (_mean_where(lengths, similarity < 0) - _mean_where(lengths, similarity > 0)).mean()


def erase(features: Tensor, threshold: float, probability: float, generator: torch.Generator) -> Tensor:
    """Return features ``(B, F, h, w)`` in which some active positions are set to 0.

    Args:
        features: ``(B, F, h, w)``; they are not modified.
        threshold: fraction of the largest activity, :func:`~dips.baselines.adl.attention`, above which a position is active.
        probability: probability that an active position is erased, drawn for each.
        generator: CPU generator for these draws.
    """
    activity = attention(features)
    drawn = torch.rand(activity.shape, generator=generator).to(features.device) < probability
    return features * torch.where(drawn, drop_mask(activity, threshold), 1.0)


class Bgc(CnnMethod):
    """A classifier whose features agree in direction and length.

    Features are erased after the second-to-last stage; in the authors' ResNet, inside the last one. Later layers see the whole
    and the erased features as one batch of twice the size, so batch norm computes its statistics over both; the authors' batch
    norm sees them in turn. Activity is a mean of rectified features, because stages of other networks may not end in a ReLU.
    """

    name = "bgc"
    title = "BGC"
    paper = "Kim et al., CVPR 2022"
    caveat = "rectified features are erased, after the second-to-last stage instead of inside the last, in a common batch norm"

    def losses(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the four parts of the loss, scalars, by name: ``class``, ``drop``, ``similarity`` and ``length``.

        Args:
            images: ``(B, 3, H, W)`` crops in [0, 1].
            labels: ``(B,)`` classes.
            generator: CPU generator for the erasing.
        """

        def twice(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
            return torch.cat([features, erase(features, ERASE_ABOVE, ERASE_PROBABILITY, generator)])

        net = cast(Classifier, self.net)
        stage, _ = stages(net.body)[-2]
        with stage.register_forward_hook(twice):
            whole, erased = net.feature_map(images).chunk(2)
        similarity = cosines(whole, net.head.weight)
        lengths = min_max(torch.linalg.vector_norm(whole, dim=1))
        return {
            "class": F.cross_entropy(class_scores(net, whole), labels),
            "drop": F.l1_loss(whole, erased),
            "similarity": similarity_gap(of_class(similarity, labels), lengths),
            "length": length_gap(lengths, similarity.amax(1)),
        }

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted sum of the parts for crops ``(B, 3, H, W)`` in [0, 1]; only of the first two during warm-up."""
        parts = self.losses(images, labels, generator)
        total = parts["class"] + DROP * parts["drop"]
        if self.progress >= WARM:
            total = total + SIMILARITY * parts["similarity"] + LENGTH * parts["length"]
        return total


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return means ``(B,)`` of values ``(B, h, w)`` over the positions ``(B, h, w) bool``; 0 if there are none."""
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)
