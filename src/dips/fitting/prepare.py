"""Everything before the localizer: weights, harvest, classifier, scored proposals (paper 3.1, 3.2)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dips.config import Config
from dips.data import require_trainable
from dips.data.images import ByteImage
from dips.errors import DataError
from dips.harvest.features import pooled_features
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.scored_photos import ScoredPhotos, score_photos
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.classifier import Classifier, LinearProbe
from dips.models.weights.resolve import Weights, resolve
from dips.system.console import log
from dips.system.device import seed_everything
from dips.types import DataSet, FloatArray, Sample

__all__ = ["TrainingInputs", "prepare"]

_BATCH = 32


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that training needs and does not change.

    Attributes:
        train, val: the data, without unreadable photos.
        harvest: squares and maps of both, ``train`` first.
        classifier: fitted and frozen.
        accuracy: percent right on ``val``: of the ``classifier``, and of a ``linear_probe`` on the transformer's class tokens.
        weights: of transformer and CNNs.
        items, val_items: scored proposals.
    """

    train: DataSet
    val: DataSet
    harvest: Harvest
    classifier: Classifier
    accuracy: dict[str, float]
    weights: dict[str, Weights]
    items: ScoredPhotos
    val_items: ScoredPhotos

    @property
    def origin(self) -> str:
        """Sixteen hex digits that identify photos, labels, maps and weights: a resumed training must have the same."""
        labels = ",".join(map(str, _labels((*self.train.samples, *self.val.samples)).tolist()))
        weights = [item.sha256 for item in self.weights.values()]
        parts = [str(len(self.train)), labels, self.harvest.maps.folder.name, *weights, *self.harvest.digests]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def val_square(self, position: int) -> ByteImage:
        """Return the ``position``-th validation photo as a square ``(S, S, 3) uint8`` RGB, S = ``train.resize``."""
        return self.harvest.square(self.harvest.digests[len(self.train) + position])

    def val_linear(self, position: int) -> FloatArray:
        """Return its linear map ``(h, w) float32`` in [0, 1]; only with ``harvest.refine=dataset``."""
        linear = self.harvest.linear(self.harvest.digests[len(self.train) + position])
        assert linear is not None
        return linear


def prepare(
    train: DataSet, val: DataSet, *, config: Config, store: Store, device: torch.device, given: Sequence[str] = ()
) -> TrainingInputs:
    """Harvest both parts, fit the classifier on the training part, score the proposals.

    Args:
        train, val: labelled photos, see :func:`dips.fitting.splits.read_splits`.
        given: local weights, as of ``--weights``.

    Raises:
        WeightsError: a network's weights are not here.
        DataError: too few photos can be read.
    """
    weights = _resolve_weights(config, given)
    harvest = _harvest(train, val, config, weights["transformer"], store, device)
    train, val = _readable(train, harvest), _readable(val, harvest)
    require_trainable(train)
    if not len(val):
        raise DataError(f"no validation photo in {val.root} can be read; 'dips check' names what is wrong with them")
    labels, count = _labels(harvest.samples), len(train)

    seed_everything(config.train.seed)
    classifier = Classifier.from_weights(weights["classifier"], len(train.classes))
    pooled = pooled_features(classifier, weights["classifier"], harvest, store, config.classifier.size, device)
    _fit_classifier(classifier, config, harvest, pooled[:count], labels[:count], device)
    accuracy = {
        "classifier": _classifier_accuracy(classifier, config, harvest, pooled[count:], labels[count:], device),
        "linear_probe": _probe_accuracy(harvest, labels, count, len(train.classes)),
    }
    log("validation accuracy: " + ", ".join(f"{name} {value:.1f}%" for name, value in accuracy.items()))

    score = partial(
        score_photos,
        harvest,
        classifier=classifier,
        config=config.harvest,
        side=config.classifier.size,
        store=store,
        background=train.background,
        device=device,
    )
    items = score(range(count), labels[:count].tolist())
    val_items = score(range(count, len(labels)), labels[count:].tolist())
    return TrainingInputs(train, val, harvest, classifier, accuracy, weights, items, val_items)


def _resolve_weights(config: Config, given: Sequence[str]) -> dict[str, Weights]:
    """Find the pretrained weights of every network, by its role; an encoder that equals the classifier shares its own."""
    transformer = resolve(config.harvest.sst, role="transformer", given=given)
    classifier = resolve(config.classifier.arch, role="cnn", given=given)
    same = config.localizer.encoder == config.classifier.arch
    encoder = classifier if same else resolve(config.localizer.encoder, role="cnn", given=given)
    weights = {"transformer": transformer, "classifier": classifier, "encoder": encoder}
    for role, item in weights.items():
        log(f"weights of the {role}: {item.line()}")
    return weights


def _harvest(train: DataSet, val: DataSet, config: Config, weights: Weights, store: Store, device: torch.device) -> Harvest:
    """Harvest both parts at once, the training part first; nothing is fitted on the validation part."""
    both = dataclasses.replace(train, samples=train.samples + val.samples)
    harvester = Harvester(config.harvest, config.train.resize, store, weights, lambda: load_transformer(weights), device)
    return harvester.run(both, held_out={sample.path for sample in val.samples})


def _readable(part: DataSet, harvest: Harvest) -> DataSet:
    paths = {sample.path for sample in harvest.samples}
    return dataclasses.replace(part, samples=tuple(sample for sample in part.samples if sample.path in paths))


def _labels(samples: Sequence[Sample]) -> Tensor:
    """Return the labels ``(N,) int64`` of photos that all have one."""
    labels = [sample.label for sample in samples]
    assert None not in labels
    return torch.tensor(labels)


def _fit_classifier(
    classifier: Classifier,
    config: Config,
    harvest: Harvest,
    pooled: Tensor,
    labels: Tensor,
    device: torch.device,
) -> None:
    """Fit the CNN to the labels ``(N,)`` of the first N photos, whose pooled features ``(N, F)`` are known, and freeze it."""
    settings, count = config.classifier, len(labels)
    classifier.to("cpu").fit_head(pooled, labels)
    if settings.mode == "full":
        log(f"classifier: fine-tuning all layers for {settings.epochs} epochs")

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(config.train.seed * 1009 + epoch)).tolist()
            steps = -(-count // settings.batch)  # of nearly equal size: a batch of one is none for a batch norm
            for step in range(steps):
                part = order[step * count // steps : (step + 1) * count // steps]
                images = harvest.batch([harvest.digests[i] for i in part], settings.size, device)
                yield (images.flip(-1) if (epoch + step) % 2 else images), labels[part]

        classifier.fit_full(batches, epochs=settings.epochs, lr=settings.lr, device=device)
    classifier.to(device).freeze()


@torch.no_grad()
def _classifier_accuracy(
    classifier: Classifier, config: Config, harvest: Harvest, pooled: Tensor, labels: Tensor, device: torch.device
) -> float:
    """Return the percentage of the last N photos that the classifier gives their label ``(N,)``.

    Args:
        pooled: their features ``(N, F)`` before fitting; all that is needed where only the last layer was fitted.
    """
    if config.classifier.mode == "head":
        predicted = classifier.head(pooled.to(device)).argmax(1).cpu()
    else:
        digests = harvest.digests[-len(labels) :]
        groups = (digests[start : start + _BATCH] for start in range(0, len(digests), _BATCH))
        batches = (harvest.batch(group, config.classifier.size, device) for group in groups)
        predicted = torch.cat([classifier(images).argmax(1).cpu() for images in batches])
    return 100 * int((predicted == labels).sum()) / len(labels)


def _probe_accuracy(harvest: Harvest, labels: Tensor, count: int, classes: int) -> float:
    """Return the percentage of the photos after the first ``count`` that a linear classifier, fitted on class tokens of the
    first, gives their label."""
    tokens = harvest.class_tokens(harvest.digests)
    probe = LinearProbe(tokens.shape[1], classes)
    probe.fit(tokens[:count], labels[:count])
    with torch.no_grad():
        return 100 * float((probe(tokens[count:]).argmax(1) == labels[count:]).float().mean())
