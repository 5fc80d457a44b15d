"""Tileable noise that the generated scenes take their textures from: made once per process, the same for every seed.

In: plane coordinates in any unit. Out: values of zero mean and unit deviation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["TILE", "Floats", "grain", "noise1d", "sample"]

Floats = NDArray[Any]

TILE = 512
_GRAIN = 640


@lru_cache(maxsize=24)
def _tile(power: float) -> Floats:
    """A ``(TILE + 1, TILE + 1) float32`` tile with spectrum 1 / f**power whose last row and column repeat the first."""
    rng = np.random.default_rng([7, int(power * 100)])
    fy = np.fft.fftfreq(TILE)[:, None] * TILE
    fx = np.fft.rfftfreq(TILE)[None] * TILE
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    amplitude = radius**-power * np.exp(-((radius / (0.42 * TILE)) ** 4))
    amplitude[0, 0] = 0.0
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape))
    tile = np.fft.irfft2(spectrum, s=(TILE, TILE))
    tile = np.clip(tile / tile.std(), -3.0, 3.0)
    return np.pad(tile, ((0, 1), (0, 1)), mode="wrap").astype(np.float32)


def sample(x: Floats, y: Floats, period: float, power: float = 1.6) -> Floats:
    """Noise at ``x, y`` (float32 arrays of one 2-D shape) whose tile spans ``period`` units; ``power`` sets its roughness."""
    scale = np.float32(TILE / period)
    u, v = x * scale, y * scale
    # remap keeps coordinates in 16 bits, so the wrap is done here
    for axis in (u, v):
        whole = axis * np.float32(1 / TILE)
        np.floor(whole, out=whole)
        whole *= np.float32(TILE)
        axis -= whole
    return cv2.remap(_tile(power), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def noise1d(x: Floats, period: float, row: int, power: float = 1.4) -> Floats:
    """Noise along a line: row ``row`` of a tile that spans ``period`` units."""
    line = _tile(power)[row % TILE]
    value: Floats = np.interp(np.mod(x * (TILE / period), TILE), np.arange(TILE + 1), line).astype(np.float32)
    return value


@lru_cache(maxsize=1)
def _grain() -> Floats:
    noise = np.random.default_rng(11).standard_normal((_GRAIN, _GRAIN, 3), dtype=np.float32)
    return 0.75 * noise[..., :1] + 0.5 * cv2.GaussianBlur(noise, (0, 0), 0.7)


def grain(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A sensor's noise ``(height, width, 3) float32``: a random window of a stored field, repeated where it is too small."""
    top, left = rng.integers(0, _GRAIN, 2)
    rows, columns = (np.arange(height) + top) % _GRAIN, (np.arange(width) + left) % _GRAIN
    return np.asarray(_grain()[rows[:, None], columns])
