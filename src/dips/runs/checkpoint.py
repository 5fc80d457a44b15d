"""The trained model in a run folder: ``model.safetensors`` (both networks) and ``model.json`` (how to build and use them).

What :func:`save_model` writes :func:`load_model` reads back to equal outputs; neither needs ImageNet weights nor a network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from dips.errors import DipsError, RunError
from dips.models.classifier import Classifier
from dips.models.localizer import Localizer
from dips.system.files import atomic_file

__all__ = ["SCHEMA", "load_model", "save_model"]

SCHEMA = 1
_TENSORS = "model.safetensors"
_JSON = "model.json"
_OURS = ("schema", "localizer", "classifier", "sha256", "meta")


def save_model(folder: Path, localizer: Localizer, classifier: Classifier, meta: Mapping[str, Any]) -> None:
    """Write both networks and ``meta`` (classes, background label, weights records, threshold, settings) into ``folder``.

    Each file is replaced whole; a checksum ties the two together.

    Raises:
        RunError: ``meta`` is not JSON or names another number of classes than the classifier has, or the folder cannot be
            written.
    """
    classes = meta.get("classes")
    if classes is not None and len(classes) != classifier.classes:
        raise RunError(f"{len(classes)} class names for a classifier of {classifier.classes}; give one name per class")
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, net in (("localizer", localizer), ("classifier", classifier))
        for name, value in net.state_dict().items()
    }
    data = safetensors.torch.save(tensors)
    description = {
        "schema": SCHEMA,
        "localizer": {"encoder": localizer.encoder, "channels": list(localizer.channels)},
        "classifier": {"arch": classifier.arch, "classes": classifier.classes},
        "sha256": hashlib.sha256(data).hexdigest(),
        "meta": dict(meta),
    }
    try:
        text = json.dumps(description, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{folder / _JSON}: the model's description is not JSON ({error})") from error
    with atomic_file(folder / _TENSORS, "wb") as file:
        file.write(data)
    with atomic_file(folder / _JSON) as file:
        file.write(text + "\n")


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[Localizer, Classifier, dict[str, Any]]:
    """Both networks in evaluation mode on ``device``, and the ``meta`` they were saved with.

    Raises:
        RunError: a file is missing, damaged, of another version, or does not belong to the other.
    """
    description = _read_description(folder)
    path = folder / _TENSORS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror or error}); {_remedy(folder)}") from error
    if hashlib.sha256(data).hexdigest() != description["sha256"]:
        raise RunError(f"{path} is damaged or belongs to another {_JSON}; {_remedy(folder)}")
    try:
        tensors = safetensors.torch.load(data)
        localizer = Localizer(description["localizer"]["encoder"], channels=description["localizer"]["channels"])
        classifier = Classifier(description["classifier"]["arch"], description["classifier"]["classes"])
        for part, net in (("localizer", localizer), ("classifier", classifier)):
            inside = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
            net.load_state_dict(inside)
            _ready(net, device)
    except (safetensors.SafetensorError, DipsError, RuntimeError, KeyError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RunError(f"{folder / _JSON} and {path} do not make a model here ({first}); {_remedy(folder)}") from error
    return localizer, classifier, description["meta"]


def _ready(net: nn.Module, device: torch.device | str) -> None:
    net.to(device).eval()


def _remedy(folder: Path) -> str:
    return f"copy the run again or train anew with another --out than {folder}"


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / _JSON
    if not path.is_file():
        raise RunError(f"{folder} holds no trained model ({_JSON} is missing); give the folder that 'dips train --out' wrote")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); {_remedy(folder)}") from error
    if not isinstance(description, dict) or "schema" not in description:
        raise RunError(f"{path} does not describe a model; {_remedy(folder)}")
    if description["schema"] != SCHEMA:
        raise RunError(
            f"{path} was written by another version of DiPS (schema {description['schema']}, this one reads {SCHEMA}); "
            "use that version or train anew"
        )
    if missing := [name for name in _OURS if name not in description]:
        raise RunError(f"{path} lacks {', '.join(missing)}; {_remedy(folder)}")
    return description
