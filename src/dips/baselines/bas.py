"""BAS (Wu et al., CVPR 2022): the foreground is what suppresses a class's activation when it is taken away.

In: photos and labels. Out: a classifier, and a foreground map per class from one of its inner stages. A map is good if the
class scores low on the features outside it, and if it is small.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dips.baselines.classifiers import of_class
from dips.baselines.cnn import CnnMethod, build_classifier, class_scores
from dips.baselines.study import Study
from dips.models.backbones import stages, watched_outputs
from dips.models.classifier import Classifier

__all__ = ["Bas", "Foreground", "suppression"]

# Both from the authors' code for CUB with a ResNet50; it has 0.7 and 0 for VGG16, 1.5 and 0.5 for MobileNet.
AREA = 1.2
"""Weight of the mean of a photo's map."""

GUIDANCE = 0.5
"""Weight of the cross-entropy of the features inside the map."""


def suppression(background: Tensor, whole: Tensor) -> Tensor:
    """Return the fraction of a class's score that is left outside the map, ``(B,)`` in [0, 1).

    The authors' scores are rectified, so negative ones count as 0. If the background scores at least as high as the whole
    photo, there is nothing to suppress, and nothing is learned.

    Args:
        background: ``(B,)``, the class's score on the features outside the map.
        whole: ``(B,)``, the class's score on all features; it gets no gradient.

    >>> suppression(torch.tensor([1.0, 3.0, -1.0]), torch.tensor([2.0, 2.0, -1.0])).tolist()
    [0.5, 0.0, 0.0]
    """
    background, whole = background.clamp(min=0), whole.detach().clamp(min=0)
    return torch.where(background < whole, background / (whole + 1e-8), 0.0)


class Foreground(Classifier):
    """A classifier with a convolution that computes a foreground map per class from the second-to-last stage."""

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Create a classifier and a convolution with random weights; see :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        self.foreground = nn.Conv2d(stages(self.body)[-2][1], classes, 3, padding=1)

    def both(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the results of one pass over images ``(B, 3, H, W)`` in [0, 1].

        Returns:
            The feature map ``(B, F, h, w)``, the output of the inner stage ``(B, K, h', w')`` and the foreground maps of all
            classes ``(B, C, h', w')`` in [0, 1].
        """
        with watched_outputs([self._stage]) as outputs:
            features = self.feature_map(images)
        (inner,) = outputs
        return features, inner, self.foreground(inner).sigmoid()

    def scores_of(self, inner: Tensor, images: Tensor) -> Tensor:
        """Return the logits ``(B, C)`` of given outputs ``(B, K, h', w')`` of the inner stage, by copies of the later layers.

        The copies are frozen: their weights get no gradient, and batch norm does not update its statistics.

        Args:
            inner: replaces the stage's own output.
            images: ``(B, 3, H, W)``, arbitrary; the layers before the stage run on the first one, and the result is discarded.
        """
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        frozen |= {name: buffer.clone() for name, buffer in self.named_buffers()}
        with self._stage.register_forward_hook(lambda module, inputs, output: inner):
            logits: Tensor = functional_call(self, frozen, (images[:1],))
        return logits

    @property
    def _stage(self) -> nn.Module:
        """The inner stage: the second-to-last, as in the authors' ResNet."""
        return stages(self.body)[-2][0]


class Bas(CnnMethod):
    """Background activation suppression.

    The authors' class scores come from three convolutions with 1024 channels, rectified at each position; here they come from
    the same linear layer as in all CNN-based methods. The map is the authors' for CUB: the mean over all classes.
    """

    name = "bas"
    title = "BAS"
    paper = "Wu et al., CVPR 2022"
    caveat = "one linear layer scores the classes, not three convolutions; its map is the mean over classes, as for CUB"

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN with a randomly initialised convolution, which learns at the backbone's rate."""
        return build_classifier(study, len(study.classes), Foreground)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the four parts of the loss, scalars, by name: ``class``, ``suppression``, ``area`` and ``guidance``.

        Args:
            images: ``(B, 3, H, W)`` crops in [0, 1].
            labels: ``(B,)`` classes.
        """
        net = cast(Foreground, self.net)
        features, inner, maps = net.both(images)
        foreground = of_class(maps, labels)[:, None]
        logits = class_scores(net, features)
        outside = net.scores_of(inner.detach() * (1 - foreground), images)
        inside = class_scores(net, features * F.adaptive_avg_pool2d(foreground, (features.shape[2], features.shape[3])))
        return {
            "class": F.cross_entropy(logits, labels),
            "suppression": suppression(of_class(outside, labels), of_class(logits, labels)).mean(),
            "area": foreground.mean(),
            "guidance": F.cross_entropy(inside, labels),
        }

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted sum of the parts for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        parts = self.losses(images, labels)
        return parts["class"] + parts["suppression"] + AREA * parts["area"] + GUIDANCE * parts["guidance"]

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean foreground map ``(B, h, w)`` in [0, 1] over all classes except the background class."""
        _, _, maps = cast(Foreground, self.net).both(images)
        return maps[:, [label for label in range(maps.shape[1]) if label != self._background]].mean(1)
