"""Scores of proposals: the classifier sees each with the rest of the photo blurred (paper 3.2).

In: photos ``(F, F, 3) uint8`` and their proposals; out: the probability of the photo's class per proposal. ``box`` keeps
the box sharp (the paper). ``region`` keeps the component sharp: a map of the background has a box as large as the photo,
which box scoring mistakes for a perfect proposal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dips.harvest.proposals import Proposals
from dips.models.inputs import to_tensor
from dips.types import FloatArray

__all__ = ["best_proposals", "blurred", "masked_views", "score_proposals"]

_KERNEL, _SIGMA, _FRAME = 115, 100.5, 224  # the paper's blur for the 224 frame; it is scaled for others
_EDGE_SIGMA = 3.0  # softens a region's edge, pixels on the 224 frame


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur a photo ``(F, F, 3) uint8`` until nothing can be recognised."""
    scale = image.shape[0] / _FRAME
    kernel = 2 * round((_KERNEL * scale - 1) / 2) + 1
    # on bytes it takes five times as long
    smooth = cv2.GaussianBlur(image.astype(np.float32), (kernel, kernel), _SIGMA * scale)
    return np.asarray(np.rint(smooth), np.uint8)


def masked_views(image: NDArray[np.uint8], proposals: Proposals, score_on: str) -> Iterator[NDArray[np.uint8]]:
    """Yield one view ``(F, F, 3) uint8`` of the photo per proposal, blurred outside the proposal."""
    if len(proposals) == 0:
        return
    background = blurred(image)
    for box, region in zip(proposals.boxes, proposals.regions, strict=True):
        view = background.copy()
        if score_on == "box":
            window = _window(box, image.shape[0], 0)
            view[window] = image[window]
        else:
            sigma = _EDGE_SIGMA * image.shape[0] / _FRAME
            window = _window(box, image.shape[0], int(4 * sigma) + 2)  # beyond it the soft edge is 0
            opacity = cv2.GaussianBlur(region[window].astype(np.float32), (0, 0), sigma)
            view[window] = cv2.blendLinear(image[window], background[window], opacity, 1 - opacity)
        yield view


def _window(box: FloatArray, frame: int, margin: int) -> tuple[slice, slice]:
    """Return rows and columns of a relative box ``(4,)``, grown by ``margin`` pixels."""
    x0, y0, x1, y1 = (int(value) for value in np.rint(box * frame))
    return slice(max(y0 - margin, 0), y1 + margin), slice(max(x0 - margin, 0), x1 + margin)


@torch.inference_mode()
def score_proposals(
    classifier: nn.Module,
    images: Sequence[NDArray[np.uint8]],
    proposals: Sequence[Proposals],
    labels: Sequence[int],
    *,
    score_on: str,
    device: torch.device,
    batch: int | None = None,
) -> list[FloatArray]:
    """Return the probability of each photo's own class for each of its proposals.

    Args:
        classifier: ``(B, 3, F, F)`` in [0, 1] to logits ``(B, C)``.
        images: ``(F, F, 3) uint8`` RGB each.
        proposals, labels: the proposals and the class of each photo.
        score_on: what stays sharp: ``box`` or ``region``.
        batch: number of views that pass the classifier at once; None = a number that suits the device.

    Returns:
        ``(P,) float32`` in [0, 1] per photo.
    """
    batch = batch or (16 if device.type == "cpu" else 64)  # more than 16 do not fit into a CPU's cache
    counts = [len(item) for item in proposals]
    targets = torch.tensor(np.repeat(np.asarray(labels, np.int64), counts), dtype=torch.long)
    flat = (view for image, item in zip(images, proposals, strict=True) for view in masked_views(image, item, score_on))
    scores: list[torch.Tensor] = []
    while views := list(islice(flat, batch)):  # a photo may have hundreds of proposals
        start = sum(map(len, scores))
        probabilities = classifier(to_tensor(views, device)).float().softmax(1).cpu()
        scores.append(probabilities.gather(1, targets[start : start + len(views), None])[:, 0])
    joined = torch.cat(scores).numpy() if scores else np.zeros(0, np.float32)
    return [np.asarray(part, np.float32) for part in np.split(joined, np.cumsum(counts)[:-1])] if counts else []


def best_proposals(scores: FloatArray, *, top_p: int, min_score: float) -> NDArray[np.int64]:
    """Return the indices of the ``top_p`` best proposals, best first, from ``min_score`` on; the very best one always.

    >>> best_proposals(np.array([0.2, 0.9, 0.7], np.float32), top_p=2, min_score=0.5).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")[:top_p]
    return np.asarray([i for rank, i in enumerate(order) if rank == 0 or scores[i] >= min_score], np.int64)
