"""The camera of a generated scene: a drone that looks at the tower, or at the place where one could stand.

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
    """A pinhole camera.

    Attributes:
        position: (3,) metres.
        rotation: (3, 3), rows right, down and forward.
        focal: focal length in pixels.
        centre: the pixel (x, y) that lies straight ahead.
        size: width and height of the photo.
    """

    position: Array
    rotation: Array
    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixels ``(..., 2)`` and depths ``(...)`` in metres of points ``(..., 3)``; only depths above 0 can be seen."""
        seen = (np.asarray(points, dtype=np.float64) - self.position) @ self.rotation.T
        depth = seen[..., 2]
        pixels = seen[..., :2] * (self.focal / np.maximum(depth, 0.05))[..., None] + self.centre
        return pixels, depth

    def rays(self) -> Array:
        """Return unit directions ``(3, H, W) float32`` through the middle of every pixel."""
        x = (np.arange(self.size[0], dtype=np.float32) + 0.5 - self.centre[0])[None, :] / np.float32(self.focal)
        y = (np.arange(self.size[1], dtype=np.float32) + 0.5 - self.centre[1])[:, None] / np.float32(self.focal)
        length = 1.0 / np.sqrt(x * x + y * y + 1.0)
        turn = self.rotation.astype(np.float32)
        rays = [(turn[0, i] * x + turn[1, i] * y + turn[2, i]) * length for i in range(3)]
        return np.stack(rays).astype(np.float32)


def choose_camera(rng: np.random.Generator, height: float, reach: float, size: tuple[int, int]) -> tuple[Camera, float]:
    """Return a view of a tower ``height`` metres high that reaches ``reach`` metres to each side, and the camera's azimuth.

    The tower fills 45-92% of the photo's height or width and lies inside the photo.
    """
    elevation = math.radians(rng.triangular(3, 20, 58))
    azimuth = rng.uniform(-math.pi, math.pi)
    focal = size[0] / 2 / math.tan(math.radians(rng.uniform(48, 72)) / 2)
    fraction, roll = rng.uniform(0.45, 0.92), math.radians(rng.normal(0, 1.0))
    target = np.array([0.0, 0.0, height / 2])
    outward = np.array([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)])
    right = np.cross(-outward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(-outward, right)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, -outward])
    # feet, the arms' tips whichever way they point, and the top
    ring = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 12, endpoint=False)]) * reach
    outline = np.concatenate([np.column_stack([ring * w, np.full(12, height * z)]) for w, z in ((0.5, 0), (1, 0.55), (1, 1))])

    def extent(distance: float) -> tuple[Camera, Array, Array]:
        camera = Camera(target + outward * distance, rotation, focal, (size[0] / 2, size[1] / 2), size)
        pixels, _ = camera.project(outline)
        return camera, pixels.min(0), pixels.max(0)

    near, far = height * 0.6 + reach + 4.0, height * 14.0
    for _ in range(14):
        middle = math.sqrt(near * far)
        _, low, high = extent(middle)
        near, far = (middle, far) if ((high - low) / size).max() > fraction else (near, middle)
    camera, low, high = extent(far)
    # shifting the centre crops a larger photo, so that the tower is not always in the middle
    free = np.maximum((np.array(size) * 0.98 - (high - low)) / 2, 0.0)
    shift = free * rng.uniform(-0.9, 0.9, 2) - ((low + high) / 2 - camera.centre)
    centre = (float(camera.centre[0] + shift[0]), float(camera.centre[1] + shift[1]))
    return replace(camera, centre=centre), azimuth
