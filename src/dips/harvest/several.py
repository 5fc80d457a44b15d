"""Directions of object classes where photos have several labels: which of a photo's objects is of which class is found.

In: features of cells, and which cells are object. Out: logits of each class against background. Expectation-maximization: a
cell of a photo belongs to each of its labels as far as the directions of the last round say, and to no other class; at first
to all alike. What two labels that always come together look like apart from each other, nothing can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dips.types import FloatArray

__all__ = ["boxed_masks", "class_directions"]

_ROUNDS = 8
_SHRINKAGE = 10.0  # photos: with so many of its own, a class counts as much as the mean of all classes
_PENALTY = 1.0  # ridge of what tells classes apart, weaker than that of what tells objects from background (docs/results.md)


def class_directions(
    labels: Sequence[Sequence[int]],
    classes: int,
    foreground: Tensor,
    means: Tensor,
    background: Tensor,
    *,
    penalty: float,
    cells: Callable[[int], Tensor],
    solve: Callable[[Tensor, float], Tensor],
    known: Mapping[int, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return a direction ``(K, D)`` and a bias ``(K,)`` per class.

    Args:
        labels: of the M photos that show an object, below ``classes``, each photo's own.
        classes: K.
        foreground: which cells are object, ``(M, P)``.
        means: mean features of these cells, ``(M, D)``.
        background: mean features of the others, ``(D,)``.
        penalty: ridge of what tells objects from background.
        cells: returns the features ``(P, D)`` of the photo at a position.
        solve: returns directions ``(D, N)`` with a ridge, given differences of means ``(D, N)``.
        known: masks ``(L, P)`` of photos by position, where it is known which cells belong to each of their labels.
    """
    counts = torch.bincount(torch.tensor([label for own in labels for label in own]), minlength=classes)[:, None].float()
    mean, trust = means.mean(0), counts / (counts + _SHRINKAGE)
    step = (mean - background)[:, None]
    common = solve(step, penalty)[:, 0]
    # classes are told apart on the scale of the common direction, which its own ridge makes shorter
    scale = float(common @ step[:, 0]) / max(float(solve(step, _PENALTY)[:, 0] @ step[:, 0]), 1e-6)
    found: tuple[Tensor, Tensor] | None = None
    for _ in range(_ROUNDS + 1):
        sums = torch.zeros(classes, means.shape[1])
        for position, own in enumerate(labels):
            chosen = list(own)
            if len(chosen) == 1:
                sums[chosen[0]] += means[position]
                continue
            features, shown = cells(position), foreground[position]
            if position in known:
                masks = known[position]
            elif found is None or not shown.any():
                masks = (shown if shown.any() else torch.ones_like(shown)).expand(len(chosen), -1)
            else:
                masks = (features @ found[0][chosen].mT + found[1][chosen]).softmax(1).mT * shown
            sums[chosen] += masks / masks.sum(1, keepdim=True).clamp(min=1e-12) @ features
        apart = trust * (sums / counts.clamp(min=1) - mean)
        weights = scale * solve(apart.mT, _PENALTY).mT
        biases = -(common @ (mean + background)) / 2 - (weights * (2 * mean + apart)).sum(1) / 2
        found = common + weights, biases
    assert found is not None
    return found


def boxed_masks(labels: Sequence[int], boxes: FloatArray, box_labels: Sequence[int], grid: int, foreground: Tensor) -> Tensor:
    """Return which cells ``(L, P)`` belong to each of a photo's L labels: those that are object in its boxes, or else all
    there; without a box all that are object.

    Args:
        labels: of the photo.
        boxes: ``(K, 4)``, ``x0 y0 x1 y1`` as fractions of the frame.
        box_labels: K of them, among ``labels``.
        grid: the side of the cells' grid, ``P = grid ** 2``.
        foreground: which cells are object, ``(P,)``.
    """
    centres = (torch.arange(grid) + 0.5) / grid
    masks = torch.zeros(len(labels), grid, grid)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), box_labels, strict=True):
        inside = ((centres >= y0) & (centres < y1))[:, None] & ((centres >= x0) & (centres < x1))
        masks[[label == own for own in labels], inside] = 1
    masks = masks.flatten(1)
    both = masks * foreground
    return torch.where(both.any(1, keepdim=True), both, torch.where(masks.any(1, keepdim=True), masks, foreground))
