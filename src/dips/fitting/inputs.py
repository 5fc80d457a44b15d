"""The inputs of a training: data, weights, classifier, linear maps; for a U-Net also harvest and scored proposals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dips.config import Config
from dips.data.classes import ClassAccuracy
from dips.data.depth import Depth
from dips.data.gain import ReviewGain
from dips.data.images import ByteImage
from dips.harvest.harvest import Harvest
from dips.harvest.scored_photos import ScoredPhotos
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMaps
from dips.models.weights.resolve import Weights, resolve
from dips.system.console import log
from dips.types import DataSet, Problem, Sample

__all__ = ["Proposals", "TrainingInputs", "labels_of", "resolve_weights"]


@dataclass(frozen=True)
class Proposals:
    """What a U-Net is trained on.

    Attributes:
        harvest: squares and maps of both parts, the training part first.
        train, val: scored proposals.
    """

    harvest: Harvest
    train: ScoredPhotos
    val: ScoredPhotos


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that training needs and does not change.

    Attributes:
        train, val: the data, without unreadable photos.
        digests: the photos' keys in the store, the training part first.
        problems: the unreadable photos.
        classifier: fitted and frozen.
        linear: the linear maps; None unless ``harvest.refine=dataset``.
        proposals: None where no U-Net is trained.
        accuracy: accuracy on ``val`` in percent: of the ``classifier``, and, if the transformer saw all photos, of a
            ``linear_probe`` on its class tokens. For a photo with several labels, any of them is right.
        class_accuracy: the classifier's accuracy with equal weight for each class.
        weights: the weights of transformer and CNNs.
        seconds: time taken by linear maps and harvest.
        frozen: returns the fitted classifier's CNN with the transformer, which is loaded once.
        depth: how the photos' values of more than 8 bits were converted to 8.
        reviewed: digests of the reviewed photos that were fitted on.
        gain: the gain from these, tested on each other; None if they are too few.
    """

    train: DataSet
    val: DataSet
    digests: tuple[str, ...]
    problems: tuple[Problem, ...]
    classifier: Classifier
    linear: LinearMaps | None
    proposals: Proposals | None
    accuracy: dict[str, float]
    class_accuracy: ClassAccuracy
    weights: dict[str, Weights]
    seconds: float
    frozen: Callable[[], FrozenNetworks]
    depth: Depth
    reviewed: tuple[str, ...]
    gain: ReviewGain | None

    @property
    def origin(self) -> str:
        """Sixteen hex digits that identify photos, labels, review, maps and weights: a resumed training must have the same."""
        labels = ",".join("|".join(map(str, sample.labels)) for sample in (*self.train.samples, *self.val.samples))
        weights = [item.sha256 for item in self.weights.values()]
        maps = "" if self.proposals is None else self.proposals.harvest.maps.folder.name
        parts = [str(len(self.train)), labels, maps, *weights, *self.digests]
        parts += [] if self.proposals is None else self.proposals.train.review
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def val_square(self, position: int) -> ByteImage:
        """Return the ``position``-th validation photo as a square ``(S, S, 3) uint8`` RGB, S = ``train.resize``.

        Available only if a U-Net is trained.
        """
        assert self.proposals is not None
        return self.proposals.harvest.square(self.digests[len(self.train) + position])


def labels_of(samples: Sequence[Sample]) -> Tensor:
    """Return the labels ``(N,) int64`` of photos that all have one."""
    labels = [sample.label for sample in samples]
    assert None not in labels
    return torch.tensor(labels)


def resolve_weights(config: Config, given: Sequence[str]) -> dict[str, Weights]:
    """Find the pretrained weights of every network, by its role; an encoder like the classifier shares its weights."""
    transformer = resolve(config.harvest.sst, role="transformer", given=given)
    classifier = resolve(config.classifier.arch, role="cnn", given=given)
    weights = {"transformer": transformer, "classifier": classifier}
    if config.train.epochs:
        same = config.localizer.encoder == config.classifier.arch
        weights["encoder"] = classifier if same else resolve(config.localizer.encoder, role="cnn", given=given)
    for role, item in weights.items():
        log(f"weights of the {role}: {item.line()}")
    return weights
