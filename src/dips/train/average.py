"""Moving average of a network's weights: the average is validated and kept, not the last step (SWA/EMA).

When training continues, a localizer learns the noise of its seeds; averaging over the steps removes most of it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """A moving average: ``average = d * average + (1 - d) * weights`` after every step, batch-norm statistics too.

    ``d = min(decay, (1 + t) / (10 + t))`` after t updates, so that the random start is forgotten fast. Integer buffers
    are copied. With a decay of 0 there is no copy and :attr:`model` is the network itself.

    Attributes:
        model: the averaged network, in evaluation mode if it is a copy.
        updates: how many steps it has seen.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> average = Average(network, decay=0.99)
        >>> average.update()
        >>> average.updates
        1
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates, self._network = decay, 0, network
        self.model = copy.deepcopy(network).eval().requires_grad_(False) if decay > 0 else network

    @torch.no_grad()
    def update(self) -> None:
        """Add the network's current weights."""
        self.updates += 1
        if self.decay <= 0:
            return
        fraction = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = _tensors(self.model), _tensors(self._network)
        moving = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in moving], [theirs[name] for name in moving], fraction)
        for name in mine.keys() - set(moving):
            mine[name].copy_(theirs[name])


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
