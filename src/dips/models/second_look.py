"""The second look: where the first map shows its object, how it is cut out of the photo, and how both maps are merged.

In: logits and images of a batch. Out: windows ``(B, 4)``, ``x0 y0 x1 y1`` in fractions of the frame; crops; logits. Tensors
only, so that an exported file contains these steps like any other layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dips.models.inputs import resize_to

__all__ = ["crop", "object_windows", "paste"]

SECOND_WEIGHT = 0.5
"""Weight of the second look's logits inside the window; the rest is the first look's (docs/experiments.md)."""

_ENLARGED = 1.5  # the window's sides, as multiples of the object's
_SMALLEST = 0.25  # side of a window, as a fraction of the frame
_GRID = 32  # cells per side of the map that the object is found on
_STEPS = 2 * _GRID  # maximum number of cells on a path from an object's peak to its end


def object_windows(logits: Tensor, level: Tensor | float) -> Tensor:
    """Return windows ``(B, 4)`` around the object in which each map peaks: half as large again as its box, inside the frame.

    The object is the 8-connected component of the highest cell among the cells above ``level``. It is grown from there step by
    step, by at most 64 cells: the steps are the same for every photo, so that they suit a batch, a GPU and an exported file.

    Args:
        logits: ``(B, H, W)``.
        level: the logit above which a cell is object.

    >>> logits = torch.full((1, 8, 8), -1.0)
    >>> logits[0, 2:4, 2:6], logits[0, 7, 7] = 3.0, 1.0
    >>> object_windows(logits, 0.0).tolist()
    [[0.125, 0.1875, 0.875, 0.5625]]
    """
    cells = (resize_to(logits[:, None], _GRID) if logits.shape[-1] > _GRID else logits[:, None]).float()
    flat = cells.flatten(1)
    # the first of several peaks: what is connected to one peak is one object
    region = (torch.arange(flat.shape[1], device=flat.device) == flat.argmax(1, keepdim=True)).float().view_as(cells)
    inside = torch.maximum((cells > level).float(), region)
    for _ in range(_STEPS):
        region = F.max_pool2d(region, 3, stride=1, padding=1) * inside
    left, right = _ends(region.amax((1, 2)))
    top, bottom = _ends(region.amax((1, 3)))
    return torch.stack([left, top, right, bottom], dim=1)


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """Return where windows begin and end along one axis, given the cells ``(B, N)`` in {0, 1} of their objects along it."""
    count = line.shape[1]
    cells = torch.arange(count, device=line.device, dtype=line.dtype)
    first = torch.where(line > 0, cells, float(count)).amin(1) / count
    last = torch.where(line > 0, cells + 1, 0.0).amax(1) / count
    centre, half = (first + last) / 2, ((last - first) * (_ENLARGED / 2)).clamp(min=_SMALLEST / 2)
    return (centre - half).clamp(0, 1), (centre + half).clamp(0, 1)


def crop(images: Tensor, windows: Tensor, side: int) -> Tensor:
    """Return windows ``(B, 4)`` of square images ``(B, C, H, W)``, resized bilinearly to ``(B, C, side, side)``.

    Images larger than twice the side are first reduced to that, so that no pixel is skipped.
    """
    images = resize_to(images, min(images.shape[-1], 2 * side))
    centres = _centres(side, images)
    x = windows[:, None, 0] + (windows[:, None, 2] - windows[:, None, 0]) * centres
    y = windows[:, None, 1] + (windows[:, None, 3] - windows[:, None, 1]) * centres
    return _sampled(images, x, y)


def paste(first: Tensor, second: Tensor, windows: Tensor) -> Tensor:
    """Return logits ``(B, S, S)``: those of the first look, inside the windows averaged with the second look's ``(B, s, s)``.

    >>> both = paste(torch.zeros(1, 4, 4), torch.ones(1, 2, 2), torch.tensor([[0.5, 0.0, 1.0, 0.5]]))
    >>> [[round(value, 1) for value in row] for row in both[0].tolist()]
    [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    centres = _centres(first.shape[-1], first)
    x = (centres - windows[:, None, 0]) / (windows[:, None, 2] - windows[:, None, 0])  # in fractions of the window
    y = (centres - windows[:, None, 1]) / (windows[:, None, 3] - windows[:, None, 1])
    inside = ((x > 0) & (x < 1))[:, None, :] & ((y > 0) & (y < 1))[:, :, None]
    weight = SECOND_WEIGHT * inside.to(first.dtype)
    return (1 - weight) * first + weight * _sampled(second[:, None], x, y)[:, 0]


def _centres(side: int, like: Tensor) -> Tensor:
    """Return the centres ``(side,)`` of cells along an axis, in fractions of it."""
    return (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side


def _sampled(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` at columns ``x`` and rows ``y`` ``(B, S)``, in fractions of the frame."""
    count, side = x.shape
    grid = torch.stack([x[:, None, :].expand(count, side, side), y[:, :, None].expand(count, side, side)], dim=-1)
    return F.grid_sample(images, 2 * grid - 1, mode="bilinear", padding_mode="border", align_corners=False)
