"""Trees of a generated scene, lit by the sun and seen from the height that the drone has over them.

A scene draws a handful of crowns per viewing height and reuses them in many sizes and tints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dips.demo.camera import SUPER, Camera, Light, tone
from dips.demo.canvas import Canvas, fill
from dips.demo.crowns import VARIANTS, crown
from dips.demo.noise import Floats

__all__ = ["KINDS", "Tree", "Trees"]

KINDS = ("round", "round", "round", "tall", "bush", "conifer", "conifer")
_BINS = (8.0, 34.0, 68.0)  # degrees above the horizon
_PIXELS = 128  # of a tree's height in its stored picture


@dataclass(frozen=True)
class Tree:
    """A tree at ``x, y``, ``height`` metres high; ``kind`` indexes :data:`KINDS`, ``tint`` is a gain per channel."""

    x: float
    y: float
    height: float
    kind: int
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class _Picture:
    """RGBA pictures, each half as large as the one before, and the foot's place in the first."""

    levels: list[Floats]
    foot: tuple[float, float]


class Trees:
    """The crowns of one scene and their pictures, drawn on demand."""

    def __init__(self, rng: np.random.Generator, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        base = np.array([80, 94, 52.0]) + rng.normal(0, 6, 3)
        autumn = rng.random() > 0.86
        self._rng = rng
        # plain numbers: hundreds of trees are placed one by one
        self._eye: list[float] = camera.position.tolist()
        self._turn: list[list[float]] = camera.rotation.tolist()
        self._haze: list[float] = light.haze.tolist()
        self._crowns = [crown(shape, int(rng.integers(VARIANTS[shape]))) for shape in KINDS]
        self._colours = []
        for shape in KINDS:
            colour = base + rng.normal(0, 5, 3) + rng.normal(0, 7)
            if shape == "conifer":
                colour = np.array([62, 76, 54.0]) + rng.normal(0, 5, 3)
            elif autumn and rng.random() < 0.6:
                colour = np.array([[150, 116, 58], [126, 92, 54], [142, 130, 68.0]][int(rng.integers(3))])
            self._colours.append(np.clip(colour, 20, 200))
        self._pictures: dict[tuple[int, int], _Picture] = {}

    def _picture(self, kind: int, level: int) -> _Picture:
        key = (kind, level)
        if key not in self._pictures:
            self._pictures[key] = self._paint(kind, level)
        return self._pictures[key]

    def _paint(self, kind: int, level: int) -> _Picture:
        shape = self._crowns[kind]
        tilt = math.radians(_BINS[level])
        forward = self.camera.rotation[2]
        yaw = math.atan2(forward[1], forward[0])
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        rise = ahead * math.sin(tilt) + np.array([0, 0, math.cos(tilt)])
        depth = ahead * math.cos(tilt) - np.array([0, 0, math.sin(tilt)])
        u, v, w = (shape.leaves @ np.stack([right, -rise, depth]).T).T
        left, top = u.min() - 0.03, v.min() - 0.03
        width = math.ceil((u.max() + 0.03 - left) * _PIXELS) + 4
        height = math.ceil((max(v.max(), 0.0) + 0.03 - top) * _PIXELS) + 4
        picture = np.zeros((height, width, 4), np.uint8)
        foot = (-left * _PIXELS, -top * _PIXELS)
        if level < 2:
            bark = self.light.shade(np.array([104, 90, 76.0]), -ahead)
            tip = foot[1] - shape.trunk * 2.2 * _PIXELS * math.cos(tilt)
            a, b = 0.016 * _PIXELS, 0.010 * _PIXELS
            quad = np.array([(foot[0] - a, foot[1]), (foot[0] + a, foot[1]), (foot[0] + b, tip), (foot[0] - b, tip)])
            fill(picture, quad, (*bark.tolist(), 255.0), 1.0)
        facing = np.clip(0.3 + 0.7 * (shape.normals @ self.light.direction), 0, 1) * shape.shade
        albedo = (self._colours[kind] / 255.0) ** 2.2 * self._rng.uniform(0.6, 1.45, len(u))[:, None]
        sky = shape.shade * (0.5 + 0.5 * np.clip(shape.normals[:, 2], -0.4, 1))
        linear = albedo * (facing[:, None] * self.light.sun * 1.25 + sky[:, None] * self.light.ambient * 1.15)
        order = np.argsort(-w)
        colour = np.full((len(u), 4), 255, np.uint8)
        colour[:, :3] = tone(linear[order])
        packed = colour.view(np.uint32)[:, 0]
        place = (((v - top) * _PIXELS).astype(int) * width + ((u - left) * _PIXELS).astype(int))[order]
        flat = picture.reshape(-1, 4).view(np.uint32)[:, 0]
        for step in (-width, 2 * width, -1, 2, 0, 1, width, width + 1):
            flat[place + step] = packed
        # between the leaves stands their mean colour, so that scaling mixes no black in
        spread = cv2.blur(picture, (9, 9)).astype(np.float32)
        gaps = np.clip(spread[..., :3] * (255.0 / np.maximum(spread[..., 3:], 8.0)), 0, 255).astype(np.uint8)
        np.copyto(picture[..., :3], gaps, where=picture[..., 3:] == 0)
        levels = [picture]
        while min(levels[-1].shape[:2]) > 24:
            smaller = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
            levels.append(cv2.resize(levels[-1], smaller, interpolation=cv2.INTER_AREA))
        return _Picture(levels, foot)

    def draw(self, canvas: Canvas, tree: Tree) -> None:
        """Put a tree on the canvas."""
        camera = self.camera
        dx, dy, dz = tree.x - self._eye[0], tree.y - self._eye[1], -self._eye[2]
        seen = [a * dx + b * dy + c * dz for a, b, c in self._turn]
        distance = seen[2]
        if distance < 4.0:
            return
        seen_at = math.degrees(math.atan2(-dz - tree.height * 0.6, max(math.hypot(dx, dy), 0.1)))
        picture = self._picture(tree.kind, min(range(len(_BINS)), key=lambda i: abs(_BINS[i] - seen_at)))
        scale = camera.focal * tree.height / distance / _PIXELS * SUPER
        if not 0.01 < scale < 12:
            return
        full = picture.levels[0].shape
        width, height = max(round(full[1] * scale), 2), max(round(full[0] * scale), 2)
        x0 = round((seen[0] / distance * camera.focal + camera.width / 2) * SUPER - picture.foot[0] * scale)
        y0 = round((seen[1] / distance * camera.focal + camera.height / 2) * SUPER - picture.foot[1] * scale)
        rows, columns = camera.height * SUPER, camera.width * SUPER
        if x0 >= columns or y0 >= rows or x0 + width <= 0 or y0 + height <= 0 or width * height > 4_000_000:
            return
        source = next((p for p in reversed(picture.levels) if p.shape[1] >= width), picture.levels[0])
        small = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + width, columns), min(y0 + height, rows)
        small = small[top - y0 : bottom - y0, left - x0 : right - x0]
        share = math.exp(-distance / self.light.haze_length)
        (r, g, b), haze = tree.tint, [h * (1 - share) for h in self._haze]
        gain = [[r * share, 0, 0, 0, haze[0]], [0, g * share, 0, 0, haze[1]], [0, 0, b * share, 0, haze[2]]]
        tinted = cv2.transform(small, np.array(gain))
        solid = cv2.threshold(cv2.extractChannel(small, 3), 105, 255, cv2.THRESH_BINARY)[1]
        part = canvas.pixels[top:bottom, left:right]
        part[:] = cv2.copyTo(tinted, solid, part)
        if canvas.has_tower:
            covered = canvas.tower[top:bottom, left:right]
            covered[:] = cv2.subtract(covered, solid)

    def shadows(self, plane: Floats, trees: list[Tree]) -> None:
        """Darken the ground plane by the trees' shadows: outlines moved along the sun's rays, with ragged edges."""
        if not trees:
            return
        turn = np.linspace(0, 2 * math.pi, 20, endpoint=False)
        sun = self.light.direction[:2] / max(float(np.hypot(*self.light.direction[:2])), 1e-6)
        place = np.array([(t.x, t.y) for t in trees])
        tall = np.array([t.height for t in trees])[:, None]
        wide = np.array([self._crowns[t.kind].width for t in trees])[:, None] * tall
        pointed = np.array([KINDS[t.kind] in ("conifer", "tall") for t in trees])[:, None]
        lean = self.light.shadow * tall
        phase = place.sum(1, keepdims=True)
        ragged = 1 + 0.14 * np.sin(turn * 5 + phase) + 0.10 * np.sin(turn * 9 + 3 * phase)
        along = np.cos(turn) * ragged * (wide * 0.85 + lean * np.where(pointed, 0.42, 0.28))
        along = along + lean * np.where(pointed, 0.46, 0.58)
        across = np.sin(turn) * ragged * wide * np.where(pointed, np.clip(0.8 - 0.65 * np.cos(turn), 0.1, 1.1), 0.95)
        ground = place[:, None] - along[..., None] * sun + across[..., None] * np.array([-sun[1], sun[0]])
        pixels, depth = self.camera.project(np.concatenate([ground, np.zeros((*ground.shape[:2], 1))], -1).reshape(-1, 3))
        pixels, depth = pixels.reshape(len(trees), -1, 2), depth.reshape(len(trees), -1)
        low, high = pixels.min(1), pixels.max(1)
        shown = (depth.min(1) > 2) & (high > 0).all(1) & (low < (self.camera.width, self.camera.height)).all(1)
        for i in np.flatnonzero(shown & (np.abs(pixels).max((1, 2)) < 8000)):
            fill(plane, pixels[i], 255.0)
