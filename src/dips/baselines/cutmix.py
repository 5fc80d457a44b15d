"""CutMix (Yun et al., ICCV 2019, section 3.1): a box of another photo is pasted in, and the label is mixed by its area.

In: training crops. Out: mixed crops with two labels each. The fitted network sees photos as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines.cnn import CnnMethod

__all__ = ["CutMix", "draw_box", "mix"]

PROBABILITY = 1.0
"""That a batch is mixed, as in the WSOL benchmark (Choe et al. 2020). Fractions of area are uniform, Beta(1, 1), as everywhere
in the paper (section 3.1)."""

Box = tuple[int, int, int, int]


def draw_box(height: int, width: int, kept: float, generator: torch.Generator) -> Box:
    """A box ``x0 y0 x1 y1`` of the photo's shape around a pixel drawn uniformly (equation 2), clipped to the photo.

    Args:
        kept: share of the area that it leaves before it is clipped, the paper's lambda.
    """
    x, y = (int(torch.randint(side, (), generator=generator)) for side in (width, height))
    across, down = (int(side * (1 - kept) ** 0.5) for side in (width, height))
    left, top = x - across // 2, y - down // 2
    return max(0, left), max(0, top), min(width, left + across), min(height, top + down)


def mix(images: Tensor, order: Tensor, box: Box) -> tuple[Tensor, float]:
    """Paste the box of ``images[order]`` into ``images`` (equation 1).

    Args:
        images: ``(B, 3, H, W)``; left as they are.
        order: ``(B,)``, from which photo each box comes.

    Returns:
        ``(B, 3, H, W)``, and the share of its own area that each photo keeps: lambda, made true after clipping.
    """
    x0, y0, x1, y1 = box
    mixed = images.clone()
    mixed[..., y0:y1, x0:x1] = images[order, :, y0:y1, x0:x1]
    return mixed, 1 - (x1 - x0) * (y1 - y0) / (images.shape[-2] * images.shape[-1])


class CutMix(CnnMethod):
    """A classifier of photos with a box of others in them."""

    name = "cutmix"
    title = "CutMix"
    paper = "Yun et al., ICCV 2019"

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy with both labels, weighted by area; one box for the whole batch."""
        if torch.rand((), generator=generator) >= PROBABILITY:
            return super().loss(images, labels, generator)
        height, width = images.shape[-2:]
        kept = float(torch.rand((), generator=generator))  # Beta(1, 1) is the uniform distribution
        order = torch.randperm(len(images), generator=generator).to(images.device)
        mixed, kept = mix(images, order, draw_box(height, width, kept, generator))
        logits = self.net(mixed)
        return kept * F.cross_entropy(logits, labels) + (1 - kept) * F.cross_entropy(logits, labels[order])
