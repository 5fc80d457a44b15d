"""Which tiles of labelled photos show what the photo's label says: multiple-instance learning on pooled features.

In: pooled features of tiles, and tiles with the labels of their photos. Out: a label per tile. Tiles of photos without object
show none. Of every other photo at least one tile shows its object. Rounds of a linear classifier find out which, narrowing down
from all tiles of a photo to its best one. Each photo is scored by a classifier fitted on other photos, as one that had seen its
tiles would only confirm the labels it was given. The best tile of a photo is kept, and so are all that score above nearly all
tiles without object; the others are left out, as it is unknown what they show. Of a photo with several labels, at least one
tile shows each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.models.linear_probe import fit_linear
from dips.types import Sample

__all__ = ["choose_labels", "choose_views"]

_ROUNDS, _FOLDS = 5, 4  # after each round fewer of a photo's tiles count as object, after the last one (docs/experiments.md)
_PENALTY = 1.0  # strong: most of the tiles that count as object in the first round show none
_ABOVE = 0.99  # of the tiles without object that a tile must outscore to count as object


def choose_labels(
    pooled: Tensor, samples: Sequence[Sample], fitted: int, *, background: int, classes: int
) -> list[tuple[int, ...] | None]:
    """Return the labels of each view, which enters :func:`choose_views` once for each label that it may show.

    Arguments and errors are those of :func:`choose_views`.
    """
    alone = [[_with_label(sample, label) for label in _possible(sample, i < fitted)] for i, sample in enumerate(samples)]
    owners = [i for i, views in enumerate(alone) for _ in views]
    views = [view for group in alone for view in group]
    count = sum(owner < fitted for owner in owners)
    found = iter(choose_views(pooled[owners], views, count, background=background, classes=classes))
    groups = [[next(found) for _ in group] for group in alone]
    return [
        tuple(label for label in group if label is not None and label != background)
        or ((background,) if set(group) == {background} else None)
        for group in groups
    ]


def _possible(sample: Sample, learned: bool) -> list[int]:
    """Return which of its photo's labels a view may show: if its boxes are known, only theirs. For the others it is no example
    of background."""
    known = sample.boxed and len(sample.box_labels) > 0 and (sample.reviewed or not learned)
    return [label for label in sample.labels if not known or label in sample.box_labels]


def _with_label(sample: Sample, label: int) -> Sample:
    """Return a view with one of its labels, and the boxes of that class, if they are known."""
    boxes = sample.boxes
    if boxes is not None and sample.box_labels:
        boxes = boxes[[own == label for own in sample.box_labels]]
    elif boxes is not None and len(boxes) and label != sample.label:
        boxes = None
    return dataclasses.replace(sample, label=label, others=(), boxes=boxes, box_labels=())


def choose_views(pooled: Tensor, samples: Sequence[Sample], fitted: int, *, background: int, classes: int) -> list[int | None]:
    """Return the label of each view, None for views that are to be left out.

    Each view has one label here. Whole photos keep theirs, and so do tiles with a box, if the boxes of their photo are known;
    tiles of such photos without a box show nothing.

    Args:
        pooled: features ``(N, F)``.
        samples: the N views.
        fitted: number of views, from the first, to fit on; their boxes count only if a person provided them for training.
        background: label of photos without object.
        classes: number of classes, including ``background``.

    Raises:
        DataError: the features are not finite.
    """
    return _Choice(pooled, samples, fitted, background, classes).run()


class _Choice:
    """The rounds of :func:`choose_views`; all arrays are over the N views."""

    def __init__(self, pooled: Tensor, samples: Sequence[Sample], fitted: int, background: int, classes: int) -> None:
        self.pooled, self.background, self.classes = pooled.float(), background, classes
        self.own = np.array([sample.label for sample in samples], np.int64)
        known = [_known(sample, i < fitted, background) for i, sample in enumerate(samples)]
        self.known = np.array([label is not None for label in known])
        self.labels = np.array([own if label is None else label for own, label in zip(self.own, known, strict=True)], np.int64)
        self.photos = _numbered([(sample.path, sample.label) for sample in samples])
        self.places = _numbered([(sample.path, sample.window) for sample in samples])
        self.learned = np.arange(len(samples)) < fitted
        self.fold = _folds(_numbered([sample.path for sample in samples]), self.own) if len(samples) else self.photos

    def run(self) -> list[int | None]:
        """Run the rounds and return the labels, see :func:`choose_views`."""
        kept = np.ones(len(self.labels), np.bool_)  # in the first round every view of a photo counts as showing its object
        if not self.known.all():
            for turn in range(1, _ROUNDS + 1):
                kept = self.known | self._best(self._scores(kept), 1 - turn / _ROUNDS)
            scores = self._scores(kept)
            empty = self.learned & self.known & (self.labels == self.background)
            best = np.full(len(scores), -np.inf, np.float32)  # over the labels of a view
            np.maximum.at(best, self.places, scores)
            kept |= (scores > max(0.0, float(np.quantile(scores[empty], _ABOVE)))) & (scores == best[self.places])
        return [int(label) if keep else None for label, keep in zip(self.labels, kept, strict=True)]

    def _scores(self, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the margin of the logit of the photo's class, or else of the likeliest one, over that of the background."""
        result = np.zeros(len(kept), np.float32)
        for fold in range(_FOLDS):
            inside = self.learned & kept & (self.fold != fold)
            if not (self.labels[inside] == self.background).any() or (self.labels[inside] == self.background).all():
                inside = self.learned & kept  # too few photos to set some aside
            rows = np.flatnonzero(self.fold == fold)
            result[rows] = self._logits(np.flatnonzero(inside), rows)
        return result

    def _logits(self, inside: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Fit to the views ``inside`` and return the scores of the views ``rows``."""
        labels = torch.from_numpy(self.labels[inside])
        weight, bias, _ = fit_linear(self.pooled[inside], labels, self.classes, penalty=_PENALTY)
        counts = torch.bincount(labels, minlength=self.classes).clamp(min=1)
        logits = (self.pooled[rows] @ weight.mT + bias - counts.log()).numpy()  # as if the classes were equally frequent
        logits -= logits[:, [self.background]]
        own = self.own[rows]
        likeliest = np.delete(logits, self.background, axis=1).max(1)
        return np.where(own == self.background, likeliest, logits[np.arange(len(rows)), own])

    def _best(self, scores: NDArray[np.float32], power: float) -> NDArray[np.bool_]:
        """Return which views are the best of their photo: ``n ** power`` of its n, rounded up, so a power of 0 keeps one."""
        order = np.lexsort((-scores, self.photos))
        counts = np.bincount(self.photos)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        best = np.zeros(len(order), np.bool_)
        best[order] = rank < np.ceil(np.repeat(counts, counts) ** power - 1e-9)
        return best


def _known(sample: Sample, learned: bool, background: int) -> int | None:
    """Return the label of a view, None if it is not known."""
    if sample.window is None or sample.label == background:
        return sample.label
    if sample.boxes is None or (learned and not sample.reviewed):
        return None
    return sample.label if sample.boxed else background


def _numbered(items: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return a number for each item, equal for equal items, counted from 0 in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], np.int64)


def _folds(photos: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold ``(N,)`` of each view: the photos of each class are dealt out in turn, so that folds are balanced."""
    first = np.unique(photos, return_index=True)[1]
    folds = np.zeros(len(first), np.int64)
    for label in np.unique(labels[first]):
        of_class = np.flatnonzero(labels[first] == label)
        folds[of_class] = np.arange(len(of_class)) % _FOLDS
    return folds[photos]
