"""The light of a generated scene: sun, sky and haze, and how they colour surfaces. Colours are RGB, 0-255 as in the photo."""

from __future__ import annotations

import math

import numpy as np

from dips.demo.noise import Array

__all__ = ["Light", "linear", "tone"]


def linear(colour: Array) -> Array:
    """Return the linear reflectance, 0-1, of colours 0-255."""
    return np.asarray((colour / 255.0) ** 2)


def tone(intensity: Array) -> Array:
    """Return colours 0-255 for linear intensities, with a soft shoulder."""
    return np.asarray(np.minimum(255.0 * np.sqrt(intensity / (1.0 + 0.18 * intensity * intensity)), 255.0))


class Light:
    """Sun, sky and haze at a random time of day and in random weather.

    Attributes:
        direction: unit vector towards the sun, which is mostly behind or beside a camera at ``azimuth``.
        sun, sky: linear intensities (3,).
        haze: colour (3,) at far distances.
        haze_length: metres after which 63% of a colour is haze.
        overcast: 0 = clear sky and hard shadows, 1 = grey sky without shadows.
    """

    def __init__(self, rng: np.random.Generator, azimuth: float) -> None:
        self.overcast = grey = float(np.clip(rng.uniform(-0.9, 1.1), 0.0, 1.0))
        elevation = math.radians(rng.uniform(18, 62))
        turn = azimuth + rng.choice([-1.0, 1.0]) * math.radians(rng.triangular(15, 70, 165))
        flat = math.cos(elevation)
        self.direction = np.array([math.cos(turn) * flat, math.sin(turn) * flat, math.sin(elevation)])
        warm = float(np.clip((0.75 - elevation) / 0.6, 0.0, 1.0))
        sun = np.array([1.0, 0.95 - 0.13 * warm, 0.86 - 0.30 * warm]) * (1.0 - grey) * rng.uniform(1.0, 1.35)
        sky = np.array([0.29, 0.35, 0.43]) * (1.0 - grey) + np.array([0.67, 0.685, 0.70]) * grey
        exposure = rng.uniform(0.80, 1.08) / float((sun * self.direction[2] + sky).mean())
        self.sun, self.sky = sun * exposure, sky * exposure
        clear = np.array([196, 212, 230]) * (1 - 0.5 * warm) + np.array([228, 214, 196]) * 0.5 * warm
        self.haze = (clear * (1.0 - grey) + np.array([206, 210, 214]) * grey) * rng.uniform(0.88, 1.04)
        self.haze_length = float(np.exp(rng.uniform(6.4, 8.4)))

    def shade(self, albedo: Array, normal: Array) -> Array:
        """Return colours of sunlit surfaces of albedo ``(..., 3)``, 0-255, with unit normals ``(..., 3)``."""
        facing = normal @ self.direction
        # the sky is brighter towards the sun, even behind clouds
        openness = 0.65 + 0.35 * normal[..., 2] + 0.10 * facing
        return tone(linear(albedo) * (np.maximum(facing, 0.0)[..., None] * self.sun + openness[..., None] * self.sky))

    def add_haze(self, colour: Array, distance: Array) -> Array:
        """Return colours ``(..., 3)`` seen through ``distance (...)`` metres of air."""
        clear, haze = np.exp(-distance / self.haze_length)[..., None].astype(np.float32), self.haze.astype(np.float32)
        return np.asarray((colour - haze) * clear + haze)

    def to_ground(self, points: Array) -> Array:
        """Return where the shadows of points ``(..., 3)`` fall on the ground."""
        return np.asarray(points - self.direction * (points[..., 2:] / self.direction[2]))
