"""The trained model in a run folder: ``model.safetensors`` (both networks) and ``model.json`` (how to build and use them).

What :func:`save_model` writes :func:`load_model` reads back to equal outputs; neither needs ImageNet weights nor a network.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from dips.errors import DipsError, RunError
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.runs.records import (
    MODEL,
    REMEDY,
    ClassifierShape,
    KeyMapValues,
    LocalizerShape,
    ModelMeta,
    ModelRecord,
    read_model_record,
)
from dips.system.files import atomic_file
from dips.system.records import write_json

__all__ = ["key_map_values", "load_key_map", "load_model", "save_model"]

_TENSORS = "model.safetensors"


def save_model(folder: Path, localizer: Localizer, classifier: Classifier, meta: ModelMeta) -> None:
    """Write both networks and how to use them into ``folder``.

    Each file is replaced whole, ``model.json`` last; a checksum ties the two together.

    Raises:
        RunError: ``meta`` names another number of classes than the classifier has, or the folder cannot be written.
    """
    if len(meta.classes) != classifier.classes:
        raise RunError(f"{len(meta.classes)} class names for a classifier of {classifier.classes}; give one name per class")
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, net in (("localizer", localizer), ("classifier", classifier))
        for name, value in net.state_dict().items()
    }
    data = safetensors.torch.save(tensors)
    record = ModelRecord(
        localizer=LocalizerShape(encoder=localizer.encoder, channels=localizer.channels),
        classifier=ClassifierShape(arch=classifier.arch, classes=classifier.classes),
        sha256=hashlib.sha256(data).hexdigest(),
        meta=meta,
    )
    with atomic_file(folder / _TENSORS, "wb") as file:
        file.write(data)
    write_json(folder / MODEL, record)


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[Localizer, Classifier, ModelMeta]:
    """Return both networks in evaluation mode on ``device``, and how to use them.

    Raises:
        RunError: a file is missing, damaged, of another version, or does not belong to the other.
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
        localizer = Localizer(record.localizer.encoder, channels=record.localizer.channels)
        classifier = Classifier(record.classifier.arch, record.classifier.classes)
        for part, net in (("localizer", localizer), ("classifier", classifier)):
            inside = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
            net.load_state_dict(inside)
            net.to(device).eval()
    except (safetensors.SafetensorError, DipsError, RuntimeError, KeyError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RunError(f"{folder / MODEL} and {path} do not make a model here ({first}); {REMEDY}") from error
    return localizer, classifier, record.meta


def key_map_values(key_map: KeyMap) -> KeyMapValues:
    """Return a linear map as it stands in ``model.json``."""
    weight = tuple(tuple(row) for row in key_map.weight.tolist())
    return KeyMapValues(sizes=key_map.sizes, weight=weight, bias=tuple(key_map.bias.tolist()))


def load_key_map(values: KeyMapValues, folder: Path) -> KeyMap:
    """Return the linear map of a run folder; ``folder`` is named in errors.

    Raises:
        RunError: sizes, weight and bias do not belong together.
    """
    try:
        weight = torch.tensor(values.weight)
        key_map = KeyMap(values.sizes, weight.shape[1])
        key_map.load_state_dict({"weight": weight, "bias": torch.tensor(values.bias)})
    except (LookupError, RuntimeError, ValueError) as error:
        raise RunError(f"{folder / MODEL}: key_map is damaged ({' '.join(str(error).split())}); {REMEDY}") from error
    return key_map
