"""Grids of features, resampled to a joint grid of at most 32 cells per side for fitting linear maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["GRID", "interpolation", "joint_grids", "resampled"]

GRID = 32
"""Maximum number of cells per side of the joint grid on which the maps are fitted."""


def interpolation(cells: int, grid: int) -> Tensor:
    """Return the matrix ``(grid, cells)`` of bilinear upsampling along one axis."""
    unit = torch.eye(cells)[None]
    return F.interpolate(unit, grid, mode="linear", align_corners=False)[0].mT if cells != grid else unit[0]


def resampled(block: Tensor, rows: Tensor) -> Tensor:
    """Return a block ``(C, h, w)`` resampled to the joint grid."""
    return rows @ block @ rows.mT


def joint_grids(blocks: Sequence[Tensor]) -> list[Tensor]:
    """Return features ``(B, C_i, h_i, w_i)`` in half precision, on grids of at most :data:`GRID` cells per side."""
    return [
        (
            F.interpolate(block, (GRID, GRID), mode="bilinear", align_corners=False, antialias=True)
            if max(block.shape[-2:]) > GRID
            else block
        )
        .half()
        .cpu()
        for block in blocks
    ]
