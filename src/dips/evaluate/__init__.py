"""The metrics of weakly supervised localization, a library of its own: NumPy and OpenCV will do, numba makes it fast.

- :func:`best_iou_curve`, :func:`max_box_acc`, :func:`max_box_acc_v2`, :func:`top_k_localization`: the MaxBoxAcc family;
- :func:`pxap`: PxAP; :func:`dissect_errors`: what kind of error a box is;
- :class:`MapAccumulator`, :class:`BoxAccumulator`, :class:`PixelAccumulator`: the same map by map; they merge;
- :func:`centre_map`: the baseline without any image.

It imports no torch.
"""

from __future__ import annotations

from dips.evaluate.accumulate import BoxAccumulator, MapAccumulator
from dips.evaluate.boxes import FRAME, BoxLevels, best_iou_curve, boxes_at_thresholds, iou, tau_grid, to_frame
from dips.evaluate.dissect import KINDS
from dips.evaluate.masks import PixelAccumulator, boxes_mask, mask_to_frame, pxap
from dips.evaluate.measure import Measured, measure_boxes
from dips.evaluate.metrics import dissect_errors, max_box_acc, max_box_acc_v2, top_k_localization
from dips.evaluate.protocol import PROTOCOLS, Protocol
from dips.evaluate.result import DELTAS, BoxResult, ImageRow, MapResult, ThresholdResult
from dips.scoremaps.levels import centre_map

__all__ = [
    "DELTAS",
    "FRAME",
    "KINDS",
    "PROTOCOLS",
    "BoxAccumulator",
    "BoxLevels",
    "BoxResult",
    "ImageRow",
    "MapAccumulator",
    "MapResult",
    "Measured",
    "PixelAccumulator",
    "Protocol",
    "ThresholdResult",
    "best_iou_curve",
    "boxes_at_thresholds",
    "boxes_mask",
    "centre_map",
    "dissect_errors",
    "iou",
    "mask_to_frame",
    "max_box_acc",
    "max_box_acc_v2",
    "measure_boxes",
    "pxap",
    "tau_grid",
    "to_frame",
    "top_k_localization",
]
