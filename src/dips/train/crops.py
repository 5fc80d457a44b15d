"""Random crops and flips that photos, maps and regions share (paper 4: resize 256, crop 224, flip).

In: ``(B, ..., H, W)`` tensors that lie on one square frame. Out: the same crop of all of them, on the device they are on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dips.errors import ConfigError

__all__ = ["Crops", "draw_crops"]


@dataclass(frozen=True, slots=True)
class Crops:
    """One crop per photo of a batch.

    Attributes:
        tops, lefts: ``(B,) int64``, the crop's corner in pixels of the frame.
        flips: ``(B,) bool``, whether the crop is mirrored left to right.
        size: side of the crops.
        frame: side of the square that the photos were resized to.

    Example:
        >>> crops = draw_crops(batch=2, resize=8, crop=4, flip=True, generator=torch.Generator().manual_seed(0))
        >>> crops.apply_to(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3, 4, 4])
    """

    tops: torch.Tensor
    lefts: torch.Tensor
    flips: torch.Tensor
    size: int
    frame: int

    def __len__(self) -> int:
        return len(self.tops)

    def to(self, device: torch.device | str) -> Crops:
        """Return the same crops on another device."""
        return Crops(self.tops.to(device), self.lefts.to(device), self.flips.to(device), self.size, self.frame)

    def apply_to(self, batch: torch.Tensor) -> torch.Tensor:
        """Crop ``(B, ..., frame, frame)`` of any dtype to a new ``(B, ..., size, size)``.

        Raises:
            ValueError: the batch has another length or lies on another frame.
        """
        if len(batch) != len(self) or batch.shape[-2:] != (self.frame, self.frame):
            raise ValueError(f"expected ({len(self)}, ..., {self.frame}, {self.frame}), not {tuple(batch.shape)}")
        flat = batch.reshape(len(batch), math.prod(batch.shape[1:-2]), self.frame, self.frame)
        cropped = self._copy_windows(flat) if batch.device.type == "cpu" else self._index_windows(flat)
        return cropped.reshape(*batch.shape[:-2], self.size, self.size)

    def _copy_windows(self, flat: torch.Tensor) -> torch.Tensor:
        # measured on one core: a copy per photo takes a tenth of the time that indexing takes
        result = flat.new_empty(*flat.shape[:2], self.size, self.size)
        corners = zip(self.tops.tolist(), self.lefts.tolist(), self.flips.tolist(), strict=True)
        for number, (top, left, flip) in enumerate(corners):
            window = flat[number, :, top : top + self.size, left : left + self.size]
            result[number] = window.flip(-1) if flip else window
        return result

    def _index_windows(self, flat: torch.Tensor) -> torch.Tensor:
        here = self.to(flat.device)
        # all possible windows as a view, one of which is selected per photo: no kernel launch and no wait per photo
        windows = flat.unfold(2, self.size, 1).unfold(3, self.size, 1)
        cropped = windows[torch.arange(len(flat), device=flat.device), :, here.tops, here.lefts]
        return torch.where(here.flips[:, None, None, None], cropped.flip(-1), cropped)


def draw_crops(batch: int, resize: int, crop: int, flip: bool, generator: torch.Generator) -> Crops:
    """Draw a crop for each of ``batch`` photos, uniformly; with ``flip``, each is mirrored with probability 1/2.

    The generator advances by the same number of draws with and without ``flip``, so the corners are the same in both cases.

    Raises:
        ConfigError: the crop is larger than the frame.
    """
    if not 0 < crop <= resize:
        raise ConfigError(f"train.crop ({crop}) must not be larger than train.resize ({resize}), nor less than one pixel")
    corners = torch.randint(0, resize - crop + 1, (2, batch), generator=generator, device=generator.device)
    flips = torch.rand(batch, generator=generator, device=generator.device) < (0.5 if flip else 0.0)
    return Crops(tops=corners[0], lefts=corners[1], flips=flips, size=crop, frame=resize)
