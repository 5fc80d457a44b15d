"""Everything before the localizer: weights, harvest, classifier, scored proposals (paper 3.1, 3.2)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dips.config import Config
from dips.data import require_trainable
from dips.data.images import ByteImage
from dips.errors import DataError
from dips.harvest.features import pooled_features, squares_batch
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.items import Items, harvest_items
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.classifier import Classifier, LinearProbe
from dips.models.weights.resolve import Weights, resolve
from dips.system.console import log
from dips.system.device import seed_everything
from dips.types import DataSet, FloatArray

__all__ = ["TrainingInputs", "prepare"]


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that training needs and does not change.

    Attributes:
        train, val: the data, without unreadable photos.
        harvested: maps of both; positions of ``train`` first.
        classifier: fitted and frozen.
        accuracy: percent right on ``val``: ``classifier``, and ``linear_probe`` of the transformer's class tokens.
        weights: of transformer and CNNs.
        items, val_items: scored proposals.
    """

    train: DataSet
    val: DataSet
    harvested: Harvest
    classifier: Classifier
    accuracy: dict[str, float]
    weights: dict[str, Weights]
    items: Items
    val_items: Items

    @property
    def origin(self) -> str:
        """Sixteen hex digits that stand for photos, labels, maps and weights: what a resumed training must share."""
        labels = ",".join(str(_label(s.label)) for s in (*self.train.samples, *self.val.samples))
        weights = [item.sha256 for item in self.weights.values()]
        parts = [str(len(self.train)), labels, self.harvested.maps.folder.name, *weights, *self.harvested.digests]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def val_square(self, position: int) -> ByteImage:
        """The ``position``-th validation photo as a square."""
        return self.harvested.square(self.harvested.digests[len(self.train) + position])

    def val_linear(self, position: int) -> FloatArray:
        """Its linear map; only with ``harvest.refine=dataset``."""
        found = self.harvested.linear(self.harvested.digests[len(self.train) + position])
        assert found is not None
        return found


def prepare(
    train: DataSet, val: DataSet, *, config: Config, store: Store, device: torch.device, given: Sequence[str] = ()
) -> TrainingInputs:
    """Harvest both parts, fit the classifier on the training part, score the proposals.

    Args:
        given: local weights, as of ``--weights``.

    Raises:
        WeightsError: a network's weights are not here.
        DataError: too few photos can be read.
    """
    sst = resolve(config.harvest.sst, role="transformer", given=given)
    cnn = resolve(config.classifier.arch, role="cnn", given=given)
    same = config.localizer.encoder == config.classifier.arch
    encoder = cnn if same else resolve(config.localizer.encoder, role="cnn", given=given)
    weights = {"transformer": sst, "classifier": cnn, "encoder": encoder}
    for role, item in weights.items():
        log(f"weights of the {role}: {item.line()}")

    both = dataclasses.replace(train, samples=train.samples + val.samples)
    harvest = Harvester(config.harvest, config.train.resize, store, sst, lambda: load_transformer(sst), device)
    harvested = harvest.run(both, held_out={sample.path for sample in val.samples})
    readable = {sample.path for sample in harvested.samples}
    train = dataclasses.replace(train, samples=tuple(s for s in train.samples if s.path in readable))
    val = dataclasses.replace(val, samples=tuple(s for s in val.samples if s.path in readable))
    require_trainable(train)
    if not len(val):
        raise DataError(f"no validation photo in {val.root} can be read; 'dips check' names what is wrong with them")

    classifier = _classifier(config, cnn, harvested, train, store, device)
    accuracy = _accuracies(classifier, config, harvested, train, val, device)
    log("validation accuracy: " + ", ".join(f"{name} {value:.1f}%" for name, value in accuracy.items()))

    count = len(train)
    arguments: dict[str, Any] = {
        "config": config.harvest,
        "side": config.classifier.size,
        "store": store,
        "background": train.background,
        "device": device,
    }
    labels = [_label(s.label) for s in harvested.samples]
    items = harvest_items(harvested, range(count), labels[:count], classifier, **arguments)
    val_items = harvest_items(harvested, range(count, len(labels)), labels[count:], classifier, **arguments)
    return TrainingInputs(train, val, harvested, classifier, accuracy, weights, items, val_items)


def _label(label: int | None) -> int:
    assert label is not None  # read_splits left labelled photos only
    return label


def _classifier(
    config: Config, weights: Weights, harvested: Harvest, train: DataSet, store: Store, device: torch.device
) -> Classifier:
    """Fit the CNN to the folder's labels and freeze it (paper 3.2)."""
    seed_everything(config.train.seed)
    classifier = Classifier.from_weights(weights, len(train.classes))
    side, count = config.classifier.size, len(train)
    labels = torch.tensor([_label(s.label) for s in train.samples])
    features = pooled_features(classifier, weights, harvested, store, side, device)[:count]
    classifier.to("cpu").fit_head(features, labels)
    if config.classifier.mode == "full":
        log(f"classifier: fine-tuning all layers for {config.classifier.epochs} epochs")
        digests = harvested.digests[:count]

        def batches(epoch: int) -> Any:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(config.train.seed * 1009 + epoch)).tolist()
            steps = -(-count // config.classifier.batch)  # of nearly equal size: a batch of one is none for a batch norm
            for step in range(steps):
                part = order[step * count // steps : (step + 1) * count // steps]
                images = squares_batch(harvested, [digests[i] for i in part], side, device)
                yield (images.flip(-1) if (epoch + step) % 2 else images), labels[part]

        classifier.fit_full(batches, epochs=config.classifier.epochs, lr=config.classifier.lr, device=device)
    return classifier.to(device).freeze()


@torch.no_grad()
def _accuracies(
    classifier: Classifier, config: Config, harvested: Harvest, train: DataSet, val: DataSet, device: torch.device
) -> dict[str, float]:
    labels = torch.tensor([_label(s.label) for s in harvested.samples])
    count, total = len(train), len(labels)
    right = 0
    for start in range(count, total, 32):
        images = squares_batch(harvested, harvested.digests[start : min(start + 32, total)], config.classifier.size, device)
        right += int((classifier(images).argmax(1).cpu() == labels[start : start + 32]).sum())
    tokens = harvested.class_tokens(harvested.digests)
    probe = LinearProbe(tokens.shape[1], len(train.classes))
    with torch.enable_grad():
        probe.fit(tokens[:count], labels[:count])
    linear = (probe(tokens[count:]).argmax(1) == labels[count:]).float().mean()
    return {"classifier": 100 * right / (total - count), "linear_probe": 100 * float(linear)}
