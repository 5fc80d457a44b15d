"""Crops and flips: photo, activation and proposal are moved together (paper 4: resize 256, random crop 224, horizontal flip).

In: a :class:`~dips.train.batches.Batch`; out: :class:`Views` at the crop's size, on the batch's device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dips.config import TrainConfig
from dips.train.batches import Batch
from dips.train.crops import draw_crops

__all__ = ["Views", "draw_views"]

_MIN_PEAK = 1e-3  # a crop whose maximum is below this fraction of the map's is not scaled up further


@dataclass(frozen=True)
class Views:
    """One random crop of side C per photo.

    Attributes:
        images: ``(B, 3, C, C) float32`` in [0, 1], channels last in memory.
        activation: ``(B, C, C) float32``, with maximum 1 in the crop.
        inside: ``(B, C, C) bool``: the proposal's pixels, by ``train.fg_from``.
        outside: ``(B, C, C) bool``: pixels that may be background, by ``train.bg_from``.
        labels: ``(B,) int64``.
        has_proposal: ``(B,) bool``: the photo has a proposal.
    """

    images: Tensor
    activation: Tensor
    inside: Tensor
    outside: Tensor
    labels: Tensor
    has_proposal: Tensor


def draw_views(batch: Batch, config: TrainConfig, generator: torch.Generator) -> Views:
    """Cut one random crop from every photo of the batch.

    Args:
        batch: on any device; the crops stay on it.
        generator: on the CPU.
    """
    side = config.resize
    crops = draw_crops(len(batch.labels), resize=side, crop=config.crop, flip=config.flip, generator=generator)
    # cropped as bytes, a quarter of the size of floats
    images = crops.apply_to(batch.images.permute(0, 3, 1, 2)).to(torch.float32, memory_format=torch.channels_last).div_(255)
    activation = interpolate(batch.maps.float(), (side, side), mode="bilinear", align_corners=False)
    activation = crops.apply_to(activation)[:, 0].clamp(min=0)
    activation = activation / activation.amax((1, 2), keepdim=True).clamp(min=_MIN_PEAK)
    box = crops.apply_to(_fill(batch.boxes, side)[:, None])[:, 0]
    if config.fg_from == "box":
        inside = box
    else:
        regions = batch.regions
        if regions.shape[-2:] != (side, side):
            regions = interpolate(regions.to(torch.uint8), (side, side), mode="nearest-exact").bool()
        inside = crops.apply_to(regions)[:, 0]
    outside = torch.ones_like(box) if config.bg_from == "image" else ~box
    return Views(images, activation, inside, outside, batch.labels, batch.has_proposal)


def _fill(boxes: Tensor, side: int) -> Tensor:
    """Return relative boxes ``(B, 4)`` as masks ``(B, side, side)``: the pixels whose centre lies inside."""
    centre = (torch.arange(side, device=boxes.device) + 0.5) / side
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    rows = (centre >= y0) & (centre < y1)
    columns = (centre >= x0) & (centre < x1)
    return rows[:, :, None] & columns[:, None, :]
