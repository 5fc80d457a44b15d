"""The metrics of weakly supervised object localization, as an independent library: arrays in, numbers out.

NumPy and OpenCV are enough; numba makes it fast. No torch, no networks, no files. For a whole split in one call:

- :func:`max_box_acc`, :func:`max_box_acc_v2`, :func:`top_k_localization`: the MaxBoxAcc family;
- :func:`pxap`: PxAP; :func:`dissect_errors`: the kinds of errors.

Photo by photo, in constant memory:

- :class:`MapAccumulator`: everything; :class:`BoxAccumulator`, :class:`PixelAccumulator`: boxes alone, pixels alone.
  Accumulators of several processes merge;
- :func:`measure_boxes`: one photo (:class:`Measured`), to be counted elsewhere;
- :class:`MapResult`, :class:`BoxResult`, :class:`ThresholdResult`, :class:`ImageRow`: results of a split, of its boxes, at
  given thresholds, of one photo.

The building blocks:

- :class:`Protocol`, :data:`PROTOCOLS`, :func:`to_frame`, :func:`mask_to_frame`, :data:`FRAME`: the common frame of maps and
  ground truth; :func:`tau_grid`, :data:`DELTAS`: thresholds and IoUs;
- :func:`boxes_at_thresholds` (:class:`BoxLevels`), :func:`best_iou_curve`, :func:`iou`: boxes of one map at every threshold;
- :data:`KINDS`: the kinds of errors; :func:`boxes_mask`: boxes as a mask; :func:`centre_map`: the baseline without any image.

Modules, in the order in which data passes through them: ``protocol`` (to the frame), ``boxes`` (by ``trees``, or by
``contours`` without numba) and ``masks``, ``dissect``, ``measure`` (one photo), ``accumulate`` with ``bootstrap`` (a split),
``result``; and ``metrics``, the functions.
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
