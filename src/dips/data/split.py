"""Training photos -> training part, and validation part to choose checkpoints and thresholds on (never on test); samples."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from dips.errors import DataError
from dips.types import DataSet, Sample

__all__ = ["split_validation", "spread"]

_Item = TypeVar("_Item")


def split_validation(
    dataset: DataSet, *, fraction: float, seed: int, copies: Mapping[Path, str] | None = None
) -> tuple[DataSet, DataSet]:
    """Return the data set without its validation part, and the validation part.

    The choice depends only on the photos' ids and the seed: the photos of a class are ordered by a hash of both, and the first
    ones are taken. Adding or removing a photo therefore moves at most one other photo of its class, and the order of files
    does not matter. Each class with two or more photos has at least one in each part; a single photo stays in training. Copies
    of a photo stay together, and count as one towards this minimum. A photo with several labels counts for each of them; if
    there are such photos, rare classes come first, as they leave the least choice.

    Args:
        dataset: the training photos.
        fraction: share of each class, in (0, 1), to take for validation.
        seed: seed of the choice.
        copies: digests of the files with copies, as :func:`~dips.data.copies.find_copies` returns them.

    Raises:
        DataError: ``fraction`` is out of range, or no class has two different photos.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction for validation must lie between 0 and 1, not {fraction}; set data.val_share")
    classes: dict[int | None, list[Sample]] = {}
    same: dict[str, list[Sample]] = {}  # photos that stay together
    for sample in dataset.samples:
        for label in sample.labels or (None,):
            classes.setdefault(label, []).append(sample)
        same.setdefault(_content(sample, copies), []).append(sample)
    left = _labels(dataset.samples)  # photos that remain for training
    chosen: set[str] = set()
    in_turn = list(classes.items())
    if any(sample.others for sample in dataset.samples):
        in_turn.sort(key=lambda item: len(item[1]))
    for label, samples in in_turn:
        count = min(max(round(fraction * len(samples)), 1), len(samples) - 1)
        for sample in sorted(samples, key=lambda sample: _rank(sample.id, seed)):
            if len(samples) - left[label] >= count:
                break
            group = same[_content(sample, copies)]
            leaving = _labels(group)
            if sample.id not in chosen and all(left[name] > number for name, number in leaving.items()):
                chosen.update(item.id for item in group)
                left -= leaving
    if not chosen:
        raise DataError(
            f"{dataset.root}: no class has two different photos, so none can be set aside for validation; add photos"
        )
    train = tuple(sample for sample in dataset.samples if sample.id not in chosen)
    val = tuple(sample for sample in dataset.samples if sample.id in chosen)
    return dataclasses.replace(dataset, samples=train, split="train"), dataclasses.replace(dataset, samples=val, split="val")


def _labels(samples: Iterable[Sample]) -> Counter[int | None]:
    """Return how many photos have each label."""
    return Counter(label for sample in samples for label in sample.labels or (None,))


def _content(sample: Sample, copies: Mapping[Path, str] | None) -> str:
    return (copies or {}).get(sample.path) or f"id {sample.id}"


def spread(items: Sequence[_Item], limit: int) -> list[_Item]:
    """Return at most ``limit`` items, evenly spread over all.

    >>> spread("abcdef", 3)
    ['a', 'c', 'e']
    """
    count = min(len(items), limit)
    return [items[i * len(items) // count] for i in range(count)]


def _rank(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode("utf-8", "surrogatepass")).digest()
