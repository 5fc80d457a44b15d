"""DATA as a training reads it, and how its epoch and threshold are chosen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dips.config import Config
from dips.data import load_data
from dips.data.copies import find_copies
from dips.data.load import available_splits
from dips.data.parts import training_parts
from dips.data.problems import photo_problems
from dips.errors import ConfigError
from dips.types import DataSet

__all__ = ["boxed_positions", "read_splits", "resolve_select_on"]


def read_splits(data: str | Path, config: Config) -> tuple[DataSet, DataSet]:
    """Read the training and the validation photos of DATA; if there is no ``val``, it is split off the training photos.

    See :func:`~dips.data.parts.training_parts`; copies, and boxes that do not fit, are also among the problems of the first.

    Raises:
        DataError: the data cannot be trained on.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    column = config.data.label_column
    splits = {"train": load_data(data, background_class=config.data.background_class, label_column=column)}
    if {"train", "val"} <= set(available_splits(data)):
        splits["val"] = load_data(data, split="val", background_class="", label_column=column)
    copies = find_copies(sample.path for split in splits.values() for sample in split.samples)
    train, val = training_parts(splits["train"], splits.get("val"), copies, config)
    resolve_select_on(config, val)
    found = photo_problems(train.root, {name: split.samples for name, split in splits.items()}, copies)
    return dataclasses.replace(train, problems=tuple(dict.fromkeys((*train.problems, *found)))), val


def resolve_select_on(config: Config, val: DataSet) -> str:
    """Return ``train.select_on`` with ``auto`` resolved: ``boxes``, ``proposals`` or ``last``.

    Raises:
        ConfigError: ``boxes``, and no validation photo has one.
    """
    setting, has_boxes = config.train.select_on, bool(boxed_positions(val))
    if setting == "boxes" and not has_boxes:
        raise ConfigError(
            "train.select_on=boxes: no validation photo has a ground-truth box; set it to auto, proposals or last"
        )
    return setting if setting != "auto" else "boxes" if has_boxes else "proposals"


def boxed_positions(val: DataSet) -> list[int]:
    """Return the positions of the photos with at least one ground-truth box; nothing can be measured on the others."""
    return [i for i, sample in enumerate(val.samples) if sample.boxed]
