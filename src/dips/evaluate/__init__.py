"""The metrics of weakly supervised localization as plain NumPy functions; imports no torch.

- :func:`best_iou_curve`, :class:`BoxAccumulator`: MaxBoxAcc, MaxBoxAccV2, GT-known, top-1 and top-5 localization;
- :func:`pxap`, :class:`PixelAccumulator`: PxAP;
- :func:`centre_map`: the baseline without any image.
"""

from __future__ import annotations

from dips.evaluate.accumulate import BoxAccumulator
from dips.evaluate.boxes import FRAME, BoxLevels, best_iou_curve, boxes_at_thresholds, iou, tau_grid, to_frame
from dips.evaluate.centre import centre_map
from dips.evaluate.masks import PixelAccumulator, mask_to_frame, pxap
from dips.evaluate.result import DELTAS, BoxResult, ImageRow, ThresholdResult

__all__ = [
    "DELTAS",
    "FRAME",
    "BoxAccumulator",
    "BoxLevels",
    "BoxResult",
    "ImageRow",
    "PixelAccumulator",
    "ThresholdResult",
    "best_iou_curve",
    "boxes_at_thresholds",
    "centre_map",
    "iou",
    "mask_to_frame",
    "pxap",
    "tau_grid",
    "to_frame",
]
