"""CutMix (Yun et al., ICCV 2019, section 3.1): a box of another photo is pasted in, and the label is mixed by its area.

In: training crops. Out: mixed crops with two labels each. The fitted network sees photos as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines.cnn import CnnMethod

__all__ = ["CutMix", "draw_box", "mix"]

Box = tuple[int, int, int, int]


def draw_box(height: int, width: int, fraction: float, generator: torch.Generator) -> Box:
    """Return a clipped box ``x0 y0 x1 y1`` in pixels, with the photo's aspect ratio, around a uniform pixel (equation 2).

    Args:
        height, width: size of the photo in pixels.
        fraction: fraction of the area outside the box before clipping, in [0, 1]: the paper's lambda.
        generator: CPU generator for drawing the pixel.
    """
    x, y = (int(torch.randint(side, (), generator=generator)) for side in (width, height))
    across, down = (int(side * (1 - fraction) ** 0.5) for side in (width, height))
    left, top = x - across // 2, y - down // 2
    return max(0, left), max(0, top), min(width, left + across), min(height, top + down)


def mix(images: Tensor, order: Tensor, box: Box) -> tuple[Tensor, float]:
    """Return ``images`` with the box of ``images[order]`` pasted in, and the fraction of area outside it (equation 1).

    Args:
        images: ``(B, 3, H, W)``; they are not modified.
        order: ``(B,)`` indices of the photos that the boxes come from.
        box: ``x0 y0 x1 y1`` in pixels, end exclusive.

    Returns:
        ``(B, 3, H, W)``, and the fraction in [0, 1] that is each photo's own: lambda of the clipped box.

    >>> images = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    >>> mixed, fraction = mix(images, torch.tensor([1, 0]), (0, 0, 2, 1))
    >>> mixed[0, 0].tolist(), fraction
    ([[1.0, 1.0], [0.0, 0.0]], 0.5)
    """
    x0, y0, x1, y1 = box
    mixed = images.clone()
    mixed[..., y0:y1, x0:x1] = images[order, :, y0:y1, x0:x1]
    return mixed, 1 - (x1 - x0) * (y1 - y0) / (images.shape[-2] * images.shape[-1])


class CutMix(CnnMethod):
    """A classifier trained on photos with pasted boxes from other photos (section 3.1)."""

    name = "cutmix"
    title = "CutMix"
    paper = "Yun et al., ICCV 2019"

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy with both labels, weighted by area, of crops ``(B, 3, H, W)`` in [0, 1].

        Every batch is mixed, as in the WSOL benchmark (Choe et al. 2020), with one box.
        """
        height, width = images.shape[-2:]
        fraction = float(torch.rand((), generator=generator))  # uniform: Beta(1, 1), as everywhere in the paper (3.1)
        order = torch.randperm(len(images), generator=generator).to(images.device)
        mixed, fraction = mix(images, order, draw_box(height, width, fraction, generator))
        logits = self.net(mixed)
        return fraction * F.cross_entropy(logits, labels) + (1 - fraction) * F.cross_entropy(logits, labels[order])
