"""ICL (Ki et al., ACCV 2020): in-sample contrastive learning with consistent attention, as we read its abstract.

In: photos and labels. Out: a classifier with non-local attention in its last stages, whose class activations are the maps. In
training, stages drop their most active positions and their background; what is left of the object must stay close to the whole
object and away from the background, and earlier stages must attend to what the last one does.

Only the abstract was accessible, and no code is public: every formula and number here is inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.adl import DROP_RATE, STAGES, attention, importance
from dips.baselines.cnn import CnnMethod, build_classifier
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.harvest.attention import upsampled
from dips.models.backbones import stages
from dips.models.classifier import Classifier

__all__ = ["Attending", "Icl", "NonLocal", "Regions", "consistency", "contrast", "regions"]

# Chosen by us. Where attention is applied and how often it drops are as in ADL, on which the method builds.
PEAK, OBJECT, GROUND = 0.8, 0.5, 0.1
"""Normalised attention above which a position is among the most discriminative, above which it is object, and below which it is
background."""

MARGIN = 1.0
"""By how much closer to the object than to the background what is left of the object must be, for vectors of length 1."""

CONTRAST, CONSISTENCY = 0.1, 0.1
"""Weights of both losses besides the cross-entropy."""

WIDTH = 128
"""Dimension of the vectors that are contrasted."""

REDUCTION = 8
"""Channels of a stage per channel in which the non-local attention compares positions."""


class Regions(NamedTuple):
    """Where a photo's attention is strong and weak, ``(B, 1, h, w) bool`` each.

    Attributes:
        whole: the object.
        rest: the object without the most discriminative positions.
        ground: the background.
        dropped: what is set to 0 in training: the most discriminative positions and the background.
    """

    whole: Tensor
    rest: Tensor
    ground: Tensor
    dropped: Tensor


def regions(attended: Tensor) -> Regions:
    """Return the regions of non-negative attention ``(B, 1, h, w)``; no gradient passes.

    >>> regions(torch.tensor([[[[1.0, 0.6], [0.05, 0.3]]]])).rest.int().tolist()
    [[[[0, 1], [0, 0]]]]
    """
    scaled = min_max(attended.detach())
    whole, peak, ground = scaled > OBJECT, scaled > PEAK, scaled < GROUND
    return Regions(whole, whole & ~peak, ground, peak | ground)


def contrast(rest: Tensor, whole: Tensor, ground: Tensor) -> Tensor:
    """Return the triplet loss of each photo: ``max(0, |l - w| - |l - g| + margin)``, ``(B,)``.

    Args:
        rest: ``(B, D)``, the rest of the object.
        whole: ``(B, D)``, what it should be close to.
        ground: ``(B, D)``, what it should be far from.
    """
    near, far = F.pairwise_distance(rest, whole, eps=0), F.pairwise_distance(rest, ground, eps=0)
    return (near - far + MARGIN).clamp(min=0)


def consistency(early: Tensor, late: Tensor) -> Tensor:
    """Return the mean squared difference of normalised attention, a scalar in [0, 1]; ``late`` gets no gradient.

    Args:
        early: ``(B, 1, H, W)``, non-negative.
        late: ``(B, 1, h, w)``, non-negative; it is resized to ``early``.
    """
    reference = upsampled(min_max(late.detach()), (early.shape[-2], early.shape[-1]))
    return (min_max(early) - reference).square().mean()


class NonLocal(nn.Module):
    """Adds the values of similar positions to each position (non-local attention); the identity until ``gamma`` is learned."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // REDUCTION)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, ``(B, F, h, w)``."""
        query, key, value = (layer(features).flatten(2) for layer in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(2)  # (B, h*w, h*w), a row per query position
        heard: Tensor = (value @ weights.transpose(1, 2)).reshape(features.shape)
        return features + self.gamma * heard


class Attending(Classifier):
    """A classifier with non-local attention after its last stages, and a projection used only in training."""

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Create a classifier that equals a plain one before training; see :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        widths = [channels for _, channels in stages(self.body)[-STAGES:]]
        self.blocks = nn.ModuleList(NonLocal(channels) for channels in widths)
        self.project = nn.Linear(widths[-1], WIDTH, bias=False)

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features ``(B, F)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        with self._attention():
            return super().features(images)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return features ``(B, F, h, w)`` before pooling, of images ``(B, 3, H, W)`` in [0, 1]."""
        with self._attention():
            return super().feature_map(images)

    def losses(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the three parts of the loss, scalars, by name: ``class``, ``contrast`` and ``consistency``.

        For each stage, one random draw per step decides whether its features are dropped or weighted by their importance.

        Args:
            images: ``(B, 3, H, W)`` crops in [0, 1].
            labels: ``(B,)`` classes.
            generator: CPU generator for these draws.
        """
        seen: list[Tensor] = []

        def layer(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
            seen.append(features)
            attended = attention(features)
            drop = torch.rand((), generator=generator) < DROP_RATE
            return features * (~regions(attended).dropped if drop else importance(attended))

        with ExitStack() as hooks:  # they see the output of the non-local attention, whose hooks run before them
            for module, _ in stages(self.body)[-STAGES:]:
                hooks.enter_context(module.register_forward_hook(layer))
            logits = self(images)
        *early, last = (attention(features) for features in seen)
        return {
            "class": F.cross_entropy(logits, labels),
            "contrast": self._contrast(seen[-1], regions(last)),
            "consistency": torch.stack([consistency(each, last) for each in early]).mean(),
        }

    def _contrast(self, features: Tensor, found: Regions) -> Tensor:
        """Return the mean contrast of features ``(B, F, h, w)``, a scalar; a photo that lacks a region counts as 0."""
        masks = torch.cat([found.rest, found.whole, found.ground], 1).to(features.dtype)
        sizes = masks.sum((2, 3))
        pooled = torch.einsum("bfhw,bmhw->mbf", features, masks) / sizes.T.clamp(min=1)[..., None]
        rest, whole, ground = F.normalize(self.project(pooled), dim=2).unbind()
        return torch.where((sizes > 0).all(1), contrast(rest, whole, ground), 0.0).mean()

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """Apply the non-local attention after the last stages, before other hooks, while the network runs."""

        def behind(block: nn.Module) -> Callable[[nn.Module, object, Tensor], Tensor]:
            return lambda module, inputs, features: cast(Tensor, block(features))

        with ExitStack() as hooks:
            for (module, _), block in zip(stages(self.body)[-STAGES:], self.blocks, strict=True):
                hooks.enter_context(module.register_forward_hook(behind(block), prepend=True))
            yield


class Icl(CnnMethod):
    """In-sample contrastive learning and consistent attention, as far as the abstract describes them."""

    name = "icl"
    title = "ICL (after its abstract)"
    paper = "Ki et al., ACCV 2020, after its abstract"
    caveat = "our reading of the abstract: losses, layers and settings are inferred, and there is no public code"

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN with randomly initialised attention and projection, which learn at the backbone's rate."""
        return build_classifier(study, len(study.classes), Attending)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted sum of the three parts for crops ``(B, 3, H, W)`` in [0, 1]."""
        parts = cast(Attending, self.net).losses(images, labels, generator)
        return parts["class"] + CONTRAST * parts["contrast"] + CONSISTENCY * parts["consistency"]

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The classifier and its attention: the projection is used only in training."""
        net = cast(Attending, self.net)
        return net.body, net.probe, net.blocks
