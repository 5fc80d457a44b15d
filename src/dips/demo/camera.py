"""The camera and the light of a generated scene.

The world is in metres, z up, the ground at z = 0, the tower (or its empty site) at the origin. Pixels are those of the
photo, x right and y down; everything is drawn on a canvas of ``SUPER`` times that size and scaled down at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dips.demo.noise import Floats

__all__ = ["SUPER", "Camera", "Light", "choose_camera", "choose_light"]

SUPER = 2
_NEAR = 1.5


@dataclass(frozen=True)
class Camera:
    """A pinhole: ``position`` (3,), ``rotation`` (3, 3) with rows right, down, forward, ``focal`` in pixels, photo size."""

    position: Floats
    rotation: Floats
    focal: float
    width: int
    height: int

    def view(self, points: Floats) -> Floats:
        """World points ``(N, 3)`` in the camera's axes."""
        seen: Floats = (np.asarray(points, dtype=np.float64) - self.position) @ self.rotation.T
        return seen

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels ``(N, 2)`` and depths ``(N,)`` in metres; points at the camera's side or behind have depth <= 0."""
        seen = self.view(points)
        depth = seen[:, 2]
        safe = np.where(depth > 0.05, depth, 0.05)
        pixels = seen[:, :2] / safe[:, None] * self.focal + (self.width / 2, self.height / 2)
        return pixels, depth

    def polygon(self, points: Floats) -> Floats | None:
        """A planar world polygon ``(N, 3)`` cut at the near plane, in pixels ``(M, 2)``; None where nothing can be seen."""
        seen = self.view(points)
        inside = seen[:, 2] > _NEAR
        if not inside.any():
            return None
        if not inside.all():
            kept = []
            for a, b, a_in, b_in in zip(seen, np.roll(seen, -1, 0), inside, np.roll(inside, -1), strict=True):
                if a_in:
                    kept.append(a)
                if a_in != b_in:
                    kept.append(a + (b - a) * ((_NEAR - a[2]) / (b[2] - a[2])))
            seen = np.array(kept)
        pixels: Floats = seen[:, :2] / seen[:, 2:] * self.focal + (self.width / 2, self.height / 2)
        low, high = pixels.min(0), pixels.max(0)
        if high[0] < 0 or high[1] < 0 or low[0] > self.width or low[1] > self.height:
            return None
        return np.clip(pixels, -8000, 8000)

    def polygons(self, quads: Floats) -> list[Floats | None]:
        """The same for many quadrilaterals on the ground, ``(N, 4, 2)``."""
        points = np.concatenate([quads, np.zeros((*quads.shape[:2], 1))], axis=-1)
        pixels, depth = self.project(points.reshape(-1, 3))
        pixels, depth = pixels.reshape(-1, 4, 2), depth.reshape(-1, 4)
        low, high = pixels.min(1), pixels.max(1)
        hidden = (high < 0).any(1) | (low[:, 0] > self.width) | (low[:, 1] > self.height)
        whole = depth.min(1) > _NEAR
        near = depth.max(1) > _NEAR
        found: list[Floats | None] = []
        for i in range(len(quads)):
            if whole[i]:
                found.append(None if hidden[i] else np.clip(pixels[i], -8000, 8000))
            else:
                found.append(self.polygon(points[i]) if near[i] else None)
        return found

    def rays(self) -> Floats:
        """Unit directions ``(3, height, width) float32`` through the middle of every pixel."""
        x = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal).astype(np.float32)[None, :]
        y = ((np.arange(self.height) + 0.5 - self.height / 2) / self.focal).astype(np.float32)[:, None]
        length = 1.0 / np.sqrt(x * x + y * y + 1.0)
        turn = self.rotation.astype(np.float32)
        return np.stack([(turn[0, i] * x + turn[1, i] * y + turn[2, i]) * length for i in range(3)])


@dataclass(frozen=True)
class Light:
    """Sun, sky and haze. Colours are RGB; ``sun`` and ``ambient`` linear, ``haze`` as seen in the photo, 0-255.

    Attributes:
        direction: unit vector towards the sun.
        overcast: 0 = clear sky and hard shadows, 1 = grey sky without shadows.
        haze_length: metres after which 63% of a colour is haze.
    """

    direction: Floats
    sun: Floats
    ambient: Floats
    haze: Floats
    haze_length: float
    overcast: float

    @property
    def shadow(self) -> float:
        """Length of the shadow of something one metre high."""
        return float(np.hypot(self.direction[0], self.direction[1]) / self.direction[2])

    def shade(self, albedo: Floats, normal: Floats, *, lit: float | Floats = 1.0) -> Floats:
        """Colours 0-255 of surfaces: albedo (..., 3) 0-255, normals (..., 3), ``lit`` the share of the sun that arrives."""
        normal = np.asarray(normal, dtype=np.float64)
        facing = np.clip(normal @ self.direction, 0.0, 1.0) * lit
        # the sky is brighter on the sun's side, also behind clouds
        open_sky = 0.65 + 0.35 * normal[..., 2] + 0.10 * (normal @ self.direction)
        light = facing[..., None] * self.sun + open_sky[..., None] * self.ambient
        return tone((np.asarray(albedo) / 255.0) ** 2.2 * light)

    def distant(self, colour: Floats, distance: float | Floats) -> Floats:
        """Colours 0-255 behind ``distance`` metres of haze."""
        share = np.exp(-np.asarray(distance) / self.haze_length)[..., None]
        mixed: Floats = np.asarray(colour) * share + self.haze * (1.0 - share)
        return mixed

    def ground_shadow(self, points: Floats) -> Floats:
        """World points ``(N, 3)`` moved along the sun's rays to the ground."""
        points = np.asarray(points, dtype=np.float64)
        moved: Floats = points - self.direction * (points[:, 2:] / self.direction[2])
        moved[:, 2] = 0.0
        return moved


_STEPS = 1024
_AMOUNTS = np.linspace(0, 2, 2 * _STEPS + 1)
_CURVE = (255.0 * (_AMOUNTS / (1.0 + 0.18 * _AMOUNTS**2)) ** (1 / 2.2)).clip(0, 255).astype(np.float32)


def tone(linear: Floats) -> Floats:
    """Linear light to photo values 0-255 with a soft shoulder."""
    index = np.clip(np.asarray(linear) * np.float32(_STEPS), 0, 2 * _STEPS).astype(np.int32)
    values: Floats = _CURVE[index]
    return values


def choose_light(rng: np.random.Generator, azimuth: float) -> Light:
    """A time of day and weather; ``azimuth`` is where the camera stands, so that the sun is rarely straight ahead."""
    overcast = float(np.clip(rng.uniform(-0.6, 1.15), 0.0, 1.0))
    elevation = math.radians(rng.uniform(16, 66))
    # measured from the camera's side: most photos are taken with the sun behind or beside
    turn = azimuth + rng.choice([-1.0, 1.0]) * math.radians(rng.triangular(5, 70, 175))
    direction = np.array([math.cos(turn) * math.cos(elevation), math.sin(turn) * math.cos(elevation), math.sin(elevation)])
    warm = np.clip((0.75 - elevation) / 0.6, 0.0, 1.0)
    sun = np.array([1.0, 0.95 - 0.13 * warm, 0.86 - 0.30 * warm]) * (1.0 - overcast) * rng.uniform(1.0, 1.35)
    ambient = np.array([0.31, 0.36, 0.43]) * (1.0 - overcast) + np.array([0.67, 0.685, 0.70]) * overcast
    exposure = rng.uniform(0.78, 1.08) / float((sun * direction[2] + ambient).mean())
    clear = np.array([196, 212, 230.0]) * (1 - 0.5 * warm) + np.array([228, 214, 196.0]) * 0.5 * warm
    haze = clear * (1.0 - overcast) + np.array([206, 210, 214.0]) * overcast
    length = float(np.exp(rng.uniform(math.log(500), math.log(4500))))
    return Light(direction, sun * exposure, ambient * exposure, haze * rng.uniform(0.88, 1.04), length, overcast)


def _aim(position: Floats, target: Floats, roll: float) -> Floats:
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, forward])


def _extent(camera: Camera, height: float, half: float) -> tuple[Floats, Floats]:
    square = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) * half
    foot, top = np.column_stack([square, np.zeros(4)]), np.column_stack([square * 0.35, np.full(4, height * 1.03 + 1.5)])
    points = np.concatenate([foot, top])
    pixels, depth = camera.project(points)
    if depth.min() < 2.0:
        pixels = pixels * 50.0
    return pixels.min(0), pixels.max(0)


def choose_camera(rng: np.random.Generator, height: float, half: float, size: tuple[int, int]) -> tuple[Camera, float]:
    """A drone's view of a tower ``height`` metres high and ``2 * half`` wide at the foot; also the camera's azimuth.

    The tower fills 30-95% of the frame (less from steeply above) and lies inside it.
    """
    width, tall = size
    mode = rng.choice(4, p=[0.36, 0.40, 0.16, 0.08])
    low, high, most = [(-3, 14, 0.95), (14, 48, 0.92), (48, 78, 0.75), (-20, -4, 0.95)][mode]
    elevation = math.radians(rng.uniform(low, high))
    azimuth = rng.uniform(-math.pi, math.pi)
    focal = width / 2 / math.tan(math.radians(rng.uniform(50, 76)) / 2)
    share = rng.uniform(0.33, most)
    roll = math.radians(rng.normal(0, 1.2))
    target = np.array([0.0, 0.0, height * 0.5])
    outward = np.array([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)])

    def camera(distance: float, yaw: float = 0.0, pitch: float = 0.0) -> Camera:
        position = target + outward * distance
        position[2] = max(position[2], 2.0)
        turn = _aim(position, target, roll)
        cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        yawed = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]]) @ turn
        return Camera(position, np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ yawed, focal, width, tall)

    near, far = height * 0.5 + 6.0, height * 12.0
    for _ in range(13):
        middle = math.sqrt(near * far)
        a, b = _extent(camera(middle), height, half)
        near, far = (middle, far) if max((b[0] - a[0]) / width, (b[1] - a[1]) / tall) > share else (near, middle)
    a, b = _extent(camera(far), height, half)
    shift = np.array([rng.uniform(-1, 1), rng.uniform(-1, 1)])
    free = np.maximum((np.array([width, tall]) * 0.97 - (b - a)) / 2, 0.0)
    centre = (a + b) / 2 - np.array([width, tall]) / 2
    for reach in (0.9, 0.7, 0.5, 0.3, 0.15, 0.0):
        # the box's middle is moved to where the shift wants it by turning the camera
        du, dv = shift * free * reach - centre
        found = camera(far, -math.atan(du / focal), -math.atan(dv / focal))
        a, b = _extent(found, height, half)
        if a.min() > 2 and b[0] < width - 2 and b[1] < tall - 2:
            return found, azimuth
    return camera(far * 1.15), azimuth
