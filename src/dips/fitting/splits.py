"""The two parts of a training: photos to fit on, photos to choose epoch and threshold on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from dips.config import Config
from dips.data import align_classes, load_data, require_trainable, split_validation
from dips.data.classes import class_problems
from dips.data.copies import find_copies
from dips.data.listing import some
from dips.data.load import available_splits
from dips.data.problems import photo_problems
from dips.errors import ConfigError, DataError
from dips.system.console import counted
from dips.types import DataSet, Problem

__all__ = ["boxed_positions", "read_splits", "resolve_select_on"]


def read_splits(data: str | Path, config: Config) -> tuple[DataSet, DataSet]:
    """Read the training and the validation photos of DATA; where there is no ``val``, it is cut from the training photos.

    Both have the training photos' classes; validation photos of other classes, of none, or that are copies of training photos
    are left out. What is wrong with either, or with both together, is among the problems of the first.

    Raises:
        DataError: the data cannot be trained on.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    column = config.data.label_column
    dataset = require_trainable(load_data(data, background_class=config.data.background_class, label_column=column))
    splits, whole = available_splits(data), None
    if "val" in splits and "train" in splits:
        train, val = dataset, _labelled(load_data(data, split="val", background_class="", label_column=column), dataset)
        copies = find_copies(sample.path for sample in (*train.samples, *val.samples))
    else:
        copies = find_copies(sample.path for sample in dataset.samples)
        seed = config.train.seed if config.data.val_seed < 0 else config.data.val_seed
        whole = dataset
        train, val = split_validation(dataset, fraction=config.data.val_share, seed=seed, copies=copies)
    found = photo_problems(train.root, {"train": train.samples, "val": val.samples}, copies)
    val = _without_copies(val, {copies[sample.path] for sample in train.samples if sample.path in copies}, copies)
    resolve_select_on(config, val)
    classes = class_problems(train, val, whole=whole)
    problems = tuple(dict.fromkeys((*train.problems, *val.problems, *classes, *found)))
    return dataclasses.replace(train, problems=problems), val


def _labelled(val: DataSet, train: DataSet) -> DataSet:
    """Return the photos of ``val`` that have a class of ``train``, with its labels."""
    val = align_classes(val, train.classes, train.background)
    labelled = tuple(sample for sample in val.samples if sample.label is not None)
    if not labelled:
        raise DataError(f"{val.root}: no validation photo has a class; sort them into the folders of the training photos")
    if len(labelled) < len(val):
        others = some((sample.id for sample in val.samples if sample.label is None), 3)
        message = (
            f"{counted(len(val) - len(labelled), 'validation photo', 'has')} no class of the training photos, left "
            f"out: {others}; "
            "sort them into those classes, or remove them"
        )
        val = dataclasses.replace(val, problems=(*val.problems, Problem(val.root, message)))
    return dataclasses.replace(val, samples=labelled)


def _without_copies(val: DataSet, learned: Collection[str], copies: Mapping[Path, str]) -> DataSet:
    """Return the photos of ``val`` that are not learned from under another name: on those every choice looks good."""
    others = tuple(sample for sample in val.samples if copies.get(sample.path) not in learned)
    if not others:
        raise DataError(
            f"{val.root}: all {len(val)} validation photos are copies of training photos; put other photos there, or remove "
            "the folder: a part of the training photos is then set aside"
        )
    return dataclasses.replace(val, samples=others)


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
    """Return the positions of the photos with at least one ground-truth box; on others nothing can be measured."""
    return [i for i, sample in enumerate(val.samples) if sample.boxed]
