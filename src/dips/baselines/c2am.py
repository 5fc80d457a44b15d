"""C2AM (Xie et al., CVPR 2022): object and background are separated by contrast between photos, without class labels.

In: photos. Out: one activation per position, which is 1 on one side and 0 on the other. The features of both sides are pooled;
those of one side should resemble each other across all photos, and differ from those of the other side.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines import normalise
from dips.baselines.cnn import SCHEDULE, build_classifier, train_cnn
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.baselines.training import Training
from dips.models.backbones import stages, watched_outputs
from dips.models.classifier import Classifier

__all__ = ["C2am", "Disentangler", "Sides", "negative_contrast", "object_photos", "pool_sides", "positive_contrast"]

ALPHA = 0.25
"""How fast a positive pair's weight falls with its rank (the authors' code for CUB uses 0.05 with supervised weights)."""

MARGIN = 5e-4
"""How close a cosine may come to 0 and to 1 in the losses: the authors' value."""


def pool_sides(features: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features of both sides: means over the positions, weighted by P and by 1 - P (section 3).

    Args:
        features: ``(B, F, h, w)``.
        activation: P, ``(B, h, w)`` in [0, 1].

    Returns:
        Both ``(B, F)``: those of the active side and those of the other.

    >>> active, other = pool_sides(torch.tensor([[[[4.0, 8.0]]]]), torch.tensor([[[1.0, 0.25]]]))
    >>> active.tolist(), other.tolist()
    ([[3.0]], [[3.0]])
    """
    active = torch.einsum("bfhw,bhw->bf", features, activation)
    return active / activation[0].numel(), (features.sum((2, 3)) - active) / activation[0].numel()


def negative_contrast(active: Tensor, other: Tensor) -> Tensor:
    """Return ``-log(1 - cosine)``, averaged over all pairs of one side ``(B, F)`` and the other ``(B, F)`` (section 3).

    Pairs may come from one photo or from two. Cosines are clamped to at least :data:`MARGIN` and at most 1 - :data:`MARGIN`.

    >>> round(negative_contrast(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item(), 4)  # a cosine of 0.6
    0.9163
    """
    return -(1 - _cosines(active, other)).log().mean()


def positive_contrast(features: Tensor, alpha: float) -> Tensor:
    """Return ``-exp(-alpha rank) log(cosine)``, averaged over all pairs of different photos (section 3); 0 for a single one.

    Args:
        features: ``(B, F)`` of one side.
        alpha: how fast the weight falls with the rank. A photo's pairs are ranked by cosine, the closest is 0: pairs with
            little in common, such as another kind of object or background, hardly count.

    >>> round(positive_contrast(torch.tensor([[1.0, 0.0], [3.0, 4.0]]), 0.25).item(), 4)  # one pair, with a cosine of 0.6
    0.5108
    """
    count = len(features)
    cosines = _cosines(features, features)
    itself = torch.eye(count, dtype=torch.bool, device=features.device)
    ranks = cosines.masked_fill(itself, -1).argsort(1, descending=True).argsort(1)
    weights = torch.exp(-alpha * ranks).masked_fill(itself, 0)
    return -(weights * cosines.log()).sum() / max(1, count * (count - 1))


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    """Return cosines ``(B, B)``, kept away from 0 and 1, where the logarithms diverge."""
    return (F.normalize(left, dim=1) @ F.normalize(right, dim=1).T).clamp(MARGIN, 1 - MARGIN)


class Sides(nn.Module):
    """A 3x3 convolution with batch norm on features, and a record of which side is the object.

    The losses cannot tell the sides apart. The authors look at the image's border: if most of it is active, the active side is
    the background. They look once, at a photo of the first epoch; here ``border`` is a running mean of the active fraction of
    the border over the last training batches. Like batch norm's statistics, it is saved with each checkpoint, and answering
    photos does not change it.

    Attributes:
        border: in [0, 1], a scalar: the active side is the background if it exceeds 0.5.
    """

    border: Tensor

    def __init__(self, width: int) -> None:
        """Create the convolution for ``width`` features with random weights."""
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(width, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1))
        self.register_buffer("border", torch.tensor(0.5))

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return non-negative features ``(B, F, h, w)`` of images ``(B, 3, H, W)`` in [0, 1]."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features ``(B, F, h, w)`` and the activation P ``(B, h, w)`` in [0, 1] of images ``(B, 3, H, W)``."""
        features = self.features(images)
        activation = self.head(features)[:, 0].sigmoid()
        if self.training:
            self.border.lerp_(active_border(activation.detach()), 0.1)
        return features, activation

    def foreground(self, images: Tensor) -> Tensor:
        """Return the object side ``(B, h, w)`` in [0, 1]: P, or 1 - P if P is the background side."""
        activation: Tensor = self(images)[1]
        return torch.where(self.border > 0.5, 1 - activation, activation)


class Disentangler(Sides):
    """:class:`Sides` on the last two stages of a CNN without its classifier."""

    def __init__(self, classifier: Classifier) -> None:
        """Use the layers of ``classifier`` except for the last."""
        super().__init__(cast(Any, classifier.body).num_features + stages(classifier.body)[-2][1])
        self.normalise, self.body = classifier.normalise, classifier.body

    def features(self, images: Tensor) -> Tensor:
        """Return the feature maps of the last two stages on the same grid: ``(B, F, h, w)``, non-negative.

        Negative values are set to 0: the paper's ResNet has none, but the stages of other networks may not end in a ReLU, and
        cosines below 0 would get no gradient from the losses.
        """
        with watched_outputs([stages(self.body)[-2][0]]) as outputs:
            last = cast(Tensor, cast(Any, self.body).forward_features(self.normalise(images)))
        grid = (last.shape[2], last.shape[3])
        return torch.cat([last, F.adaptive_avg_pool2d(outputs[0], grid)], 1).relu()


def active_border(activation: Tensor) -> Tensor:
    """Return the fraction of the border of activations ``(B, h, w)`` that is above 0.5, a scalar: the mean of the four edges.

    >>> active_border(torch.tensor([[[0.9, 0.9], [0.1, 0.1]]])).item()
    0.5
    """
    active = (activation > 0.5).float()
    return torch.stack([active[:, 0].mean(), active[:, -1].mean(), active[:, :, 0].mean(), active[:, :, -1].mean()]).mean()


def object_photos(study: Study) -> Photos:
    """Return the training photos except those of the background class, if there is one."""
    indices = [i for i in range(len(study.train)) if study.train.label(i) != study.background]
    samples = tuple(study.train.samples[i] for i in indices)
    return replace(study.train, samples=samples, digests=tuple(study.train.digests[i] for i in indices))


class C2am(ScoreMapMethod):
    """Class-agnostic activation maps (section 3).

    It uses no classes, except that photos of the background class, if there is one, are left out of the training.
    """

    name = "c2am"
    title = "C2AM"
    paper = "Xie et al., CVPR 2022"
    caveat = (
        "weights of pairs suit a network without supervised weights; the object's side is found over many batches; photos of "
        "the background class, if there is one, are left out"
    )
    net: Sides

    @property
    def network(self) -> nn.Module:
        """The disentangler, including the CNN below it."""
        return self.net

    def build(self, study: Study) -> None:
        """Create the network: the CNN from ImageNet weights, the disentangler with random ones."""
        net = Disentangler(build_classifier(study, 1, Classifier)).to(study.device)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training(self, study: Study) -> Training:
        """Return the training setup: the photos with an object, and the schedule of the CNN-based methods."""
        new = list(self.net.head.parameters())
        return Training(self.net, self.loss, self.maps, SCHEDULE, new, self.side, photos=object_photos(study))

    def train(self, study: Study) -> Fit:
        """Train the network as :func:`~dips.baselines.cnn.train_cnn` does."""
        return train_cnn(self.training(study), study)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sum of the three contrasts for crops ``(B, 3, H, W)`` in [0, 1]; the other arguments are unused."""
        active, other = pool_sides(*self.net(images))
        positive = positive_contrast(active, ALPHA) + positive_contrast(other, ALPHA)
        return positive + negative_contrast(active, other)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the object side ``(B, h, w)`` in [0, 1], divided by its maximum, as the authors do for their boxes."""
        return normalise.max_norm(self.net.foreground(images))
