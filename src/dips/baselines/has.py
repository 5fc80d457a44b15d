"""Hide-and-Seek (Singh & Lee, ICCV 2017, section 3.1): a class must also be recognised when parts of the object are hidden.

In: training crops. Out: crops in which cells of a grid are covered by the mean colour of the training photos. Nothing is hidden
from the fitted network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines.cnn import CnnMethod
from dips.baselines.method import Fit
from dips.baselines.photos import Photos
from dips.baselines.study import Study
from dips.data.split import spread

__all__ = ["Has", "hide", "mean_colour"]

CELL_SIDES = (0, 16, 32, 44, 56)
"""Sides of a cell in pixels of a crop of 224, drawn per crop: those of HaS-Mixed (section 4); 0 hides nothing."""

PROBABILITY = 0.5
"""Probability that a cell is hidden (section 4)."""

COLOUR_PHOTOS = 256
"""Maximum number of training photos used for the mean colour; chosen by us, the paper uses all."""


def hide(images: Tensor, sizes: Sequence[int], probability: float, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Return images ``(B, 3, H, W)`` in which cells of a grid are covered, each with ``probability``.

    Args:
        images: ``(B, 3, H, W)``; they are not modified.
        sizes: B cell sides in pixels; 0 hides nothing. The grid starts in the upper left corner, and its last cells are cut.
        fill: ``(3,)`` colour. With the mean over all photos, a filter sees, on average, the same as without hiding (section
            3.1).
        generator: CPU generator for drawing the cells.

    >>> covered = hide(torch.zeros(1, 3, 4, 4), [2], 0.5, torch.ones(3), torch.Generator().manual_seed(0))
    >>> covered[0, 0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    """
    height, width = images.shape[-2:]
    hidden = torch.zeros(len(images), 1, height, width, dtype=torch.bool)
    for mask, size in zip(hidden[:, 0], sizes, strict=True):
        if size:
            cells = torch.rand(-(-height // size), -(-width // size), generator=generator) < probability
            mask[:] = cells.repeat_interleave(size, 0)[:height].repeat_interleave(size, 1)[:, :width]
    return torch.where(hidden.to(images.device), fill.to(images)[:, None, None], images)


def mean_colour(photos: Photos, count: int) -> Tensor:
    """Return the mean colour ``(3,)`` in [0, 1] of at most ``count`` photos, evenly spread."""
    colours = [photos.square(i).mean((0, 1)) / 255 for i in spread(range(len(photos)), count)]
    return torch.from_numpy(np.mean(colours, 0)).float()


class Has(CnnMethod):
    """A classifier that rarely sees a whole object (section 3.1).

    Attributes:
        fill: ``(3,)`` colour in [0, 1] of hidden cells.
    """

    name = "has"
    title = "HaS"
    paper = "Singh & Lee, ICCV 2017"
    fill: Tensor

    def train(self, study: Study) -> Fit:
        """Compute the mean colour of the training photos, then train."""
        self.fill = mean_colour(study.train, COLOUR_PHOTOS)
        return super().train(study)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of crops ``(B, 3, H, W)`` in [0, 1] with hidden cells, whose side is drawn for each crop."""
        indices = torch.randint(len(CELL_SIDES), (len(images),), generator=generator).tolist()
        covered = hide(images, [CELL_SIDES[i] for i in indices], PROBABILITY, self.fill, generator)
        return F.cross_entropy(self.net(covered), labels)
