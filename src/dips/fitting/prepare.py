"""Everything before a localizer is chosen: weights, classifier, linear maps; for a U-Net harvest and scored proposals, too.

In: the two parts of the data, settings and a store. Out: :class:`TrainingInputs` (paper 3.1, 3.2).
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from dips.config import Config
from dips.data import require_trainable
from dips.data.classes import ClassAccuracy, class_accuracy
from dips.data.depth import Depth
from dips.data.gain import ReviewGain
from dips.data.images import ByteImage
from dips.data.listing import several_labels
from dips.data.scale import depth_of, depth_setting
from dips.errors import DataError
from dips.harvest.features import linear_maps, pooled_features, pooled_shelf
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.scored_photos import ScoredPhotos, score_photos
from dips.harvest.squares import SquareReader, read_square
from dips.harvest.store import Store, network_hash
from dips.harvest.views import choose_labels
from dips.models.backbones import Transformer, load_transformer
from dips.models.classifier import Classifier, LinearProbe, balance_classes
from dips.models.frozen import FrozenNetworks, Look
from dips.models.inputs import to_tensor
from dips.models.linear_map import LinearMaps
from dips.models.networks import Networks
from dips.models.weights.resolve import Weights, resolve
from dips.system.console import counted, log
from dips.system.device import seed_everything
from dips.types import DataSet, Problem, Sample, in_words

__all__ = ["Proposals", "TrainingInputs", "prepare"]

_FEW = 20  # the accuracy on fewer photos is a rough guess


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
        accuracy: percent right on ``val``: of the ``classifier``, and, where the transformer saw all photos, of a
            ``linear_probe`` on its class tokens. A photo with several labels is right with one of them.
        class_accuracy: the classifier's where each class counts the same.
        weights: of transformer and CNNs.
        seconds: what linear maps and harvest took.
        frozen: returns the fitted classifier's CNN with the transformer, which is loaded once.
        depth: how the photos' values of more than 8 bits were brought to 8.
        reviewed: digests of the reviewed photos that were fitted on.
        gain: what these brought, tried on each other; None where they are too few.
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
        """Sixteen hex digits that identify photos, labels, maps and weights: a resumed training must have the same."""
        labels = ",".join("|".join(map(str, sample.labels)) for sample in (*self.train.samples, *self.val.samples))
        weights = [item.sha256 for item in self.weights.values()]
        maps = "" if self.proposals is None else self.proposals.harvest.maps.folder.name
        parts = [str(len(self.train)), labels, maps, *weights, *self.digests]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def val_square(self, position: int) -> ByteImage:
        """Return the ``position``-th validation photo as a square ``(S, S, 3) uint8`` RGB, S = ``train.resize``.

        Only where a U-Net is trained.
        """
        assert self.proposals is not None
        return self.proposals.harvest.square(self.digests[len(self.train) + position])


def prepare(
    train: DataSet,
    val: DataSet,
    *,
    blank: Sequence[Sample] = (),
    config: Config,
    store: Store,
    device: torch.device,
    given: Sequence[str] = (),
) -> TrainingInputs:
    """Fit classifier and linear maps on the training part; where a U-Net is trained, harvest both parts and score proposals.

    Args:
        train, val: labelled photos, see :func:`dips.fitting.splits.read_splits`; of ``train``, reviewed ones are fitted on with
            their boxes.
        blank: photos that show no object, where no class is for such; only linear maps are fitted on them.
        given: local weights, as of ``--weights``.

    Raises:
        WeightsError: a network's weights are not here.
        DataError: too few photos can be read.
    """
    return _Preparation(train, val, blank, config, store, device, given).run()


class _Preparation:
    """The steps of :func:`prepare`, and what they share."""

    def __init__(
        self,
        train: DataSet,
        val: DataSet,
        blank: Sequence[Sample],
        config: Config,
        store: Store,
        device: torch.device,
        given: Sequence[str],
    ) -> None:
        self.train, self.val, self.config, self.store, self.device = train, val, config, store, device
        self.blank = {sample.path for sample in blank}
        self.gain: ReviewGain | None = None
        self.weights = _resolve_weights(config, given)
        seed_everything(config.train.seed)
        self.classifier = Classifier.from_weights(self.weights["classifier"], len(train.classes))
        # only a CNN that is trained itself needs photos again and again
        side = config.classifier.size if config.classifier.mode == "full" else None
        self.depth = depth_of([sample.path for sample in train.samples], depth_setting(config.data))
        self.reader = SquareReader((*train.samples, *val.samples, *blank), store, side, depth=self.depth)
        learned = {sample.path for sample in (*train.samples, *blank)}
        self.boxes = {
            digest: sample.fractions
            for sample, digest in zip(self.reader.samples, self.reader.digests, strict=True)
            if sample.reviewed and sample.path in learned
        }
        self.box_labels = {
            digest: tuple(_object_label(label, train.background) for label in sample.box_labels)
            for sample, digest in zip(self.reader.samples, self.reader.digests, strict=True)
            if digest in self.boxes and sample.box_labels
        }
        self.pooled = pooled_shelf(store, self.weights["classifier"], config.classifier.size, self.depth)
        self.tiled = any(sample.window is not None for sample in train.samples)

    def run(self) -> TrainingInputs:
        """Do what ``prepare`` says."""
        config, started = self.config, time.perf_counter()
        linear = None
        if config.harvest.refine == "dataset" and config.classifier.mode == "head" and not self.tiled:
            linear, self.gain = self._linear_maps()  # its photos pass the CNN here and nowhere else
        seconds = time.perf_counter() - started
        pooled = self._pooled_features()  # of both parts, the training part first
        if self.tiled:
            pooled = self._choose_tiles(pooled)
        labels, count = _labels(self.samples), len(self.train)
        self._fit_classifier(pooled[:count], class_targets(self.train.samples, len(self.train.classes)))
        plain, by_class = self._classifier_accuracy(pooled[count:])
        accuracy = {"classifier": plain}
        started = time.perf_counter()
        if config.harvest.refine == "dataset" and linear is None:
            linear, self.gain = self._linear_maps()
        if self.gain is not None:
            log(self.gain.words())
        proposals = None
        if config.train.epochs:
            proposals = self._proposals(linear, labels)
            accuracy["linear_probe"] = _probe_accuracy(proposals.harvest, self.train, self.val)
        seconds += time.perf_counter() - started
        parts = [f"{in_words(name)} {value:.1f}%" for name, value in accuracy.items()]
        number = len(labels) - count
        few = f" of {counted(number, 'photo')}: a rough guess" if number < _FEW else ""
        log(f"validation accuracy: {', '.join(parts)}{few} ({by_class.words()})")
        return TrainingInputs(
            self.train,
            self.val,
            self.digests,
            self.problems,
            self.classifier,
            linear,
            proposals,
            accuracy,
            by_class,
            self.weights,
            seconds,
            self._frozen,
            self.depth,
            tuple(sorted({self.reader.files[digest] for digest in self.boxes})),
            self.gain,
        )

    @cached_property
    def transformer(self) -> Transformer:
        """Loaded at first use."""
        return load_transformer(self.weights["transformer"])

    def _frozen(self) -> FrozenNetworks:
        config = self.config
        return FrozenNetworks(
            self.classifier, side=config.classifier.size, transformer=self.transformer, key_sides=config.harvest.sizes
        )

    def _names(self) -> dict[str, str]:
        """Return what features depend on, by name."""
        weights = {role: f"{self.weights[role].arch} {self.weights[role].sha256}" for role in ("transformer", "classifier")}
        if self.config.classifier.mode == "full":
            weights["classifier"] = network_hash(self.classifier.body)
        sides = {"side": str(self.config.classifier.size), "key_sides": str(self.config.harvest.sizes)}
        return {**weights, **sides, "depth": self.depth.key}

    def _linear_maps(self) -> tuple[LinearMaps, ReviewGain | None]:
        """Fit the linear maps, and tell what reviewed photos bring; nothing is fitted on the validation part."""
        held_out = {sample.path for sample in self.val.samples}
        labels: dict[str, int] = {}
        several: dict[str, tuple[int, ...]] = {}
        chosen = (self.samples, self.digests) if self.tiled else (self.reader.samples, self.reader.digests)
        for sample, digest in zip(*chosen, strict=True):
            if sample.path in held_out:
                continue
            # a photo that lies in the folders of two classes shows an object if either says so
            if labels.get(digest, -1) < 0:
                labels[digest] = _object_label(sample.label, self.train.background)
                if sample.others:
                    several[digest] = tuple(_object_label(label, self.train.background) for label in sample.labels)
        return linear_maps(
            self.reader,
            labels,
            load=self._frozen,
            names=self._names(),
            classes=len(self.train.classes) - (self.train.background is not None),
            boxes=self.boxes,
            several=several,
            box_labels=self.box_labels,
            config=self.config.harvest,
            store=self.store,
            shelf=self.pooled if self.config.classifier.mode == "head" else None,
            device=self.device,
        )

    def _pooled_features(self) -> Tensor:
        """Return the pooled features ``(N, F)`` of both parts; from here on they hold readable photos only."""
        frozen = FrozenNetworks(self.classifier, side=self.config.classifier.size)
        pooled = pooled_features(frozen, self.reader, self.pooled, batch=self.config.harvest.batch, device=self.device)
        self.reader.fill(batch=self.config.harvest.batch)
        samples, digests, self.problems = self.reader.readable()
        count = sum(sample.path not in self.blank for sample in samples)  # the blank ones come last
        self.samples, self.digests = samples[:count], digests[:count]
        paths = {sample.path for sample in self.samples}
        self.train, self.val = (
            dataclasses.replace(
                part,
                samples=tuple(sample for sample in part.samples if sample.path in paths),
                problems=(*self.problems, *part.problems),  # an error names the first ones
            )
            for part in (self.train, self.val)
        )
        require_trainable(self.train)
        if not len(self.val):
            raise DataError(f"no validation photo in {self.val.root} can be read; 'dips check' names what is wrong with them")
        return pooled[:count]

    def _choose_tiles(self, pooled: Tensor) -> Tensor:
        """Keep the tiles that show what their photos are labelled with, and return their pooled features ``(N, F)``."""
        assert self.train.background is not None
        samples, count = self.samples, len(self.train)
        labels = choose_labels(pooled, samples, count, background=self.train.background, classes=len(self.train.classes))
        kept = {i: own for i, own in enumerate(labels) if own is not None}
        self.samples = tuple(
            dataclasses.replace(samples[i], label=first, others=tuple(others)) for i, (first, *others) in kept.items()
        )
        self.digests = tuple(self.digests[i] for i in kept)
        here = sum(i < count for i in kept)
        self.train = dataclasses.replace(self.train, samples=self.samples[:here])
        self.val = dataclasses.replace(self.val, samples=self.samples[here:])
        shown = sum(sample.label != self.train.background for sample in self.samples)
        log(
            f"tiles: {shown} are taken to show what their photos are labelled with, {len(kept) - shown} show no object, "
            f"{len(samples) - len(kept)} are left out"
        )
        return pooled[list(kept)]

    def _batch(self, digests: Sequence[str]) -> Tensor:
        """Return stored photos as a batch ``(B, 3, S, S)`` in [0, 1], S = ``classifier.size``."""
        assert self.reader.squares is not None
        return to_tensor([read_square(self.reader.squares, digest) for digest in digests], self.device)

    def _fit_classifier(self, pooled: Tensor, labels: Tensor) -> None:
        """Fit the CNN to the first N photos, and freeze it.

        Args:
            pooled: their features ``(N, F)``.
            labels: as :func:`class_targets` returns them.
        """
        settings, count = self.config.classifier, len(labels)
        self.classifier.to("cpu").fit_head(pooled, labels)
        if settings.mode == "full":
            log(f"classifier: fine-tuning all layers for {counted(settings.epochs, 'epoch')}")

            def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
                generator = torch.Generator().manual_seed(self.config.train.seed * 1009 + epoch)
                order = torch.randperm(count, generator=generator).tolist()
                steps = -(-count // settings.batch)  # of nearly equal size: a batch of one is none for a batch norm
                for step in range(steps):
                    part = order[step * count // steps : (step + 1) * count // steps]
                    images = self._batch([self.digests[i] for i in part])
                    yield (images.flip(-1) if (epoch + step) % 2 else images), labels[part]

            self.classifier.fit_full(batches, epochs=settings.epochs, lr=settings.lr, device=self.device)
        balance_classes(self.classifier.head, labels, settings.balance)
        self.classifier.to(self.device).freeze()

    @torch.no_grad()
    def _classifier_accuracy(self, pooled: Tensor) -> tuple[float, ClassAccuracy]:
        """Return the percentage of the N validation photos that the classifier gives one of their labels, and that by classes.

        Args:
            pooled: their features ``(N, F)`` before fitting; all that is needed where only the last layer was fitted.
        """
        if self.config.classifier.mode == "head":
            logits = self.classifier.head(pooled.to(self.device)).cpu()
        else:
            digests, step = self.digests[-len(self.val) :], self.config.classifier.batch
            groups = (digests[start : start + step] for start in range(0, len(digests), step))
            logits = torch.cat([self.classifier(self._batch(group)).cpu() for group in groups])
        return _judged(logits, self.val, self.train.classes)

    def _refined(self, linear: LinearMaps, look: Look) -> Tensor:
        """Return the accurate score maps ``(B, h, w)`` in [0, 1] of what CNN and transformer look at, once."""
        networks = Networks.of_mode(
            "accurate",
            look.networks,
            settings=dataclasses.replace(self.config.predict, unet_share=0.0, second_look=0, flip=False),
            device=self.device,
            background=self.train.background,
            linear=linear,
            localizer=None,
        )
        return networks.judge(look)[0]

    def _proposals(self, linear: LinearMaps | None, labels: Tensor) -> Proposals:
        """Harvest both parts at once, the training part first, and score the proposals."""
        config, count = self.config, len(self.train)
        if mixed := several_labels(self.samples):
            log(f"{counted(mixed, 'photo', 'has')} several labels: the U-Net, which knows one for each photo, takes the first")
        names = self._names()
        if linear is not None:
            names["linear"] = network_hash(linear)
            names["classifier"] = network_hash(self.classifier)  # its probabilities weigh the classes' maps

        refined = None if linear is None else partial(self._refined, linear)
        both = dataclasses.replace(self.train, samples=self.train.samples + self.val.samples)
        side = max(config.classifier.size, *config.harvest.sizes)
        harvester = Harvester(
            config.harvest, config.train.resize, side, self.store, names, self._frozen, self.device, refined, self.depth
        )
        harvest = harvester.run(both)
        score = partial(
            score_photos,
            harvest,
            classifier=self.classifier,
            config=config.harvest,
            side=config.classifier.size,
            store=self.store,
            background=self.train.background,
            boxes=self.boxes,
            device=self.device,
        )
        return Proposals(
            harvest, score(range(count), labels[:count].tolist()), score(range(count, len(labels)), labels[count:].tolist())
        )


def _resolve_weights(config: Config, given: Sequence[str]) -> dict[str, Weights]:
    """Find the pretrained weights of every network, by its role; an encoder that equals the classifier shares its own."""
    transformer = resolve(config.harvest.sst, role="transformer", given=given)
    classifier = resolve(config.classifier.arch, role="cnn", given=given)
    weights = {"transformer": transformer, "classifier": classifier}
    if config.train.epochs:
        same = config.localizer.encoder == config.classifier.arch
        weights["encoder"] = classifier if same else resolve(config.localizer.encoder, role="cnn", given=given)
    for role, item in weights.items():
        log(f"weights of the {role}: {item.line()}")
    return weights


def _object_label(label: int | None, background: int | None) -> int:
    """Return the label among the object classes, -1 where no object is."""
    if label is None or label == background:
        return -1
    return label - 1 if background is not None and label > background else label


def _labels(samples: Sequence[Sample]) -> Tensor:
    """Return the labels ``(N,) int64`` of photos that all have one."""
    labels = [sample.label for sample in samples]
    assert None not in labels
    return torch.tensor(labels)


def class_targets(samples: Sequence[Sample], classes: int) -> Tensor:
    """Return what a softmax learns of photos: their labels ``(N,) int64``, or, where some have several, the probabilities
    ``(N, classes)`` of classes, the same for each of a photo's labels."""
    if not several_labels(samples):
        return _labels(samples)
    targets = torch.zeros(len(samples), classes)
    for row, sample in zip(targets, samples, strict=True):
        row[list(sample.labels)] = 1 / len(sample.labels)
    return targets


def _judged(logits: Tensor, photos: DataSet, classes: Sequence[str]) -> tuple[float, ClassAccuracy]:
    """Return the percentage of photos, of logits ``(N, C)``, whose likeliest class is one of their labels, and that by classes:
    there each of L labels is found if it is among the L likeliest."""
    predicted = logits.argmax(1).tolist()
    right, pairs = 0, list[tuple[int, int]]()
    for row, sample, first in zip(logits, photos.samples, predicted, strict=True):
        right += first in sample.labels
        found = row.topk(len(sample.labels)).indices.tolist() if sample.others else [first]
        pairs += [(label, label if label in found else first) for label in sample.labels]
    own, others = zip(*pairs, strict=True)
    return 100 * right / len(predicted), class_accuracy(own, others, classes)


def _probe_accuracy(harvest: Harvest, train: DataSet, val: DataSet) -> float:
    """Return the percentage of the photos of ``val`` that get one of their labels from a linear classifier, fitted on the class
    tokens of ``train``."""
    tokens, count = harvest.class_tokens(harvest.digests), len(train)
    probe = LinearProbe(tokens.shape[1], len(train.classes))
    probe.fit(tokens[:count], class_targets(train.samples, len(train.classes)))
    with torch.no_grad():
        return _judged(probe(tokens[count:]), val, train.classes)[0]
