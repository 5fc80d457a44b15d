"""The classifier of a training: fitted to the labels of the training part, and how often it is right on validation.

In: pooled features of the CNN, and labels; where all layers are fitted, the photos, too. Out: the classifier, fitted and
frozen, and its accuracy (paper 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dips.config import ClassifierConfig
from dips.data.classes import ClassAccuracy, class_accuracy
from dips.data.images import ByteImage
from dips.harvest.harvest import Harvest
from dips.models.classifier import Classifier, LinearProbe, balance_classes
from dips.models.inputs import to_tensor
from dips.system.console import counted, log

__all__ = ["Squares", "classifier_accuracy", "fit_classifier", "probe_accuracy"]

Squares = Callable[[Sequence[int]], list[ByteImage]]
"""Returns photos by their positions as squares of ``classifier.size``; asked only where all layers are fitted."""


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
    """Fit the CNN to the labels ``(N,)`` of photos, of pooled features ``(N, F)``, and freeze it; it ends on ``device``."""
    classifier.to("cpu").fit_head(pooled, labels)
    if config.mode == "full":
        log(f"classifier: fine-tuning all layers for {counted(config.epochs, 'epoch')}")
        count = len(labels)

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            generator = torch.Generator().manual_seed(seed * 1009 + epoch)
            order = torch.randperm(count, generator=generator).tolist()
            steps = -(-count // config.batch)  # of nearly equal size: a batch of one is none for a batch norm
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
    labels: Tensor,
    *,
    squares: Squares,
    config: ClassifierConfig,
    classes: Sequence[str],
) -> tuple[float, ClassAccuracy]:
    """Return the percentage of N photos that the fitted classifier gives their label ``(N,)``, and that by classes.

    Args:
        pooled: their features ``(N, F)`` before fitting; all that is needed where only the last layer was fitted.
        classes: names in label order.
    """
    device = classifier.head.weight.device
    if config.mode == "head":
        predicted = classifier.head(pooled.to(device)).argmax(1).cpu()
    else:
        groups = (range(start, min(start + config.batch, len(labels))) for start in range(0, len(labels), config.batch))
        predicted = torch.cat([classifier(to_tensor(squares(group), device)).argmax(1).cpu() for group in groups])
    by_class = class_accuracy(labels.tolist(), predicted.tolist(), tuple(classes))
    return 100 * int((predicted == labels).sum()) / len(labels), by_class


def probe_accuracy(harvest: Harvest, labels: Tensor, count: int, classes: int) -> float:
    """Return the percentage of the photos after the first ``count`` that a linear classifier, fitted on class tokens of the
    first, gives their label."""
    tokens = harvest.class_tokens(harvest.digests)
    probe = LinearProbe(tokens.shape[1], classes)
    probe.fit(tokens[:count], labels[:count])
    with torch.no_grad():
        return 100 * float((probe(tokens[count:]).argmax(1) == labels[count:]).float().mean())
