"""The camera of a generated scene: a drone that looks at the tower, or at a place where one could stand.

The world is in metres, z up, the ground at z = 0, the tower at the origin. Pixels are those of the photo, x right and y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dips.demo.noise import Array

__all__ = ["Camera", "choose_camera"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    position: Array  # (3,) metres
    rotation: Array  # (3, 3), rows right, down and forward
    focal: float  # focal length in pixels
    centre: tuple[float, float]  # the pixel (x, y) straight ahead
    size: tuple[int, int]  # width and height of the photo

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixels ``(..., 2)`` and depths ``(...)`` in metres of points ``(..., 3)``; only depths above 0 can be seen."""
        seen = (np.asarray(points, dtype=np.float64) - self.position) @ self.rotation.T
        depth = seen[..., 2]
        return seen[..., :2] * (self.focal / np.maximum(depth, 0.05))[..., None] + self.centre, depth

    def rays(self) -> Array:
        """Return unit directions ``(3, H, W) float32`` through the centre of every pixel."""
        x, y = ((np.arange(self.size[i]) + 0.5 - self.centre[i]) / self.focal for i in (0, 1))
        x, y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        turn = self.rotation.astype(np.float32)
        return np.stack([turn[0, i] * x + turn[1, i] * y + turn[2, i] for i in range(3)]) / np.sqrt(x * x + y * y + 1.0)


def choose_camera(rng: np.random.Generator, height: float, reach: float, size: tuple[int, int]) -> tuple[Camera, float]:
    """Return a view of a tower ``height`` metres high that reaches ``reach`` metres to each side, and the camera's azimuth.

    The tower fills 45-92% of the photo's height or width and lies inside the photo.
    """
    elevation, azimuth = math.radians(rng.triangular(3, 20, 58)), rng.uniform(-math.pi, math.pi)
    focal = size[0] / 2 / math.tan(math.radians(rng.uniform(48, 72)) / 2)
    fraction = rng.uniform(0.45, 0.92)
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    outward = np.array([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)])
    rotation = np.stack([right, np.cross(-outward, right), -outward])
    # feet, the tips of the arms in any direction, and the top
    ring = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 12, endpoint=False)]) * reach
    outline = np.concatenate([np.column_stack([ring * w, np.full(12, height * z)]) for w, z in ((0.5, 0), (1, 0.5), (1, 1.05))])

    def view(distance: float) -> tuple[Camera, Array, Array]:
        position = outward * distance + (0.0, 0.0, height / 2)
        camera = Camera(position, rotation, focal, (size[0] / 2, size[1] / 2), size)
        pixels, _ = camera.project(outline)
        return camera, pixels.min(0), pixels.max(0)

    near, far = height * 0.6 + reach + 4.0, height * 14.0
    for _ in range(14):
        middle = math.sqrt(near * far)
        _, low, high = view(middle)
        near, far = (middle, far) if ((high - low) / size).max() > fraction else (near, middle)
    camera, low, high = view(far)
    # shifting the centre crops a larger photo, so that the tower is not always in the middle
    free = np.maximum((np.array(size) * 0.98 - (high - low)) / 2, 0.0)
    centre = free * rng.uniform(-0.9, 0.9, 2) - (low + high) / 2 + size
    return replace(camera, centre=(float(centre[0]), float(centre[1]))), azimuth
