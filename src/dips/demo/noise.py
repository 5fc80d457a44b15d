"""Noise for the textures of generated scenes: computed once per process, the same for every seed.

In: coordinates in any unit. Out: values of zero mean and unit deviation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "sample_noise"]

Array = NDArray[Any]

TILE_SIDE = 512


@lru_cache(maxsize=24)
def _tile(power: float) -> Array:
    """Return ``(TILE_SIDE + 1,) * 2 float32`` noise with spectrum 1 / f**power; its last row and column repeat the first."""
    rng = np.random.default_rng([7, int(power * 100)])
    frequency = np.hypot(np.fft.fftfreq(TILE_SIDE)[:, None], np.fft.rfftfreq(TILE_SIDE)[None]) * TILE_SIDE
    frequency[0, 0] = 1.0
    amplitude = frequency**-power * np.exp(-((frequency / (0.42 * TILE_SIDE)) ** 4))
    amplitude[0, 0] = 0.0
    tile = np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), s=(TILE_SIDE, TILE_SIDE))
    return np.pad(np.clip(tile / tile.std(), -3.0, 3.0), ((0, 1), (0, 1)), mode="wrap").astype(np.float32)


def sample_noise(x: Array, y: Array, period: float, power: float = 1.6) -> Array:
    """Return noise at ``x, y`` (of the same 2-D shape) that repeats after ``period`` units, smooth for a high ``power``."""
    # remap stores coordinates in 16 bits, so they are wrapped here
    u, v = (np.asarray(axis, dtype=np.float32) * np.float32(1.0 / period) for axis in (x, y))
    u, v = ((axis - np.floor(axis)) * np.float32(TILE_SIDE) for axis in (u, v))
    return cv2.remap(_tile(power), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
