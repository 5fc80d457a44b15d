"""The part of the training photos that is kept back to choose checkpoints and thresholds on, which the test split never is."""

from __future__ import annotations

import dataclasses
import hashlib

from dips.errors import DataError
from dips.types import DataSet, Sample

__all__ = ["split_validation"]


def split_validation(dataset: DataSet, *, share: float, seed: int) -> tuple[DataSet, DataSet]:
    """The data set without its validation part, and the validation part: ``share`` of every class.

    Which photos go depends on their ids and the seed alone: the photos of a class are ordered by a hash of both, and the
    first go. A photo more or less therefore moves at most one other photo of its class, and no operating system's file order
    plays a part. Each class with two photos or more has at least one in each part; a single one stays in training.

    Args:
        share: in (0, 1).

    Raises:
        DataError: ``share`` is out of range, or no class has two photos.
    """
    if not 0 < share < 1:
        raise DataError(f"the share for validation must lie between 0 and 1, not {share}; set data.val_share")
    classes: dict[int | None, list[Sample]] = {}
    for sample in dataset.samples:
        classes.setdefault(sample.label, []).append(sample)
    chosen: set[str] = set()
    for samples in classes.values():
        count = min(max(round(share * len(samples)), 1), len(samples) - 1)
        chosen.update(sample.id for sample in sorted(samples, key=lambda sample: _rank(sample.id, seed))[:count])
    if not chosen:
        raise DataError(f"{dataset.root}: no class has two photos, so none can be kept back for validation; add photos")
    kept = [sample for sample in dataset.samples if sample.id not in chosen]
    cut = [sample for sample in dataset.samples if sample.id in chosen]
    return _part(dataset, "train", kept), _part(dataset, "val", cut)


def _rank(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode("utf-8", "surrogatepass")).digest()


def _part(dataset: DataSet, split: str, samples: list[Sample]) -> DataSet:
    return dataclasses.replace(dataset, samples=tuple(samples), split=split)
