"""Fits the classifier of a training to the labels of the training part, and measures its accuracy on the validation part.

In: pooled features of the CNN, and labels; if all layers are fitted, also the photos. Out: the classifier, fitted and
frozen, and its accuracy (paper 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dips.config import ClassifierConfig
from dips.data.classes import ClassAccuracy, class_accuracy
from dips.data.images import ByteImage
from dips.data.labels import several_labels
from dips.fitting.inputs import labels_of
from dips.harvest.harvest import Harvest
from dips.models.classifier import Classifier
from dips.models.inputs import to_tensor
from dips.models.linear_probe import LinearProbe, balance_classes
from dips.system.console import counted, log
from dips.types import DataSet, Sample

__all__ = ["Squares", "class_targets", "classifier_accuracy", "fit_classifier", "probe_accuracy"]

Squares = Callable[[Sequence[int]], list[ByteImage]]
"""Returns photos by their positions as squares of ``classifier.size``; called only if all layers are fitted."""


def fit_classifier(
    classifier: Classifier,
    pooled: Tensor,
    labels: Tensor,
    *,
    squares: Squares,
    config: ClassifierConfig,
    seed: int,
    device: torch.device,
) -> None:
    """Fit the CNN to photos and freeze it; afterwards it is on ``device``.

    Args:
        pooled: features ``(N, F)``.
        labels: as :func:`class_targets` returns them.
    """
    classifier.to("cpu").fit_head(pooled, labels)
    if config.mode == "full":
        log(f"classifier: fine-tuning all layers for {counted(config.epochs, 'epoch')}")
        count = len(labels)

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            generator = torch.Generator().manual_seed(seed * 1009 + epoch)
            order = torch.randperm(count, generator=generator).tolist()
            steps = -(-count // config.batch)  # of nearly equal size: a batch norm cannot use a batch of one
            for step in range(steps):
                part = order[step * count // steps : (step + 1) * count // steps]
                images = to_tensor(squares(part), device)
                yield (images.flip(-1) if (epoch + step) % 2 else images), labels[part]

        classifier.fit_full(batches, epochs=config.epochs, lr=config.lr, device=device)
    balance_classes(classifier.head, labels, config.balance)
    classifier.to(device).freeze()


@torch.no_grad()
def classifier_accuracy(
    classifier: Classifier,
    pooled: Tensor,
    photos: DataSet,
    *,
    squares: Squares,
    config: ClassifierConfig,
) -> tuple[float, ClassAccuracy]:
    """Return the percentage of N photos that the fitted classifier assigns one of their labels, and the accuracy by class.

    Args:
        pooled: their features ``(N, F)`` before fitting; they suffice if only the last layer was fitted.
    """
    device = classifier.head.weight.device
    if config.mode == "head":
        logits = classifier.head(pooled.to(device)).cpu()
    else:
        groups = (range(start, min(start + config.batch, len(photos))) for start in range(0, len(photos), config.batch))
        logits = torch.cat([classifier(to_tensor(squares(group), device)).cpu() for group in groups])
    return _judged(logits, photos)


def probe_accuracy(harvest: Harvest, train: DataSet, val: DataSet) -> float:
    """Return the percentage of the photos of ``val`` that a linear classifier, fitted on the class tokens of ``train``, assigns
    one of their labels."""
    tokens, count = harvest.class_tokens(harvest.digests), len(train)
    probe = LinearProbe(tokens.shape[1], len(train.classes))
    probe.fit(tokens[:count], class_targets(train.samples, len(train.classes)))
    with torch.no_grad():
        return _judged(probe(tokens[count:]), val)[0]


def class_targets(samples: Sequence[Sample], classes: int) -> Tensor:
    """Return the targets of a softmax: the photos' labels ``(N,) int64``, or, if some have several, class probabilities
    ``(N, classes)``, equal for all labels of a photo."""
    if not several_labels(samples):
        return labels_of(samples)
    targets = torch.zeros(len(samples), classes)
    for row, sample in zip(targets, samples, strict=True):
        row[list(sample.labels)] = 1 / len(sample.labels)
    return targets


def _judged(logits: Tensor, photos: DataSet) -> tuple[float, ClassAccuracy]:
    """Return the percentage of photos whose likeliest class by logits ``(N, C)`` is one of their labels, and the accuracy by
    class, where each of a photo's L labels counts as found if it is among the L likeliest."""
    predicted = logits.argmax(1).tolist()
    right, pairs = 0, list[tuple[int, int]]()
    for row, sample, first in zip(logits, photos.samples, predicted, strict=True):
        right += first in sample.labels
        found = row.topk(len(sample.labels)).indices.tolist() if sample.others else [first]
        pairs += [(label, label if label in found else first) for label in sample.labels]
    own, others = zip(*pairs, strict=True)
    return 100 * right / len(predicted), class_accuracy(own, others, photos.classes)
