"""F-CAM (Belharbi et al., WACV 2022): a decoder trained on pixels drawn from a classifier's activation maps.

It uses DiPS's own localizer and training loop with other maps, without proposals and scores: foreground pixels are drawn from
the highest activations of the whole photo, background pixels from the lowest. The maps are those of CAM or LayerCAM, as in the
paper's table, of a classifier that is trained first. Of the paper's losses, it uses those on pixels and the CRF; the size
constraint is left out, as DiPS has none.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dips.baselines.answering import TorchAnswerer
from dips.baselines.cam import Cam
from dips.baselines.gradients import LayerCam
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.normalise import max_norm
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.data.images import ByteImage, resize_image
from dips.harvest.scored_photos import record_key
from dips.harvest.store import Shelf, Store
from dips.models.inputs import resize_to
from dips.models.localizer import Localizer
from dips.models.weights.resolve import resolve
from dips.system.console import track
from dips.system.device import launch_fabric, synchronise
from dips.train.loop import fit_localizer
from dips.types import FloatArray

__all__ = ["FCam", "FCamLayerCam", "epochs_within"]

FG_FRACTION = 0.1
"""Fraction of the pixels with the highest activations that may be drawn as foreground, weighted by activation. The paper
(section 3) searches both fractions for each data set; these were chosen on validation photos of birds20."""

BG_FRACTION = 0.3
"""Fraction of the pixels with the lowest activations that may be drawn as background, uniformly."""

CLASSIFIER = 0.5
"""Fraction of the budget, or of the limits, in which the classifier is trained; the localizer has the rest. Chosen by us."""

EPOCHS = 40
"""Maximum number of the localizer's passes over the photos, however large the budget. Chosen by us."""

_BATCH_SIZE = 32
_TIMED_STEPS = 2


class FCam(ScoreMapMethod):
    """The localizer trained on the maps of a classifier.

    Attributes:
        classifier: trained first; predicts the classes.
    """

    name = "f-cam+cam"
    title = "F-CAM + CAM"
    paper = "Belharbi et al., WACV 2022"
    caveat = "the size constraint is left out, and the U-Net sees photos at the sizes of DiPS's (predict.size, train.crop)"
    labels: ClassVar[Literal["none", "image"]] = "image"
    net: Localizer
    classifier: Cam

    @property
    def network(self) -> nn.Module:
        """The localizer and the classifier."""
        return nn.ModuleDict({"localizer": self.net, "classifier": self.classifier.net})

    def build(self, study: Study) -> None:
        """Create the localizer as DiPS initialises it, and the classifier as CAM does."""
        self.side = study.config.predict.size
        self.classifier = Cam()
        self.classifier.take(study)
        self.classifier.build(study)
        self.net = untrained_localizer(study).to(study.device)

    def source(self) -> TorchAnswerer:
        """Return the method whose maps it learns from, on the trained classifier."""
        return self.classifier

    def train(self, study: Study) -> Fit:
        """Train the classifier, and then the localizer on pixels drawn from its maps."""
        started = time.perf_counter()
        first = self.classifier.fit(study.part(CLASSIFIER))
        return first.then(self._train_localizer(study.less(time.perf_counter() - started)))

    def _train_localizer(self, study: Study) -> Fit:
        """Draw pixels from the source's maps (section 3) and train with the losses of DiPS, except the classifier's."""
        started = time.perf_counter()
        most = EPOCHS if study.limits is None else study.limits.part(1 - CLASSIFIER).passes
        curve: list[dict[str, float]] = []

        def validate(network: nn.Module) -> dict[str, float]:
            self.net = cast(Localizer, network)
            score = study.choose(self.maps, self.side)
            curve.append({"epoch": len(curve) + 1} | ({} if score is None else {"v2": score}))
            return {} if score is None else {"select": score}

        net = self.net
        with _empty_folder(study.folder / self.name / "work") as folder:
            maps = _maps(study, self.source(), Store(folder / "maps"))
            before = time.perf_counter()
            net.eval()
            study.choose(self.maps, self.side)
            now = time.perf_counter()
            left = study.seconds - (now - started)
            config = replace(
                study.config.train,
                fg_from="region",
                fg_share=FG_FRACTION,
                bg_share=BG_FRACTION,
                bg_from="image",
                lambda_cls=0.0,
                epochs=epochs_within(study, len(study.train), left, most, now - before),
                seed=study.seed,
            )
            items = _Items(study.train, maps, config.resize, study.background)
            fabric = launch_fabric(str(study.device))
            fit = fit_localizer(
                net,
                None,
                items,
                config=config,
                fabric=fabric,
                run_dir=folder,
                validate=validate,
                background=study.background,
            )
        self.net = net.to(study.device)
        by = " by the ground-truth boxes of validation" if fit.metrics else ", the last"
        steps = fit.epochs * -(-len(study.train) // config.batch)
        limit = f"{fit.epochs} passes" if fit.epochs == most else f"{study.seconds / 60:.3g} minutes"
        return Fit(
            steps=steps,
            epochs=fit.epochs,
            chosen=f"epoch {fit.epoch} of {fit.epochs}{by}",
            curve=tuple(curve),
            limit="" if study.limits is None else limit,
        )

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the localizer's foreground ``(B, side, side)`` in [0, 1]; it is class-agnostic."""
        return self.net.foreground(images)

    def probabilities(self, images: Tensor) -> Tensor | None:
        """Return the classifier's class probabilities ``(B, C)`` of the same squares."""
        return self.classifier.probabilities(resize_to(images, self.classifier.side))


class FCamLayerCam(FCam):
    """The localizer trained on LayerCAM's maps."""

    name = "f-cam+layercam"
    title = "F-CAM + LayerCAM"

    def source(self) -> LayerCam:
        """Return LayerCAM on the trained classifier."""
        layercam = LayerCam()
        layercam.cam = self.classifier
        return layercam


def untrained_localizer(study: Study) -> Localizer:
    """Return the configured localizer as it is before training."""
    config = study.config
    if not config.localizer.pretrained:
        return Localizer(config.localizer.encoder)
    same = config.localizer.encoder == config.classifier.arch
    weights = study.cnn if same else resolve(config.localizer.encoder, role="cnn", given=study.given)
    return Localizer.from_weights(weights)


def epochs_within(study: Study, photos: int, seconds: float, most: int, check: float = 0.0) -> int:
    """Return how many passes over ``photos`` the localizer's training completes in ``seconds``: 1 to ``most``.

    A step is timed on random images beforehand; reading and losses add little to it.

    Args:
        check: seconds taken by the measurement after each pass.
    """
    config = study.config.train
    net = untrained_localizer(study).to(study.device).train()
    images = torch.rand(config.batch, 3, config.crop, config.crop, device=study.device)
    spent = 0.0
    for step in range(1 + _TIMED_STEPS):
        started = time.perf_counter()
        net(images).square().mean().backward()
        synchronise(study.device)
        spent += (time.perf_counter() - started) if step else 0.0
    each = spent / _TIMED_STEPS * -(-photos // config.batch) + check
    return max(1, min(most, int(seconds / each)))


@contextmanager
def _empty_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that is empty, whatever a killed run left in it, and remove it at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _maps(study: Study, source: TorchAnswerer, store: Store) -> Shelf:
    """Return the maps of ``source`` for the training photos that show an object: ``map (h, w) float16``, maximum 1."""
    shelf, photos = store.shelf("class-maps", {"method": source.name}), study.train
    objects = [i for i in range(len(photos)) if photos.label(i) != study.background]
    positions = {record_key(photos.digests[i], photos.label(i)): i for i in objects}
    todo = list(positions)
    for start in track(range(0, len(todo), _BATCH_SIZE), f"maps of {source.title}", -(-len(todo) // _BATCH_SIZE)):
        keys = todo[start : start + _BATCH_SIZE]
        images, labels = photos.batch([positions[key] for key in keys], source.side, study.device)
        scaled = max_norm(source.maps(images, labels)).half().cpu().numpy()
        shelf.put({key: {"map": scaled[i]} for i, key in enumerate(keys)})
    return shelf


@dataclass(frozen=True)
class _Item:
    """See :class:`~dips.train.batches.TrainItem`: one map of the whole photo, or none."""

    image: ByteImage
    maps: NDArray[np.float16]
    regions: NDArray[np.bool_]
    boxes: FloatArray
    label: int


class _Items:
    """Training photos, each with the map of its class in place of a proposal."""

    def __init__(self, photos: Photos, shelf: Shelf, resize: int, background: int | None) -> None:
        self.photos, self.shelf, self.resize, self.background = photos, shelf, resize, background

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, position: int, /) -> _Item:
        label = self.photos.label(position)
        maps: list[NDArray[np.float16]] = []
        if label != self.background:
            maps = [np.asarray(self.shelf.require(record_key(self.photos.digests[position], label))["map"], np.float16)]
        count = len(maps)
        return _Item(
            image=resize_image(self.photos.square(position), (self.resize, self.resize)),
            maps=np.stack(maps) if maps else np.zeros((0, 1, 1), np.float16),
            regions=np.ones((count, 1, 1), np.bool_),
            boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
            label=label,
        )
