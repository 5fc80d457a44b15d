"""The networks of a run as one module that takes photos of any size, for exporters that trace a module."""

from __future__ import annotations

from torch import Tensor, nn

from dips.export.resampling import to_squares
from dips.models.networks import Networks

__all__ = ["Graph"]


class Graph(nn.Module):
    """The networks of a run, including everything before and after them."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks
        parts = (networks.frozen, networks.linear, networks.second, networks.localizer)
        self.parts = nn.ModuleList(part for part in parts if part is not None)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Return score maps ``(B, S, S)`` in [0, 1] and class probabilities ``(B, C)`` of photos ``(B, H, W, 3) uint8`` RGB.

        Where objects have classes of their own, class logits ``(B, C, h, w)`` in each cell follow.

        Photos are resized to the square that :meth:`~dips.models.networks.Networks.answer` expects; such squares are unchanged.
        """
        images = photos.float().permute(0, 3, 1, 2)  # TensorRT accepts bytes only if they become floats at once
        images = to_squares(images, self.networks.side) / 255  # divided when small
        maps, probabilities, cells = self.networks.judge_cells(self.networks.frozen.look(images))
        return (maps, probabilities) if cells is None else (maps, probabilities, cells)
