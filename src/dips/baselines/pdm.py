"""PDM (Meng et al., TIP 2022): a part discovery model, as we read its abstract.

In: photos and labels. Out: a classifier that finds parts of the object without part annotations. Each part has a map; parts
must be separate (diversity), each in one place (compactness), and weighted by how informative they are (importance).

Only the first half of the abstract was accessible, and no code is public: every formula and number here is a guess at what the
abstract names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.classifiers import class_activations, with_object
from dips.baselines.cnn import CnnMethod, build_classifier
from dips.baselines.method import Fit
from dips.baselines.normalise import min_max
from dips.baselines.study import Study
from dips.models.classifier import Classifier

__all__ = ["Discovery", "PartClassifier", "Pdm", "compactness", "diversity"]

# All of these were chosen by us.
PARTS = 4
"""Number of parts to find."""

DIVERSITY, COMPACTNESS, IMPORTANCE = 1.0, 0.1, 0.01
"""Weights of the losses besides the cross-entropies; the last is that of the entropy, which keeps one part from dominating."""

RAMP = 1 / 3
"""Fraction of the training over which these weights grow from 0."""

WIDTH = 64
"""Hidden units of the layers that judge a part's importance."""


class Discovery(NamedTuple):
    """Parts found in photos.

    Attributes:
        maps: ``(B, P, h, w)`` in [0, 1], one per part.
        parts: ``(B, P, F)``, the parts' features.
        importance: ``(B, P)``, non-negative, with sum 1.
    """

    maps: Tensor
    parts: Tensor
    importance: Tensor

    @property
    def whole(self) -> Tensor:
        """The object's map ``(B, h, w)`` in [0, 1], the sum of its parts' maps, weighted by importance."""
        return torch.einsum("bphw,bp->bhw", self.maps, self.importance)


def diversity(maps: Tensor) -> Tensor:
    """Return the mean cosine between different parts' maps ``(B, P, h, w)`` in [0, 1], ``(B,)`` in [0, 1]; 0 for a single part.

    >>> diversity(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[1.0, 0.5]], [[1.0, 0.5]]]])).round(decimals=5).tolist()
    [0.0, 1.0]
    """
    count = maps.shape[1]
    flat = F.normalize(maps.flatten(2), dim=2)
    cosines = flat @ flat.transpose(1, 2)
    others = cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)
    return others / max(1, count * (count - 1))


def compactness(maps: Tensor) -> Tensor:
    """Return the mean squared distance of parts ``(B, P, h, w)`` in [0, 1] from their centroids, ``(B,)``, averaged over parts.

    Coordinates run from 0 to 1 over each side.

    >>> compactness(torch.eye(2).reshape(1, 1, 2, 2)).item()
    0.5
    """
    height, width = maps.shape[2:]
    rows, columns = (torch.linspace(0, 1, side, device=maps.device, dtype=maps.dtype) for side in (height, width))
    shares = maps / maps.sum((2, 3), keepdim=True).clamp(min=1e-8)
    spreads = []
    for along, coordinates in ((shares.sum(3), rows), (shares.sum(2), columns)):
        centre = (along * coordinates).sum(2, keepdim=True)
        spreads.append((along * (coordinates - centre).square()).sum(2))
    return (spreads[0] + spreads[1]).mean(1)


class PartClassifier(Classifier):
    """A classifier of a photo's parts, weighted by importance, with one linear layer for all of them.

    Attributes:
        by_class: whether the map that localizes best is that of the object times the class activations; a bool scalar.
    """

    by_class: Tensor

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Create a classifier with random weights; see :class:`~dips.models.classifier.Classifier`."""
        super().__init__(arch, classes, stride=stride)
        self.detector = nn.Conv2d(self.width, PARTS, 1)
        self.judge = nn.Sequential(nn.Linear(self.width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
        self.register_buffer("by_class", torch.tensor(False))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.classify(self.discover(self.feature_map(images)))

    def classify(self, found: Discovery) -> Tensor:
        """Return logits ``(B, C)`` of the parts' features together."""
        return cast(Tensor, self.head(torch.einsum("bpf,bp->bf", found.parts, found.importance)))

    def discover(self, features: Tensor, teach: Tensor | None = None) -> Discovery:
        """Return the parts that features ``(B, F, h, w)`` show.

        Args:
            teach: ``(B,) bool``, which photos the parts may learn from; None means all.
        """
        maps = self.detector(features).sigmoid()
        if teach is not None:
            maps = torch.where(teach[:, None, None, None], maps, maps.detach())
        parts = torch.einsum("bfhw,bphw->bpf", features, maps) / maps.sum((2, 3)).clamp(min=1e-8)[..., None]
        return Discovery(maps, parts, self.judge(parts)[..., 0].softmax(1))

    def parts(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the object's map and normalised class activations, ``(B, h, w)`` in [0, 1] each.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes.
        """
        features = self.feature_map(images)
        return self.discover(features).whole, min_max(class_activations(features, self.head.weight[labels]))

    def losses(self, images: Tensor, labels: Tensor, background: int | None) -> dict[str, Tensor]:
        """Return ``class``, ``parts``, ``diversity``, ``compactness`` and ``entropy``, scalars: the terms of the loss.

        Args:
            images: ``(B, 3, H, W)`` crops in [0, 1].
            labels: ``(B,)`` classes.
            background: label of the background class, if there is one: its photos have no parts, so none are learned from them.
        """
        teach = with_object(labels, background)
        features = self.feature_map(images)
        found = self.discover(features, teach)
        each = torch.stack([F.cross_entropy(self.head(part), labels, reduction="none") for part in found.parts.unbind(1)], 1)
        entropy = -(found.importance * found.importance.clamp(min=1e-8).log()).sum(1)
        shaped = {"diversity": diversity(found.maps), "compactness": compactness(found.maps), "entropy": entropy}
        count = teach.sum().clamp(min=1)
        return {
            "class": F.cross_entropy(self.classify(found), labels),
            "parts": (each * found.importance.detach()).sum(1).mean(),
        } | {name: (values * teach).sum() / count for name, values in shaped.items()}


class Pdm(CnnMethod):
    """Discovery of parts, as far as the abstract describes it."""

    name = "pdm"
    title = "PDM (after its abstract)"
    paper = "Meng et al., TIP 2022, after its abstract"
    caveat = "a guess at what the abstract names: losses, layers and settings are ours, and there is no public code"

    def make(self, study: Study) -> nn.Module:
        """Return the study's CNN with randomly initialised layers for the parts, which learn at the backbone's rate."""
        return build_classifier(study, len(study.classes), PartClassifier)

    def train(self, study: Study) -> Fit:
        """Train, then choose the map."""
        return self.choose_map(study, super().train(study))

    def choose_map(self, study: Study, fit: Fit) -> Fit:
        """Choose on validation whether the map is multiplied by class activations; without boxes it is not."""
        net = cast(PartClassifier, self.net)

        def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
            whole, activations = net.parts(images, labels)
            return [min_max(whole), min_max(whole * activations)]

        scores = score_candidates(study, maps, self.side)
        multiplied = best_of(scores) == 1
        net.by_class.fill_(multiplied)
        words = f"the object's map{' times class activations' if multiplied else ''}{chosen_by(scores)}"
        curve = tuple({"by_class": float(choice), "v2": score} for choice, score in enumerate(scores))
        return replace(fit, chosen=f"{fit.chosen}; {words}", curve=(*fit.curve, *curve))

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted sum of the parts for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        parts = cast(PartClassifier, self.net).losses(images, labels, self._background)
        shape = DIVERSITY * parts["diversity"] + COMPACTNESS * parts["compactness"] - IMPORTANCE * parts["entropy"]
        return parts["class"] + parts["parts"] + min(1.0, self.progress / RAMP) * shape

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the object's map ``(B, h, w)`` in [0, 1], times normalised class activations if validation chose that."""
        net = cast(PartClassifier, self.net)
        whole, activations = net.parts(images, labels)
        return whole * activations if net.by_class else whole
