"""Corrects finished linear maps with boxes that a person confirmed or drew on some of the photos (``dips train --reviewed``).

In: a map fitted on image labels, and the boxes of a few dozen photos. Out: the same map, changed in place. Its logits become
``s * logit + x . v + b`` on standardised features ``x``: a scale, a direction and an offset for all classes, found with a loss
that boxes can supervise: each row and column of a box contains a cell of the object, and no cell outside all boxes does.
Which cells of a box belong to the object is left to the map, unless there is an outline: then all of its cells do. The ridge
on ``v`` falls with the square root of the number of photos, so that one photo changes little (measured: docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dips.data.outlines import HALF, object_shares
from dips.harvest.grids import interpolation
from dips.models.linear_map import LinearMap
from dips.types import FloatArray, Review

__all__ = ["Standard", "correct", "known_classes"]

GRID = 64
"""Cells per side of the grid on which boxes are drawn."""

_RIDGE = 0.63  # for a single reviewed photo; for N of them it is divided by the root of N
_INSIDE, _EDGE, _AREA = 0.5, 0.25, 0.25  # weights of the parts of the loss
_NEVER = -20.0  # logit of a row without a cell outside the boxes
_FIRST_SCALE, _LEAST_SCALE = 0.5, 0.1
_STEPS, _HISTORY = 60, 20
_CHUNK = 32  # photos whose features are converted to float32 at once


@dataclass(frozen=True)
class Standard:
    """How features are standardised: ``(x - mean) / deviation``, both ``(D,)`` for the channels of all blocks."""

    mean: Tensor
    deviation: Tensor


def correct(
    linear: LinearMap,
    blocks: Sequence[Tensor],
    labels: Sequence[Sequence[int]],
    reviews: Sequence[Review],
    standard: Standard,
) -> bool:
    """Correct a map in place with reviewed photos.

    Args:
        linear: a finished map; its level is 0 afterwards.
        blocks: the photos' features ``(N, C_i, h_i, w_i)``, the blocks that the map uses.
        labels: object classes of each photo; empty if it shows no object.
        reviews: the review of each photo.
        standard: the standardisation of these blocks' channels.

    Returns:
        Whether the map was changed; False if no photo has a box, or if the boxes contradict the map altogether.
    """
    if not any(reviews):
        return False
    return _Correction(linear, blocks, labels, reviews, standard).run()


def known_classes(labels: Sequence[Sequence[int]], outputs: int) -> Tensor:
    """Return probabilities ``(N, outputs)`` of known object classes: uniform over a photo's own, or over all without any."""
    priors = torch.full((len(labels), outputs), 1 / outputs)
    for row, own in enumerate(labels):
        if own:
            priors[row] = 0
            priors[row, list(own)] = 1 / len(own)
    return priors


class _Correction:
    """One correction; ``N`` photos, ``g`` the side of the finest block's grid."""

    def __init__(
        self,
        linear: LinearMap,
        blocks: Sequence[Tensor],
        labels: Sequence[Sequence[int]],
        reviews: Sequence[Review],
        standard: Standard,
    ) -> None:
        self.linear, self.blocks, self.standard = linear, blocks, standard
        self.grid = max(block.shape[-1] for block in blocks)
        self.widths = [block.shape[1] for block in blocks]
        self.upsampling = [interpolation(block.shape[-1], self.grid) for block in blocks]
        self.finer = interpolation(self.grid, GRID)
        self.cells = [_cells(item) for item in reviews]
        self.boxed = sum(len(item) > 0 for item in reviews)
        # an empty photo gives no information on the inside of boxes, and many of them must not outweigh the boxes
        empty = min(1.0, self.boxed / max(1, len(reviews) - self.boxed))
        weights = torch.tensor([1.0 if len(item) else empty for item in reviews])
        self.weights = weights / weights.sum()
        with torch.no_grad():
            self.first = torch.cat(
                [
                    linear([part.float() for part in parts], known_classes(labels[start:stop], len(linear.bias)))
                    for start, stop, parts in self._chunks()
                ]
            )

    def run(self) -> bool:
        """Minimise the loss and write the result into the map; return False if it is left unchanged."""
        direction = torch.zeros(sum(self.widths), requires_grad=True)
        affine = torch.tensor([_FIRST_SCALE, 0.0], requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [direction, affine], max_iter=_STEPS, history_size=_HISTORY, line_search_fn="strong_wolfe"
        )
        ridge = _RIDGE / np.sqrt(self.boxed)

        def closure() -> float:
            optimizer.zero_grad()
            total = ridge / 2 * direction.square().sum()
            total.backward()
            value = float(total.detach())
            for start, stop, parts in self._chunks():  # all photos' features in float32 at once would dominate memory
                logits = affine[0] * self.first[start:stop] + self._shift(parts, direction) + affine[1]
                loss = self._loss(self.finer @ logits @ self.finer.mT, start)
                loss.backward()
                value += float(loss.detach())
            return value

        with torch.enable_grad():
            optimizer.step(closure)
        scale, offset = affine.detach().tolist()
        if scale < _LEAST_SCALE:
            return False
        self._write(scale, direction.detach(), offset)
        return True

    def _chunks(self) -> Iterator[tuple[int, int, list[Tensor]]]:
        count = len(self.cells)
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            yield start, stop, [block[start:stop] for block in self.blocks]

    def _shift(self, parts: Sequence[Tensor], direction: Tensor) -> Tensor:
        """Return ``x . v`` ``(B, g, g)`` for the blocks of some photos."""
        plain = direction / self.standard.deviation
        total = torch.zeros(len(parts[0]), self.grid, self.grid) - plain @ self.standard.mean
        for part, rows, own in zip(parts, self.upsampling, plain.split(self.widths), strict=True):
            total = total + rows @ torch.einsum("nchw,c->nhw", part.float(), own) @ rows.mT
        return total

    def _loss(self, logits: Tensor, start: int) -> Tensor:
        """Return the loss of the photos from position ``start`` on, given their logits ``(B, GRID, GRID)``."""
        total = logits.new_zeros(())
        outside = torch.ones(len(logits), GRID, GRID, dtype=torch.bool)
        for row, cells in enumerate(self.cells[start : start + len(logits)]):
            inside = logits.new_zeros(())
            for (x0, y0, x1, y1), mask in zip(cells.edges, cells.masks, strict=True):
                part = logits[row, y0:y1, x0:x1]
                if mask is None:
                    inside = inside + F.softplus(-part.amax(1)).mean() + F.softplus(-part.amax(0)).mean()
                else:
                    inside = inside + 2 * F.softplus(-part[mask]).mean()
            if len(cells.edges):
                total = total + _INSIDE / self.boxed * inside / (2 * len(cells.edges))
                outside[row] = ~cells.covered
        weights = self.weights[start : start + len(logits)]
        beyond = torch.where(outside, logits, torch.tensor(_NEVER))
        edge = (F.softplus(beyond.amax(1)).mean(1) + F.softplus(beyond.amax(2)).mean(1)) / 2
        area = (outside * F.softplus(logits)).sum((1, 2)) / outside.sum((1, 2)).clamp(min=1)
        return total + (weights * (_EDGE * edge + _AREA * area)).sum()

    def _write(self, scale: float, direction: Tensor, offset: float) -> None:
        """Update the map; with several classes, divided by the scale, as their priors are added inside the map."""
        plain = direction / self.standard.deviation
        bias = offset - plain @ self.standard.mean
        single = len(self.linear.bias) == 1
        for weight, part in zip(self.linear.weights, plain.split(self.widths), strict=True):
            weight.mul_(scale).add_(part) if single else weight.add_(part / scale)
        self.linear.bias.mul_(scale).add_(bias) if single else self.linear.bias.add_(bias / scale)
        self.linear.level.fill_(0)


@dataclass(frozen=True)
class _Cells:
    """The objects of a photo on the grid.

    Attributes:
        edges: boxes ``x0 y0 x1 y1`` in cells.
        masks: which cells of each box belong to the object, ``(y1 - y0, x1 - x0)``; None if only the box is known.
        covered: the cells of all objects, ``(GRID, GRID)``.
    """

    edges: tuple[tuple[int, int, int, int], ...]
    masks: tuple[Tensor | None, ...]
    covered: Tensor


def _cells(review: Review) -> _Cells:
    covered = np.zeros((GRID, GRID), bool)
    edges: list[tuple[int, int, int, int]] = []
    masks: list[Tensor | None] = []
    outlined = object_shares(review, (GRID, GRID)) >= HALF if review.outlines else None
    for position, box in enumerate(np.clip(review.boxes * GRID, 0, GRID)):
        low = np.clip(np.floor(box[:2] + 0.5), 0, GRID - 1).astype(int)
        high = np.clip(np.floor(box[2:] + 0.5), low + 1, GRID).astype(int)
        within = slice(low[1], high[1]), slice(low[0], high[0])
        own, mask = None, None
        if outlined is not None and review.outlines[position] is not None and outlined[position][within].any():
            own = outlined[position]
            mask = torch.from_numpy(own[within])
        if own is None:
            own = _boxed(box)
            if not own.any():  # thinner than a cell, which would have to be object and background at once
                own[within] = True
        covered |= own
        masks.append(mask)
        edges.append((int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    return _Cells(tuple(edges), tuple(masks), torch.from_numpy(covered))


def _boxed(box: FloatArray) -> NDArray[np.bool_]:
    """Return the mask ``(GRID, GRID)`` of the cells that a box, in cells, covers by half or more."""
    x0, y0, x1, y1 = box
    starts = np.arange(GRID)
    down, across = (
        np.clip(np.minimum(starts + 1, end) - np.maximum(starts, start), 0, 1) for start, end in ((y0, y1), (x0, x1))
    )
    return np.asarray(np.outer(down, across) >= HALF)
