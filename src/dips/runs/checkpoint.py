"""The trained model in a run folder: ``model.safetensors`` (all networks) and ``model.json`` (how to build and use them).

A model that :func:`load_model` reads has the same outputs as the one :func:`save_model` wrote; neither needs ImageNet weights
or a network connection.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dips.config import PredictConfig
from dips.errors import DipsError, RunError
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMaps
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.predict.cores import PhotoPerCore
from dips.predict.predictor import Predictor
from dips.runs.records import (
    MODEL,
    REMEDY,
    ClassifierShape,
    LinearShape,
    LocalizerShape,
    ModelMeta,
    ModelRecord,
    read_model_record,
)
from dips.system.files import atomic_file
from dips.system.records import write_json

__all__ = ["StoredModel", "load_model", "save_model"]

_TENSORS = "model.safetensors"


@dataclass(frozen=True)
class StoredModel:
    """The networks of a run folder, and how to use them.

    Attributes:
        classifier: the CNN.
        linear: the linear maps, if the run fitted any.
        localizer: the U-Net, if the run trained one.
        meta: how to use them.
    """

    classifier: Classifier
    linear: LinearMaps | None
    localizer: Localizer | None
    meta: ModelMeta

    def networks(self, mode: str, frozen: FrozenNetworks, settings: PredictConfig, device: torch.device) -> Networks:
        """Return the networks of a mode of prediction, built on frozen ones, which several modes may share.

        Raises:
            ConfigError: this run does not offer the mode.
        """
        return Networks.of_mode(
            mode,
            frozen,
            settings=settings,
            device=device,
            background=self.meta.background,
            linear=self.linear,
            localizer=self.localizer,
            object_classes=self.meta.object_classes,
        )

    def predictor(self, networks: Networks, settings: PredictConfig, *, calibrated: bool = True) -> Predictor:
        """Return a predictor with these networks, which must be those of the mode in ``settings``.

        If ``settings`` has no threshold, the one chosen for the mode is used; if there is none, predicting raises a
        ConfigError. ``calibrated`` is False for maps that differ from those of the training.
        """
        chosen = self.meta.thresholds.get(settings.mode, {}).get("run", -1.0)
        return Predictor(
            _per_core(networks) if networks.device.type == "cpu" else networks,
            config=replace(settings, threshold=chosen if settings.threshold < 0 else settings.threshold),
            classes=self.meta.classes,
            background=self.meta.background,
            photo_side=self.meta.photo_side,
            depth=self.meta.depth,
            calibration=self.meta.calibration.get(settings.mode) if calibrated else None,
        )


def _per_core(networks: Networks) -> PhotoPerCore:
    lock = threading.Lock()

    def begin() -> Networks:
        with lock:
            torch.set_num_threads(1)  # of this thread, and of those started later, whose number is restored below:
            torch.get_num_threads()  # a thread reads its number when it first needs one
            others = threading.Thread(target=torch.set_num_threads, args=(cores,))
            others.start()
            others.join()
            return networks.twin()

    cores = torch.get_num_threads()
    return PhotoPerCore(networks.side, cores, begin)


def save_model(
    folder: Path, classifier: Classifier, linear: LinearMaps | None, localizer: Localizer | None, meta: ModelMeta
) -> None:
    """Write the networks and how to use them into ``folder``.

    Each file is replaced whole, ``model.json`` last; a checksum ties the two together.

    Raises:
        RunError: ``meta`` has another number of classes than the classifier, or the folder cannot be written.
    """
    if len(meta.classes) != classifier.classes:
        raise RunError(f"{len(meta.classes)} class names for a classifier of {classifier.classes}; give one name per class")
    parts: dict[str, nn.Module | None] = {"classifier": classifier, "linear": linear, "localizer": localizer}
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, net in parts.items()
        if net is not None
        for name, value in net.state_dict().items()
    }
    data = safetensors.torch.save(tensors)
    record = ModelRecord(
        localizer=None if localizer is None else LocalizerShape(encoder=localizer.encoder, channels=localizer.channels),
        classifier=ClassifierShape(arch=classifier.arch, classes=classifier.classes),
        linear=None
        if linear is None
        else LinearShape(channels=linear.channels, stages=linear.stages, outputs=len(linear.fast.bias)),
        sha256=hashlib.sha256(data).hexdigest(),
        meta=meta,
    )
    with atomic_file(folder / _TENSORS, "wb") as file:
        file.write(data)
    write_json(folder / MODEL, record)


def load_model(folder: Path, device: torch.device | str = "cpu") -> StoredModel:
    """Return the networks in evaluation mode on ``device``, and how to use them.

    Raises:
        RunError: a file is missing, damaged, of another version, or does not match the other.
    """
    record, path = read_model_record(folder), folder / _TENSORS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror or error}); {REMEDY}") from error
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise RunError(f"{path} is damaged or belongs to another {MODEL}; {REMEDY}")
    try:
        tensors = safetensors.torch.load(data)
        classifier = Classifier(record.classifier.arch, record.classifier.classes)
        linear = localizer = None
        if (shape := record.linear) is not None:
            linear = LinearMaps(shape.channels, stages=shape.stages, outputs=shape.outputs)
        if record.localizer is not None:
            localizer = Localizer(record.localizer.encoder, channels=record.localizer.channels)
        parts: dict[str, nn.Module | None] = {"classifier": classifier, "linear": linear, "localizer": localizer}
        for part, net in parts.items():
            inside = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
            if net is not None:
                net.load_state_dict(inside)
                net.to(device).eval()
    except (safetensors.SafetensorError, DipsError, RuntimeError, KeyError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RunError(f"{folder / MODEL} and {path} do not make a model here ({first}); {REMEDY}") from error
    return StoredModel(classifier, linear, localizer, record.meta)
