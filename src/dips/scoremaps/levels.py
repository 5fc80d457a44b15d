"""From a score map to a threshold, components and boxes, the same way for harvest, predict and evaluate (paper 3.1).

In: score maps ``(H, W)`` in [0, 1]. Out: 8-bit maps, Otsu's threshold, 8-connected components and their boxes. NumPy and OpenCV
only. Boxes here are end exclusive, as everywhere in DiPS; the inclusive rectangles of the evaluation protocol are made by
:mod:`dips.evaluate.boxes`, from the same 8-bit map.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ProtocolError
from dips.types import FloatArray

__all__ = [
    "MAX_BOXES",
    "boxes_from_map",
    "centre_map",
    "checked_map",
    "components",
    "otsu",
    "packed",
    "quantise",
    "stretched",
    "unpacked",
]

MAX_BOXES = 65535
"""The largest number that a region can have (``uint16``)."""

_ROUNDING = 1e-6  # tolerated beyond 0 and 1


def checked_map(score_map: ArrayLike) -> NDArray[Any]:
    """Return the score map ``(H, W)`` as a floating-point array.

    Raises:
        ProtocolError: it is not two-dimensional, is empty, or has NaN or values outside [0, 1]; values outside by less than
            1e-6, as left by rounding, are clipped.
    """
    array = np.asarray(score_map)
    if array.ndim != 2 or array.size == 0:
        raise ProtocolError(f"a score map has the shape (height, width), not {array.shape}; take one map, e.g. with squeeze()")
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ProtocolError(f"a score map holds numbers between 0 and 1, not {array.dtype}; convert it with astype(float)")
    low, high = float(array.min()), float(array.max())
    if np.isnan(low) or np.isnan(high):
        raise ProtocolError("a score map is in [0, 1] without NaN, but this one has NaN; find out where it comes from")
    if not (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):
        remedy = "divide it by its maximum" if low >= 0 else "subtract its minimum, then divide it by its maximum"
        raise ProtocolError(f"a score map is in [0, 1] without NaN, not in [{low:.9g}, {high:.9g}]; {remedy}")
    floating = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
    return floating if low >= 0.0 and high <= 1.0 else np.clip(floating, 0, 1)


def quantise(score_map: ArrayLike) -> NDArray[np.uint8]:
    """Return ``trunc(map * 255)``, ``(H, W) uint8``, computed in float64 as the protocol does.

    Raises:
        ProtocolError: see :func:`checked_map`.
    """
    return (checked_map(score_map).astype(np.float64) * 255).astype(np.uint8)


def packed(score_map: FloatArray) -> NDArray[np.uint16]:
    """Return a score map ``(H, W)`` in [0, 1] as it is stored, in 16 bits: 65535 is 1."""
    return cast("NDArray[np.uint16]", np.rint(score_map * np.float32(65535)).astype(np.uint16))


def unpacked(levels: NDArray[np.uint16]) -> FloatArray:
    """Return the score map that :func:`packed` stored, ``float32``; objects are found on this one, so that this is repeatable.

    >>> unpacked(packed(np.array([[0, 0.5, 1]], np.float32))).round(4).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return cast(FloatArray, levels.astype(np.float32) / np.float32(65535))


def otsu(map01: ArrayLike) -> int | None:
    """Return Otsu's threshold on the 8-bit map; None where the map is constant.

    The foreground is ``quantise(map01) > threshold``.

    Raises:
        ProtocolError: see :func:`checked_map`.
    """
    levels = quantise(map01)
    if levels.min() == levels.max():
        return None
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return int(threshold)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the 8-connected components of a foreground.

    Args:
        mask: ``(H, W) bool``.

    Returns:
        labels ``(H, W) int32``, 0 where there is no foreground, and stats ``(n + 1, 5) int32``: ``x, y, width, height, area``
        of each label in pixels. Row 0 is the background, so that labels index the rows.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, dtype=np.uint8), connectivity=8)
    return np.asarray(labels, dtype=np.int32), np.asarray(stats, dtype=np.int32)


def boxes_from_map(
    score_map: ArrayLike, threshold: float, *, min_area: float, max_boxes: int, min_score: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Find the objects of a score map: a box per 8-connected component of the pixels above ``threshold`` times the maximum.

    Args:
        score_map: ``(H, W)`` in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1]; foreground is strictly above it.
        min_area: smallest area of a box as a fraction of the map. If no box is that large, the largest one is kept.
        min_score: boxes with a lower score are dropped, even if no box remains.
        max_boxes: largest number of boxes, from 1 to 65535.

    Returns:
        boxes ``(N, 4) float32``, ``x0 y0 x1 y1`` in the map's pixels, end exclusive; scores ``(N,) float32``, the mean of the
        map over the box's component, descending; regions ``(H, W) uint16``, i + 1 on the component of box i and 0 elsewhere.
        Without foreground (a map of zeros, or a threshold of 1) there are no boxes.

    Raises:
        ProtocolError: see :func:`checked_map`; or a threshold, an area or a number out of range.
    """
    scores01 = checked_map(score_map)
    if not 0.0 <= threshold <= 1.0:
        raise ProtocolError(f"threshold must be between 0 and 1, not {threshold}")
    if not 0.0 <= min_area <= 1.0:
        raise ProtocolError(f"min_area must be between 0 and 1, not {min_area}")
    if not 1 <= max_boxes <= MAX_BOXES:
        raise ProtocolError(f"max_boxes must be between 1 and {MAX_BOXES}, not {max_boxes}")
    labels, stats = components(scores01 > threshold * scores01.max())
    objects = stats[1:].astype(np.int64)
    if len(objects) == 0:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(scores01.shape, np.uint16)

    x, y, width, height, pixels = objects.T
    areas = width * height
    kept = np.flatnonzero(areas >= min_area * labels.size)
    if len(kept) == 0:
        kept = np.array([np.argmax(areas)])
    sums = np.bincount(labels.ravel(), weights=scores01.ravel(), minlength=len(stats))[1:]
    means = sums / pixels
    kept = kept[means[kept] >= min_score]
    kept = kept[np.argsort(-means[kept], kind="stable")][:max_boxes]

    boxes = np.stack([x, y, x + width, y + height], axis=1)[kept].astype(np.float32)
    numbers = np.zeros(len(stats), np.uint16)
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    return boxes, means[kept].astype(np.float32), numbers[labels]


def centre_map(frame: int = 224, sigma: float | None = None) -> NDArray[np.float32]:
    """Return the baseline that sees no photo: an isotropic Gaussian ``(frame, frame) float32`` with maximum 1 in the middle.

    Its boxes are the same for all photos, so compute them once.

    Args:
        frame: side in pixels; by default that of the evaluation's frame.
        sigma: standard deviation in pixels; by default a quarter of the side. Between 40 and 112 it makes no difference, as the
            thresholds give the same centred squares; much smaller or larger ones have too few 8-bit levels for all of them.

    Raises:
        ProtocolError: a side or a sigma that is not positive.
    """
    sigma = frame / 4 if sigma is None else sigma
    if frame < 1 or not sigma > 0:
        raise ProtocolError(f"the centred Gaussian needs a positive side and sigma, not {frame} and {sigma}")
    squares = (np.arange(frame) - (frame - 1) / 2) ** 2
    bell = np.exp(-(squares[:, None] + squares[None, :]) / (2 * sigma**2))
    return np.asarray(bell / bell.max(), dtype=np.float32)


def stretched(score_map: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return a score map ``(h, w)`` in [0, 1] resized to ``size`` (width, height), bilinearly, ``float32``."""
    if score_map.shape == size[::-1]:
        return score_map
    return np.clip(cv2.resize(score_map, size, interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32, copy=False)
