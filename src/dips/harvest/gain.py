"""What a review brings, measured on the reviewed photos themselves: each is tested on a map that was not corrected with it.

In: a finished map and the boxes of reviewed photos. Out: how well the boxes of the map fit the objects without a correction,
with a correction by half of the photos, and with one by three quarters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dips.data.gain import ReviewGain, Tally
from dips.evaluate.detection import box_iou, match_boxes
from dips.harvest.correct import GRID, Standard, correct, known_classes
from dips.models.linear_map import LinearMap
from dips.scoremaps.levels import boxes_from_map
from dips.types import Review

__all__ = ["review_gain"]

_LEAST, _MOST = 8, 100  # photos with boxes: fewer are inconclusive, more only take longer
_PARTS = 4
_MIN_AREA, _MAX_BOXES = 0.005, 100


def review_gain(
    linear: LinearMap,
    blocks: Sequence[Tensor],
    labels: Sequence[Sequence[int]],
    reviews: Sequence[Review],
    standard: Standard,
    photos: Sequence[str] = (),
) -> ReviewGain | None:
    """Return what a correction with reviewed photos brings; None if fewer than eight of them have boxes.

    Args:
        linear: the map before any correction; it is not changed.
        blocks, labels, reviews, standard: as in :func:`~dips.harvest.correct.correct`.
        photos: the photo of each row, as tiles of one photo are not tested on each other; empty if each row is a photo.
    """
    boxed: dict[str, list[int]] = {}
    empty: dict[str, list[int]] = {}
    for row, item in enumerate(reviews):
        (boxed if len(item) else empty).setdefault(photos[row] if photos else str(row), []).append(row)
    if len(boxed) < _LEAST:
        return None
    chosen = list(boxed)[:: -(-sum(map(len, boxed.values())) // _MOST)]
    rows = [row for photo in chosen for row in boxed[photo]]

    def of(rows: Sequence[int]) -> tuple[list[Tensor], list[Sequence[int]], list[Review]]:
        return [block[list(rows)] for block in blocks], [labels[row] for row in rows], [reviews[row] for row in rows]

    def tried(parts: int) -> Tally:
        tallies = []
        for part in range(parts):
            held = set(chosen[part::parts])
            corrected = copy.deepcopy(linear)
            others = [row for photo in chosen if photo not in held for row in boxed[photo]]
            others += [row for photo, own in empty.items() if photo not in held for row in own]
            correct(corrected, *of(others), standard)
            tallies.append(_tally(corrected, *of([row for photo in chosen if photo in held for row in boxed[photo]])))
        return Tally(**{name: sum(getattr(tally, name) for tally in tallies) for name in Tally.__struct_fields__})

    without = _tally(linear, *of(rows))
    return ReviewGain(photos=len(chosen), without=without, half=tried(2), most=tried(_PARTS))


@torch.no_grad()
def _tally(linear: LinearMap, blocks: Sequence[Tensor], labels: Sequence[Sequence[int]], reviews: Sequence[Review]) -> Tally:
    """Count the boxes of a map, thresholded at its own level, and those that fit."""
    overlap, right, found = 0.0, 0, 0
    for row, own in enumerate(labels):
        logits = linear([block[row : row + 1].float() for block in blocks], known_classes([own], len(linear.bias)))
        finer = F.interpolate(logits[None], (GRID, GRID), mode="bilinear", align_corners=False)[0, 0]
        score_map = torch.sigmoid(finer - linear.level).numpy()
        threshold = min(1.0, 0.5 / max(float(score_map.max()), 1e-6))
        candidates, _, _ = boxes_from_map(score_map, threshold, min_area=_MIN_AREA, max_boxes=_MAX_BOXES)
        overlap += float(box_iou(candidates / GRID, reviews[row].boxes).max(0, initial=0).sum())
        right += len(match_boxes(candidates / GRID, reviews[row].boxes))
        found += len(candidates)
    return Tally(overlap=overlap, right=right, boxes=found, objects=sum(map(len, reviews)))
