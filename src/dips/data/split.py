"""Training photos -> training and validation part, on which checkpoints and thresholds are chosen, never on test; samples."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TypeVar

from dips.errors import DataError
from dips.types import DataSet, Sample

__all__ = ["split_validation", "spread"]

_Item = TypeVar("_Item")


def split_validation(dataset: DataSet, *, fraction: float, seed: int) -> tuple[DataSet, DataSet]:
    """Return the data set without its validation part, and the validation part.

    The choice depends on the photos' ids and the seed only: the photos of a class are ordered by a hash of both, and the first
    ones are taken. Adding or removing a photo therefore moves at most one other photo of its class, and the order of files
    does not matter. Each class with two photos or more has at least one in each part; a single photo stays in training.

    Args:
        dataset: the training photos.
        fraction: of each class, in (0, 1), to take for validation.
        seed: of the choice.

    Raises:
        DataError: ``fraction`` is out of range, or no class has two photos.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction for validation must lie between 0 and 1, not {fraction}; set data.val_share")
    classes: dict[int | None, list[Sample]] = {}
    for sample in dataset.samples:
        classes.setdefault(sample.label, []).append(sample)
    chosen: set[str] = set()
    for samples in classes.values():
        count = min(max(round(fraction * len(samples)), 1), len(samples) - 1)
        chosen.update(sample.id for sample in sorted(samples, key=lambda sample: _rank(sample.id, seed))[:count])
    if not chosen:
        raise DataError(f"{dataset.root}: no class has two photos, so none can be set aside for validation; add photos")
    train = tuple(sample for sample in dataset.samples if sample.id not in chosen)
    val = tuple(sample for sample in dataset.samples if sample.id in chosen)
    return dataclasses.replace(dataset, samples=train, split="train"), dataclasses.replace(dataset, samples=val, split="val")


def spread(items: Sequence[_Item], limit: int) -> list[_Item]:
    """Return at most ``limit`` items, evenly spread over all.

    >>> spread("abcdef", 3)
    ['a', 'c', 'e']
    """
    count = min(len(items), limit)
    return [items[i * len(items) // count] for i in range(count)]


def _rank(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode("utf-8", "surrogatepass")).digest()
