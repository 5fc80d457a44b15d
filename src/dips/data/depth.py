"""Values of more than 8 bits -> 8 bits: which value is black, and which is white.

In: counts, temperatures, heights, reflectances as cameras and surveys write them, in 16 or 32 bits. Most use a small part of
their type's range and would be a nearly uniform grey if all of it became 0..255. Out: a scale (black, white) and grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dips.system.records import Record

__all__ = ["Depth", "Scale", "Shown", "Values", "as_bytes", "common_scale", "scale_words"]

Scale = tuple[float, float]
"""The value that becomes black, and the larger one that becomes white."""

SMALL_PART = 0.25
"""A picture is stretched if it uses less than this fraction of its type's range."""

_TAILS = (0.5, 99.5)  # percentiles: a few dead or hot pixels do not count
_MARGIN = 0.1  # by which their range is widened, up to the outermost value; measured: docs/data.md
_MISSING_MARGIN = 0.25  # between missing values, which are black, and the darkest value
_MISSING = (-9999.0, -32768.0, -32767.0)
_USUAL: tuple[Scale, ...] = ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0))  # usual ranges, for types that imply none
_HUGE = 1e30  # "no data" of some tools
_SAMPLED = 2**18  # values per picture that percentiles are computed from
_ROWS = 256  # converted at a time
_ROOM = 0.25  # share of a scale by which a picture may exceed it and still match
_LEAST_SHARE = 0.01  # share of a scale that a picture must use to match


class Values(NamedTuple):
    """A decoded picture of more than 8 bits.

    Attributes:
        pixels: ``(H, W)``, or ``(H, W, 3)`` RGB; any type.
        white: the largest value of its type; None for types that imply no range (32 bits).
        missing: the value that the file declares to mean "no measurement", if any.
        type: in words.
    """

    pixels: NDArray[Any]
    white: float | None
    missing: float | None
    type: str


class Shown(NamedTuple):
    """How a picture of more than 8 bits was reduced to 8.

    Attributes:
        scale: which values became black and white.
        used: the range of values that the picture uses, without a few outliers.
        stretched: whether ``scale`` was derived from the values, not from the type's range.
        type: in words.
    """

    scale: Scale
    used: Scale
    stretched: bool
    type: str


class Depth(Record, frozen=True, kw_only=True):
    """How pictures of more than 8 bits are reduced to 8; those of 8 bits are left as they are.

    Attributes:
        rule: ``full``: the range of the type; ``fixed``: the first of ``scales``; ``auto``: the first of ``scales`` that suits
            the picture, else the range of its type or, if it uses less than a quarter of this, its own range.
        scales: the scale of the training photos, perhaps preceded by that of the photos at hand.

    >>> Depth().scale_of((7000.0, 8020.0), 65535.0), Depth().scale_of((900.0, 64000.0), 65535.0)
    ((7000.0, 8020.0), (0.0, 65535.0))
    >>> Depth(scales=((7000.0, 10000.0),)).scale_of((7900.0, 8000.0), 65535.0)
    (7000.0, 10000.0)
    """

    rule: Literal["auto", "full", "fixed"] = "auto"
    scales: tuple[Scale, ...] = ()

    def __post_init__(self) -> None:
        """Check what types cannot express.

        Raises:
            ValueError: a scale whose white is not above its black, or a fixed one that is missing.
        """
        if not all(math.isfinite(high - low) and low < high for low, high in self.scales):
            raise ValueError("black must lie below white")
        if self.rule == "fixed" and not self.scales:
            raise ValueError("a fixed scale needs two values")

    @classmethod
    def at(cls, scale: Scale | None) -> Depth:
        """Return the depth that shows a picture with the ``scale`` that it had before; None means that it had none."""
        return cls() if scale is None else cls(rule="fixed", scales=(scale,))

    @property
    def key(self) -> str:
        """Everything that stored pixels depend on, as a text."""
        return f"1 {self.rule}{''.join(f' {low!r}..{high!r}' for low, high in self.scales)}"

    def scale_of(self, used: Scale, white: float | None) -> Scale:
        """Return the scale of a picture.

        Args:
            used: the range of values that the picture uses.
            white: see :class:`Values`.
        """
        low, high = used
        usual = _usual(used, white)
        if self.rule == "full":
            return usual or ((-1 - white, white) if white is not None else (min(low, 0.0), max(high, low + 1)))
        if self.rule == "fixed":
            return self.scales[0]
        if (fitting := self.fitting(used)) is not None:
            return fitting
        if usual is not None and (low == high or high - low >= SMALL_PART * (usual[1] - usual[0])):
            return usual
        return low, high if high > low else low + 1

    def fitting(self, used: Scale) -> Scale | None:
        """Return the first of ``scales`` that holds most of a picture's range, if this is no mere sliver of the scale."""
        for low, high in self.scales:
            room = _ROOM * (high - low)
            inside = min(used[1], high + room) - max(used[0], low - room)
            if inside >= (used[1] - used[0]) / 2 and used[1] - used[0] >= _LEAST_SHARE * (high - low):
                return low, high
        return None

    def shown(self, values: Values) -> Shown:
        """Return how a picture is to be reduced to 8 bits."""
        used = _used(values)
        scale = self.scale_of(used, values.white)
        return Shown(scale, used, self.rule != "full" and scale != _usual(used, values.white), values.type)


def as_bytes(values: Values, scale: Scale) -> NDArray[np.uint8]:
    """Convert values to grey levels of the same shape; missing and non-finite values become black."""
    low, high = scale
    if values.pixels.dtype == np.uint16:  # each value is looked up
        return np.take(_levels(np.arange(65536), low, high, values.missing), values.pixels)
    levels = np.empty(values.pixels.shape, np.uint8)
    for top in range(0, len(levels), _ROWS):
        levels[top : top + _ROWS] = _levels(values.pixels[top : top + _ROWS], low, high, values.missing)
    return levels


def _levels(values: NDArray[Any], low: float, high: float, missing: float | None) -> NDArray[np.uint8]:
    numbers = values.astype(np.float64)
    absent = ~np.isfinite(numbers) | (np.abs(numbers) >= _HUGE)
    if missing is not None:
        absent |= numbers == missing
    numbers[absent] = low
    return np.rint(np.clip((numbers - low) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)


def common_scale(shown: Sequence[Shown]) -> Scale | None:
    """Return the scale of pictures of one kind, derived from their ranges; None if most need none, or share none.

    >>> thermal = [Shown((low, low + 900.0), (low, low + 900.0), True, "16 bits") for low in (7000.0, 7100.0, 7200.0)]
    >>> common_scale(thermal)
    (7010.0, 8090.0)
    """
    stretched = [item.used for item in shown if item.stretched]
    if 2 * len(stretched) <= len(shown):
        return None
    lows, highs = np.array(stretched, np.float64).T
    own = float(np.median(highs - lows))
    if own <= 0:
        return None
    around = Depth(scales=((float(np.median(lows)) - own, float(np.median(highs)) + own),))
    alike = [used for used in stretched if around.fitting(used) is not None]
    if 2 * len(alike) <= len(shown):
        return None
    lows, highs = np.array(alike, np.float64).T
    low, high = float(np.percentile(lows, 5)), float(np.percentile(highs, 95))
    digits = 2 - math.floor(math.log10(high - low))  # one photo more or less rarely changes it
    return round(low, digits), round(high, digits)


def scale_words(scale: Scale) -> str:
    """Format a scale for people to read.

    >>> scale_words((7000.0, 8020.5))
    '7000 to 8020.5'
    """
    return f"{scale[0]:.6g} to {scale[1]:.6g}"


def _usual(used: Scale, white: float | None) -> Scale | None:
    """Return the smallest range that the type implies and that holds the values, if there is one."""
    ranges = _USUAL if white is None else ((0.0, white),)
    return next(((low, high) for low, high in ranges if low <= used[0] and used[1] <= high), None)


def _used(values: Values) -> Scale:
    """Return the range of values that a picture uses, without a few outliers and missing values."""
    step = max(1, math.isqrt(values.pixels.size // _SAMPLED))
    sample = values.pixels[::step, ::step].astype(np.float64).ravel()
    sample = sample[np.isfinite(sample) & (np.abs(sample) < _HUGE)]
    if values.missing is not None:
        sample = sample[sample != values.missing]
    sample, room = _without_missing(sample, values.white)
    if not len(sample):
        return 0.0, 0.0
    low, high = (float(value) for value in np.percentile(sample, _TAILS))
    margin = _MARGIN * (high - low)
    low, high = max(low - margin, float(sample.min())), min(high + margin, float(sample.max()))
    return low - room * (high - low), high


def _without_missing(sample: NDArray[np.float64], white: float | None) -> tuple[NDArray[np.float64], float]:
    """Return the values without those that tools write for missing measurements, and the room to leave below the others.

    Missing are known numbers far below all others, and 0 and the type's largest number if they lie apart from all others.
    """
    room = 0.0
    for mark in (*_MISSING, 0.0, white):
        rest = sample[sample != mark]
        if mark is None or not 0 < len(rest) < len(sample):
            continue
        low, high = float(rest.min()), float(rest.max())
        if mark in _MISSING:
            if low - mark > 1000:
                sample = rest
        elif low < high and (low - mark > high - low or mark - high > high - low):
            sample, room = rest, _MISSING_MARGIN if mark < low else room
    return sample, room
