"""The two parts of a training: photos to fit on, photos to choose epoch and threshold on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dips.config import Config
from dips.data import align_classes, load_data, require_trainable, split_validation
from dips.data.load import available_splits
from dips.errors import ConfigError, DataError
from dips.system.console import log
from dips.types import DataSet

__all__ = ["read_splits"]


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
        train, val = split_validation(dataset, fraction=config.data.val_share, seed=seed)
    criterion(config, val)
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


def criterion(config: Config, val: DataSet) -> str:
    """``train.select_on`` with ``auto`` worked out."""
    wanted, shown = config.train.select_on, bool(boxed_positions(val))
    if wanted == "boxes" and not shown:
        raise ConfigError("train.select_on=boxes: no validation photo has a true box; set it to auto, proposals or last")
    return wanted if wanted != "auto" else "boxes" if shown else "proposals"


def boxed_positions(val: DataSet) -> list[int]:
    """Positions of the photos with at least one true box; others (none, or unknown) cannot be measured on."""
    return [i for i, sample in enumerate(val.samples) if sample.boxed]
