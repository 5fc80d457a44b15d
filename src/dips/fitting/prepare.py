"""Everything before a localizer is chosen: weights, classifier, linear maps; for a U-Net also harvest and scored proposals.

In: the two parts of the data, settings and a store. Out: :class:`~dips.fitting.inputs.TrainingInputs` (paper 3.1, 3.2).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from dips.config import Config
from dips.data import require_trainable
from dips.data.gain import ReviewGain
from dips.data.images import ByteImage
from dips.data.labels import several_labels
from dips.data.scale import depth_of, depth_setting
from dips.errors import DataError
from dips.fitting.classify import class_targets, classifier_accuracy, fit_classifier, probe_accuracy
from dips.fitting.inputs import Proposals, TrainingInputs, labels_of, resolve_weights
from dips.fitting.maps import MapMaker
from dips.harvest.features import linear_maps, pooled_features, pooled_shelf
from dips.harvest.squares import SquareReader, read_square
from dips.harvest.store import Store, network_hash
from dips.harvest.views import choose_labels
from dips.models.backbones import Transformer, load_transformer
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMaps
from dips.system.console import counted, log
from dips.system.device import seed_everything
from dips.types import DataSet, Review, Sample, in_words

__all__ = ["prepare"]

_FEW = 20  # the accuracy on fewer photos is a rough guess


def prepare(
    train: DataSet,
    val: DataSet,
    *,
    blank: Sequence[Sample] = (),
    config: Config,
    store: Store,
    device: torch.device,
    given: Sequence[str] = (),
    ahead: Callable[[MapMaker, DataSet], None] | None = None,
) -> TrainingInputs:
    """Fit classifier and linear maps on the training part; if a U-Net is trained, harvest both parts and score proposals.

    Args:
        train, val: labelled photos, see :func:`dips.fitting.splits.read_splits`; reviewed photos of ``train`` are fitted on
            with their boxes.
        blank: photos that show no object, if there is no class for them; only linear maps are fitted on them.
        given: local weights, as for ``--weights``.
        ahead: called, if a U-Net is trained, before maps and proposals of the photos are made; those that it puts into the
            store are not made again.

    Raises:
        WeightsError: a network's weights are not found.
        DataError: too few photos can be read.
    """
    return _Preparation(train, val, blank, config, store, device, given, ahead).run()


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
        ahead: Callable[[MapMaker, DataSet], None] | None,
    ) -> None:
        self.ahead = ahead
        self.train, self.val, self.config, self.store, self.device = train, val, config, store, device
        self.blank = {sample.path for sample in blank}
        self.gain: ReviewGain | None = None
        self.weights = resolve_weights(config, given)
        seed_everything(config.train.seed)
        self.classifier = Classifier.from_weights(self.weights["classifier"], len(train.classes))
        # only a CNN that is trained itself needs photos again and again
        side = config.classifier.size if config.classifier.mode == "full" else None
        self.depth = depth_of([sample.path for sample in train.samples], depth_setting(config.data))
        self.reader = SquareReader((*train.samples, *val.samples, *blank), store, side, depth=self.depth)
        learned = {sample.path for sample in (*train.samples, *blank)}
        reviewed = {
            digest: sample
            for sample, digest in zip(self.reader.samples, self.reader.digests, strict=True)
            if sample.reviewed and sample.path in learned
        }
        self.reviews = {digest: Review(sample.fractions, sample.outlines) for digest, sample in reviewed.items()}
        self.pooled = pooled_shelf(store, self.weights["classifier"], config.classifier.size, self.depth)
        self.tiled = any(sample.window is not None for sample in (*train.samples, *val.samples))

    def run(self) -> TrainingInputs:
        """Run all steps, see :func:`prepare`."""
        config, started = self.config, time.perf_counter()
        linear = None
        if config.harvest.refine == "dataset" and config.classifier.mode == "head" and not self.tiled:
            linear, self.gain = self._linear_maps()  # its photos pass through the CNN only here
        seconds = time.perf_counter() - started
        pooled = self._pooled_features()  # of both parts, the training part first
        if self.tiled:
            pooled = self._choose_tiles(pooled)
        labels, count = labels_of(self.samples), len(self.train)
        fit_classifier(
            self.classifier,
            pooled[:count],
            class_targets(self.train.samples, len(self.train.classes)),
            squares=self._squares,
            config=config.classifier,
            seed=config.train.seed,
            device=self.device,
        )
        plain, by_class = classifier_accuracy(
            self.classifier,
            pooled[count:],
            self.val,
            squares=lambda positions: self._squares([count + i for i in positions]),
            config=config.classifier,
        )
        accuracy = {"classifier": plain}
        started = time.perf_counter()
        if config.harvest.refine == "dataset" and linear is None:
            linear, self.gain = self._linear_maps()
        if self.gain is not None:
            log(f"review: {self.gain.words()}")
        proposals = None
        if config.train.epochs:
            proposals = self._proposals(linear, labels)
            accuracy["linear_probe"] = probe_accuracy(proposals.harvest, self.train, self.val)
        seconds += time.perf_counter() - started
        parts = [f"{in_words(name)} {value:.1f}%" for name, value in accuracy.items()]
        number = len(labels) - count
        unit = "tile" if self.tiled else "photo"
        few = f" of {counted(number, unit)}: a rough guess" if number < _FEW else ""
        several = any(sample.others for sample in self.val.samples)
        rule = f"; any label of a {unit} is right" if several else ""
        strict = f"; here each label of a {unit} counts" if several else ""
        log(f"validation accuracy: {', '.join(parts)}{few}{rule} ({by_class.words(unit)}{strict})")
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
            tuple(sorted({self.reader.files[digest] for digest in self.reviews})),
            self.gain,
        )

    @cached_property
    def transformer(self) -> Transformer:
        """The transformer, loaded at first use."""
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
        """Fit the linear maps and return the gain from reviewed photos; nothing is fitted on the validation part."""
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
            several=several,
            reviews=self.reviews,
            config=self.config.harvest,
            store=self.store,
            shelf=self.pooled if self.config.classifier.mode == "head" else None,
            device=self.device,
        )

    def _pooled_features(self) -> Tensor:
        """Return the pooled features ``(N, F)`` of both parts, which from here on contain readable photos only."""
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
        """Keep the tiles whose labels are known, and return their pooled features ``(N, F)``."""
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

    def _squares(self, positions: Sequence[int]) -> list[ByteImage]:
        """Return stored photos as squares ``(S, S, 3)``, S = ``classifier.size``."""
        assert self.reader.squares is not None
        return [read_square(self.reader.squares, self.digests[i]) for i in positions]

    def _proposals(self, linear: LinearMaps | None, labels: Tensor) -> Proposals:
        """Harvest both parts at once, the training part first, and score the proposals."""
        config, count = self.config, len(self.train)
        if mixed := several_labels(self.samples):
            log(f"{counted(mixed, 'photo', 'has')} several labels: the U-Net, which knows one for each photo, takes the first")
        names = self._names()
        if linear is not None:
            names["linear"] = network_hash(linear)
            names["classifier"] = network_hash(self.classifier)  # its probabilities weight the classes' maps
        maker = MapMaker(
            config,
            self.classifier,
            linear,
            self.train.background,
            names,
            self.depth,
            self.store,
            self.device,
            self._frozen,
        )
        both = dataclasses.replace(self.train, samples=self.train.samples + self.val.samples)
        if self.ahead is not None:
            self.ahead(maker, both)
        harvest = maker.harvest(both)
        train = maker.score(harvest, range(count), labels[:count].tolist(), self.reviews)
        return Proposals(harvest, train, maker.score(harvest, range(count, len(labels)), labels[count:].tolist(), self.reviews))


def _object_label(label: int | None, background: int | None) -> int:
    """Return the label among the object classes, -1 if there is no object."""
    if label is None or label == background:
        return -1
    return label - 1 if background is not None and label > background else label
