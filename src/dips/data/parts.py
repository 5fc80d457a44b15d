"""The two parts of a training: photos to fit on, and photos to choose epoch and threshold on.

In: the training split and, if there is one, the validation split. Out: both as training uses them, with their problems.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from dips.config import Config
from dips.data.background import background_problems
from dips.data.classes import class_problems
from dips.data.labels import align_classes, require_trainable
from dips.data.split import split_validation
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import DataSet, Problem

__all__ = ["training_parts"]


def training_parts(train: DataSet, val: DataSet | None, copies: Mapping[Path, str], config: Config) -> tuple[DataSet, DataSet]:
    """Return the training and the validation photos as training uses them, both with the classes of the first.

    Photos without a class are left out, as are validation photos of other classes and copies of training photos. The first data
    set lists the problems of both.

    Args:
        train: the training split.
        val: the validation split; None if there is none, so that it is split off the training photos.
        copies: digests of the files with copies, as :func:`~dips.data.copies.find_copies` returns them.
        config: how to split, and whether classes are balanced.

    Raises:
        DataError: these photos cannot be trained on.
    """
    train, whole = require_trainable(train), None
    if val is None:
        whole, seed = train, config.train.seed if config.data.val_seed < 0 else config.data.val_seed
        train, val = split_validation(whole, fraction=config.data.val_share, seed=seed, copies=copies)
    else:
        val = _without_copies(_labelled(val, train), train, copies)
    classes = background_problems(train, config.data.background_class)
    classes += class_problems(train, val, whole=whole, balance=config.classifier.balance)
    return dataclasses.replace(train, problems=tuple(dict.fromkeys((*train.problems, *val.problems, *classes)))), val


def _labelled(val: DataSet, train: DataSet) -> DataSet:
    """Return the photos of ``val`` that have a class of ``train``, with the labels of ``train``."""
    val = align_classes(val, train.classes, train.background)
    labelled = tuple(sample for sample in val.samples if sample.label is not None)
    if not labelled:
        raise DataError(f"{val.root}: no validation photo has a class; sort them into the folders of the training photos")
    if len(labelled) < len(val):
        others = some((sample.id for sample in val.samples if sample.label is None), 3)
        message = (
            f"{counted(len(val) - len(labelled), 'validation photo', 'has')} no class of the training photos, left out: "
            f"{others}; sort them into those classes, or remove them"
        )
        val = dataclasses.replace(val, problems=(*val.problems, Problem(val.root, message)))
    return dataclasses.replace(val, samples=labelled)


def _without_copies(val: DataSet, train: DataSet, copies: Mapping[Path, str]) -> DataSet:
    """Return the photos of ``val`` that are not copies of training photos, on which every choice would look good."""
    learned = {copies[sample.path] for sample in train.samples if sample.path in copies}
    others = tuple(sample for sample in val.samples if copies.get(sample.path) not in learned)
    if not others:
        what = f"all {len(val)} validation photos are copies" if len(val) > 1 else "the only validation photo is a copy"
        raise DataError(
            f"{val.root}: {what} of training photos; put other photos there, or remove the folder: a part of the training "
            "photos is then set aside"
        )
    return dataclasses.replace(val, samples=others)
