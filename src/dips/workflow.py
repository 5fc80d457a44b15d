"""The steps of a training, in order: data, weights, harvest, classifier, proposals, localizer, threshold (paper 3, figure 2).

In: a data set and settings. Out: :class:`Trained`. :mod:`dips.fitting` writes it into a run folder; the ablation in ``bench/``
calls the same steps without one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from dips.config import Config
from dips.data import align_classes, load_data, require_trainable, split_validation
from dips.data.images import ByteImage, resize_image
from dips.data.load import available_splits
from dips.errors import ConfigError, DataError
from dips.evaluate.boxes import boxes_at_thresholds, tau_grid
from dips.evaluate.protocol import FRAMED
from dips.evaluate.result import BoxResult
from dips.evaluate.run import evaluate_maps
from dips.harvest.harvested import Harvested
from dips.harvest.items import Items, harvest_items
from dips.harvest.maps import MapHarvest
from dips.harvest.store import Store
from dips.models.backbones import load_transformer
from dips.models.classifier import Classifier, LinearProbe
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.models.weights import Weights, resolve
from dips.runtime import log, seed_everything, track
from dips.train.loop import FitResult, fit_localizer
from dips.types import DataSet, FloatArray

__all__ = ["Prepared", "Trained", "prepare", "read_splits", "train"]

_FINE = 1000  # the protocol's
_COARSE = 101  # thresholds while training: a hundredth is fine enough to compare epochs


@dataclass(frozen=True)
class Prepared:
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
    harvested: Harvested
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


@dataclass(frozen=True)
class Trained:
    """A localizer with the threshold for it, and how both were chosen.

    Attributes:
        best_tau: thresholds chosen on validation, names as in :attr:`dips.evaluate.BoxResult.best_tau`.
        selection: how epoch and threshold were chosen, in words.
        label_free: no box had a part in it.
        validation: the chosen localizer's numbers on the validation part.
        seconds: of training, those before an interruption included.
    """

    localizer: Localizer
    fit: FitResult
    best_tau: dict[str, float]
    selection: str
    label_free: bool
    validation: dict[str, float]
    seconds: float


def read_splits(data: str | Path, config: Config) -> tuple[DataSet, DataSet]:
    """Training and validation photos of DATA; the latter cut from the former where there is no ``val``.

    Both have the training photos' classes; validation photos of other classes, or of none, are left out.

    Raises:
        DataError: the data cannot be trained on.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    dataset = require_trainable(load_data(data, background_class=config.data.background_class))
    splits = available_splits(data)
    if "val" in splits and "train" in splits:
        train, val = dataset, _labelled(load_data(data, split="val", background_class=""), dataset)
    else:
        seed = config.train.seed if config.data.val_seed < 0 else config.data.val_seed
        train, val = split_validation(dataset, share=config.data.val_share, seed=seed)
    _criterion(config, val)
    return train, val


def _labelled(val: DataSet, train: DataSet) -> DataSet:
    """The photos of ``val`` that have a class of ``train``, with its labels."""
    val = align_classes(val, train.classes, train.background)
    kept = tuple(sample for sample in val.samples if sample.label is not None)
    if not kept:
        raise DataError(f"{val.root}: no validation photo has a class; sort them into the folders of the training photos")
    if len(kept) < len(val):
        log(f"{len(val) - len(kept)} validation photos have no class of the training photos and are left out")
    return dataclasses.replace(val, samples=kept)


def _criterion(config: Config, val: DataSet) -> str:
    """``train.select_on`` with ``auto`` worked out."""
    wanted, shown = config.train.select_on, bool(_with_boxes(val))
    if wanted == "boxes" and not shown:
        raise ConfigError("train.select_on=boxes: no validation photo has a true box; set it to auto, proposals or last")
    return wanted if wanted != "auto" else "boxes" if shown else "proposals"


def _with_boxes(val: DataSet) -> list[int]:
    """Positions of the photos with at least one true box; others (none, or unknown) cannot be measured on."""
    return [i for i, sample in enumerate(val.samples) if sample.boxed]


def prepare(
    train: DataSet, val: DataSet, *, config: Config, store: Store, device: torch.device, given: Sequence[str] = ()
) -> Prepared:
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
    harvest = MapHarvest(config.harvest, config.train.resize, store, sst, lambda: load_transformer(sst), device)
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
    return Prepared(train, val, harvested, classifier, accuracy, weights, items, val_items)


def train(prepared: Prepared, *, config: Config, run: Path, fabric: Fabric, resume: bool = False) -> Trained:
    """Fit the localizer and choose epoch and threshold on the validation part.

    Args:
        run: folder for metrics and the state to resume from.

    Raises:
        RunError: the folder holds another run.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    shown = _with_boxes(prepared.val)
    select_on = _criterion(config, prepared.val)
    seed_everything(config.train.seed)
    localizer = (
        Localizer.from_weights(prepared.weights["encoder"])
        if config.localizer.pretrained
        else Localizer(config.localizer.encoder)
    )
    by_boxes = bool(shown) and select_on != "proposals"
    held_out = {} if by_boxes else _held_out(prepared)
    networks = _validator(prepared, config, localizer, fabric.device)

    def on_boxes(thresholds: int) -> BoxResult:
        samples = [prepared.val.samples[i] for i in shown]
        return evaluate_maps(_val_maps(networks, prepared, shown), samples, thresholds=thresholds)

    def validate(network: nn.Module) -> dict[str, float]:
        networks.localizer = network  # type: ignore[assignment]
        if by_boxes:
            result = on_boxes(_COARSE)
            return {"select": result.max_box_acc_v2, "v2": result.max_box_acc_v2, **_flat(result.max_box_acc_at)}
        agreement, _ = _agreement(networks, prepared, held_out)
        return {"select": agreement, "agreement": agreement}

    fit = fit_localizer(
        localizer,
        prepared.classifier,
        prepared.items,
        config=config.train,
        fabric=fabric,
        run_dir=run,
        validate=None if select_on == "last" else validate,
        resume=resume,
        background=prepared.train.background,
        origin=prepared.origin,
    )
    started = time.perf_counter()
    networks.localizer = localizer.to(fabric.device).eval()
    networks.config = dataclasses.replace(networks.config, flip=config.predict.flip)  # the threshold is for maps as predicted
    if by_boxes:
        result = on_boxes(_FINE)
        best_tau, words = result.best_tau, f"true boxes of {len(shown)} validation photos"
        validation = {"v2": result.max_box_acc_v2, **_flat(result.max_box_acc_at)}
    else:
        agreement, tau = _agreement(networks, prepared, held_out)
        best_tau, words = dict.fromkeys(("v1", "30", "50", "70", "v2"), tau), "agreement with held-out proposals, no boxes"
        validation = {"agreement": agreement}
    selection = (
        f"epoch {fit.epoch} of {fit.epochs} ({'the last' if select_on == 'last' else 'by ' + words}); threshold by {words}"
    )
    seconds = fit.seconds + time.perf_counter() - started
    return Trained(localizer, fit, best_tau, selection, not by_boxes, validation, seconds)


def _label(label: int | None) -> int:
    assert label is not None  # read_splits left labelled photos only
    return label


def _flat(at: dict[str, float]) -> dict[str, float]:
    return {f"box_acc_{name}": value for name, value in at.items()}


def _validator(prepared: Prepared, config: Config, localizer: Localizer, device: torch.device) -> Networks:
    """The networks as they will predict, but for mirror images, which epochs need not; linear maps come from the harvest."""
    return Networks(
        localizer,
        prepared.classifier,
        config=dataclasses.replace(config.predict, sst_share=config.sst_share, flip=False),
        classifier_size=config.classifier.size,
        device=device,
    )


def _val_maps(networks: Networks, prepared: Prepared, positions: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Maps of validation photos in the protocol's frame, from their stored squares."""
    maps = []
    for start in range(0, len(positions), networks.config.batch):
        part = positions[start : start + networks.config.batch]
        squares = [prepared.val_square(i) for i in part]
        linear = [prepared.val_linear(i) for i in part] if networks.config.sst_share > 0 else None
        maps += [FRAMED.resized(m, None) for m in networks.answer(squares, linear).maps]
    return maps


def _held_out(prepared: Prepared) -> dict[int, FloatArray]:
    """Box ``(1, 4)`` of the best proposal of validation photos by position, shares of the frame."""
    boxes = {i: prepared.val_items[i].boxes[:1] for i in range(len(prepared.val_items))}
    return {i: box for i, box in boxes.items() if len(box)}  # photos of the background class have none


def _agreement(networks: Networks, prepared: Prepared, held_out: dict[int, FloatArray]) -> tuple[float, float]:
    """Label-free criterion: mean IoU (percent) of the map's largest box with the best held-out proposal's box, and the
    threshold that reaches it."""
    if not held_out:
        return 0.0, 0.5
    curves = []
    for box, found in zip(held_out.values(), _val_maps(networks, prepared, list(held_out)), strict=True):
        levels = boxes_at_thresholds(found, _COARSE)
        curves.append(levels.best_iou(np.rint(box * found.shape[0]), multi_contour=False))
    mean = np.mean(curves, axis=0)
    return float(100 * mean.max()), float(tau_grid(_COARSE)[mean.argmax()])


def _squares01(harvested: Harvested, digests: Sequence[str], side: int, device: torch.device) -> Tensor:
    squares = np.stack([resize_image(harvested.square(d), (side, side)) for d in digests])
    return torch.from_numpy(squares).to(device).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def _features(
    classifier: Classifier, weights: Weights, harvested: Harvested, store: Store, side: int, device: torch.device
) -> Tensor:
    """Pooled CNN features ``(N, F)`` of all harvested photos, from the store where they are."""
    shelf = store.shelf(
        "cnn",
        {"version": 1, "weights": weights.sha256, "arch": weights.arch, "side": side, "squares": harvested.squares.folder.name},
    )
    todo = shelf.missing(harvested.digests)
    classifier.to(device).eval()
    for start in track(range(0, len(todo), 32), "classifier", -(-len(todo) // 32)):
        keys = todo[start : start + 32]
        values = classifier.features(_squares01(harvested, keys, side, device)).cpu().numpy()
        shelf.put({key: {"pooled": value} for key, value in zip(keys, values, strict=True)})
    return torch.from_numpy(np.stack([_pooled(shelf.get(d)) for d in harvested.digests]))


def _pooled(record: dict[str, Any] | None) -> np.ndarray[Any, Any]:
    assert record is not None
    return np.asarray(record["pooled"], np.float32)


def _classifier(
    config: Config, weights: Weights, harvested: Harvested, train: DataSet, store: Store, device: torch.device
) -> Classifier:
    """Fit the CNN to the folder's labels and freeze it (paper 3.2)."""
    seed_everything(config.train.seed)
    classifier = Classifier.from_weights(weights, len(train.classes))
    side, count = config.classifier.size, len(train)
    labels = torch.tensor([_label(s.label) for s in train.samples])
    features = _features(classifier, weights, harvested, store, side, device)[:count]
    classifier.to("cpu").fit_head(features, labels)
    if config.classifier.mode == "full":
        log(f"classifier: fine-tuning all layers for {config.classifier.epochs} epochs")
        digests = harvested.digests[:count]

        def batches(epoch: int) -> Any:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(config.train.seed * 1009 + epoch)).tolist()
            steps = -(-count // config.classifier.batch)  # of nearly equal size: a batch of one is none for a batch norm
            for step in range(steps):
                part = order[step * count // steps : (step + 1) * count // steps]
                images = _squares01(harvested, [digests[i] for i in part], side, device)
                yield (images.flip(-1) if (epoch + step) % 2 else images), labels[part]

        classifier.fit_full(batches, epochs=config.classifier.epochs, lr=config.classifier.lr, device=device)
    return classifier.to(device).freeze()


@torch.no_grad()
def _accuracies(
    classifier: Classifier, config: Config, harvested: Harvested, train: DataSet, val: DataSet, device: torch.device
) -> dict[str, float]:
    labels = torch.tensor([_label(s.label) for s in harvested.samples])
    count, total = len(train), len(labels)
    right = 0
    for start in range(count, total, 32):
        images = _squares01(harvested, harvested.digests[start : min(start + 32, total)], config.classifier.size, device)
        right += int((classifier(images).argmax(1).cpu() == labels[start : start + 32]).sum())
    tokens = harvested.class_tokens(harvested.digests)
    probe = LinearProbe(tokens.shape[1], len(train.classes))
    with torch.enable_grad():
        probe.fit(tokens[:count], labels[:count])
    linear = (probe(tokens[count:]).argmax(1) == labels[count:]).float().mean()
    return {"classifier": 100 * right / (total - count), "linear_probe": 100 * float(linear)}
