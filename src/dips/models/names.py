"""What timm knows about the networks that a user may name, checked before any weights are looked for."""

from __future__ import annotations

from typing import Any

import timm

from dips.errors import WeightsError
from dips.system.suggestions import closest

__all__ = ["cnn_config", "hub_entry", "is_transformer", "pretrained_config", "unknown_name"]

_TRANSFORMERS = ("vision_transformer", "eva", "deit")


def is_transformer(name: str) -> bool | None:
    """Return whether timm's model ``name`` belongs to its ViT families; None if timm has no such model."""
    if not timm.is_model(name):
        return None
    return timm.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2] in _TRANSFORMERS


def hub_entry(name: str) -> tuple[str, tuple[str, ...], str] | None:
    """Return repository, file names to try in order, and licence of timm's weights called ``name``; None if there are none."""
    config = pretrained_config(name)
    if config is None or not config.hf_hub_id:
        return None
    files = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    return config.hf_hub_id, files, config.license or ""


def cnn_config(name: str) -> dict[str, tuple[float, ...]]:
    """Return ``mean`` and ``std`` per channel that timm's model ``name`` expects.

    Raises:
        WeightsError: timm has no such model.
    """
    config = pretrained_config(name)
    if config is None:
        raise WeightsError(unknown_name(name))
    return {"mean": tuple(config.mean), "std": tuple(config.std)}


def pretrained_config(name: str) -> Any:
    """Return timm's entry for ``name``; None if there is no such model or tag."""
    if not timm.is_model(name):
        return None
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError:  # the tag is unknown
        return None


def unknown_name(name: str) -> str:
    """Return the error message for a name that timm does not know, with the nearest name that it does."""
    base = name.partition(".")[0]
    if timm.is_model(base) and base != name:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")]
        return f"timm knows no weights '{name.partition('.')[2]}' of {base}; there are {', '.join(tags) or 'none'}"
    return f"timm has no model '{name}'{closest(base, timm.list_models()) or '; see timm.list_models()'}"
