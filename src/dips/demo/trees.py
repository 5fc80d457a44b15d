"""Trees of a generated scene: clumps of leaves, lit by the sun and seen from the drone's height above them.

In: places, heights and models. Out: trees on the canvas and their shadows. A model's surface is computed once per process and
viewing angle, coloured once per scene, and pasted in many sizes and tints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dips.demo.canvas import SUPERSAMPLING, Canvas, Shape
from dips.demo.light import linear, tone
from dips.demo.noise import Array, sample_noise

__all__ = ["BUSHES", "CONIFERS", "LEAFY", "Tree", "TreePainter"]

LEAFY, BUSHES, CONIFERS = range(6), range(6, 8), range(8, 10)  # numbers of the tree models
VIEW_ANGLES = (8.0, 30.0, 60.0)  # degrees above the horizon
SPRITE_HEIGHT = 96  # pixels of a tree's height
LEAF_COLOURS = {
    "spring": ((98, 118, 62), (110, 124, 70), (86, 106, 60)),
    "summer": ((80, 96, 54), (86, 100, 58), (72, 88, 50)),
    "autumn": ((146, 112, 58), (126, 98, 56), (104, 108, 60)),
}
NEEDLES = np.array([60, 74, 54])


@dataclass(frozen=True)
class Tree:
    """A tree of ``model`` at ``x, y``, ``height`` metres high; ``tint`` (3,) is a gain per channel."""

    x: float
    y: float
    height: float
    model: int
    tint: Array


@lru_cache(maxsize=64)
def _clumps(model: int) -> tuple[Array, Array]:
    """Return centres ``(N, 3)`` and radii ``(N,)`` of the leaf clumps of a tree of height 1 at the origin."""
    rng = np.random.default_rng([5, model])
    if model in CONIFERS:
        z = np.repeat(np.linspace(0.10, 0.96, 14), 9) + rng.normal(0, 0.01, 126)
        turn = rng.uniform(0, 2 * math.pi, 126)
        reach = np.maximum(1.0 - z, 0.0) ** 0.9 * rng.uniform(0.16, 0.24) * rng.uniform(0.55, 1.1, 126)
        centres = np.column_stack([reach * np.cos(turn), reach * np.sin(turn), z - 0.25 * reach])
        return centres, np.maximum(0.055 * (1.25 - z), 0.012) * rng.uniform(0.8, 1.2, 126)
    wide, low = (0.6, 0.0) if model in BUSHES else (rng.uniform(0.30, 0.42), rng.uniform(0.10, 0.22))
    half = (1.0 - low) / 2
    # a few large limbs carry many clumps, which gives the outline lobes and notches
    directions = rng.normal(size=(97, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    limbs = directions[:7] * rng.uniform(0.35, 0.6, (7, 1))
    centres = limbs[rng.integers(0, 7, 90)] + directions[7:] * rng.uniform(0.15, 0.5, (90, 1))
    return centres * (wide, wide, half) + (0.0, 0.0, low + half), rng.uniform(0.11, 0.27, 90) * min(wide, half)


@lru_cache(maxsize=64)
def _surface(model: int, view: int) -> tuple[Array, Array, Array]:
    """Return the visible surface of a tree for a viewer at -y who looks down at it.

    Returns the normals ``(H, W, 3)`` along right, up and back, 0 outside the tree; the light that arrives ``(H, W)``, 0-1; and
    the foot's pixel.
    """
    centres, radii = _clumps(model)
    c, s = math.cos(math.radians(VIEW_ANGLES[view])), math.sin(math.radians(VIEW_ANGLES[view]))
    places = centres @ np.array([(1, 0, 0), (0, s, c), (0, -c, s)]).T
    low, high = (places[:, :2] - radii[:, None] * 1.3).min(0), (places[:, :2] + radii[:, None] * 1.3).max(0)
    low[1] = min(low[1], -0.02)
    width, height = np.ceil((high - low) * SPRITE_HEIGHT).astype(int)
    x, y = np.meshgrid(low[0] + (np.arange(width) + 0.5) / SPRITE_HEIGHT, high[1] - (np.arange(height) + 0.5) / SPRITE_HEIGHT)
    # leaves roughen the outline of each clump and tilt its surface
    leaves = np.stack([sample_noise(x + i + 0.37 * model, y + i + 0.11 * view, 1.9, 0.5) for i in range(4)], -1)
    nearest, normals = np.full((height, width), -9.0), np.zeros((height, width, 3))
    for (cx, cy, cz), radius in zip(places, radii, strict=True):
        row, column = int((high[1] - cy) * SPRITE_HEIGHT), int((cx - low[0]) * SPRITE_HEIGHT)
        reach = int(1.3 * radius * SPRITE_HEIGHT) + 1
        window = np.s_[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        dx, dy = x[window] - cx, y[window] - cy
        rise = radius * radius * (1.0 + 0.3 * leaves[window][..., 0]) - dx * dx - dy * dy
        dz = np.sqrt(np.maximum(rise, 0.0))
        front = (rise > 0) & (cz + dz > nearest[window])
        nearest[window][front] = (cz + dz)[front]
        normals[window][front] = np.stack([dx, dy, dz], -1)[front] / radius
    solid = nearest > -9.0
    crown = np.stack([x, y - 0.5 * c, nearest - 0.5 * s], -1)
    crown /= np.maximum(np.linalg.norm(crown, axis=-1), 0.05)[..., None]
    normals = 0.6 * normals + 0.6 * crown + 0.35 * leaves[..., 1:]
    normals *= solid[..., None] / np.maximum(np.linalg.norm(normals, axis=-1), 1e-6)[..., None]
    # hollows between clumps and the lower part of the crown receive less light
    depth = np.where(solid, nearest, cv2.blur(np.where(solid, nearest, 0.0), (5, 5)))
    openness = np.clip(0.8 + 6.0 * (depth - cv2.GaussianBlur(depth, (0, 0), 5.0)) + 0.12 * leaves[..., 0], 0.3, 1.1)
    openness *= np.clip(0.62 + 0.5 * y / (0.2 + c), 0.5, 1)
    trunk = ~solid & (np.abs(x) < 0.014) & (y > 0) & (y < 0.4 * c)
    normals[trunk], openness[trunk] = (0.0, 0.0, 1.0), 0.45
    return normals.astype(np.float32), openness.astype(np.float32), np.array([-low[0], high[1]]) * SPRITE_HEIGHT


class TreePainter:
    """Draws the trees of one scene on its canvas."""

    def __init__(self, rng: np.random.Generator, canvas: Canvas, season: str) -> None:
        self.canvas = canvas
        colours = rng.choice(LEAF_COLOURS[season], CONIFERS.stop)
        colours[CONIFERS] = NEEDLES
        self._colours = np.clip(colours + rng.normal(0, 5, colours.shape) + rng.normal(0, 6, (len(colours), 1)), 15, 220)
        self._pictures: dict[tuple[int, int], list[Array]] = {}
        crowns = [canvas.light.to_ground(_clumps(model)[0] * 1.1) for model in range(CONIFERS.stop)]
        self._shadows = [crown[cv2.convexHull(crown[:, :2].astype(np.float32), returnPoints=False)[:, 0]] for crown in crowns]

    def _paint(self, model: int, view: int) -> list[Array]:
        """Return RGBA images of a tree model, each half as large as the previous one."""
        light, forward = self.canvas.light, self.canvas.camera.rotation[2]
        normals, openness, _ = _surface(model, view)
        c, s = math.cos(math.radians(VIEW_ANGLES[view])), math.sin(math.radians(VIEW_ANGLES[view]))
        a, b = forward[:2] / np.hypot(*forward[:2])
        axes = np.array([(b, -a, 0), (a * s, b * s, c), (-a * c, -b * c, s)], dtype=np.float32)
        # leaves are slightly translucent
        direct = np.clip(0.15 + 0.85 * (normals @ (axes @ light.direction)), 0.0, 1.0) * openness
        diffuse = (0.62 + 0.38 * (normals @ axes[:, 2])) * openness
        shown = normals.any(-1)
        picture = np.empty((*shown.shape, 4), np.uint8)
        picture[..., :3] = tone(
            linear(self._colours[model]) * (direct[..., None] * light.sun * 1.15 + diffuse[..., None] * light.sky)
        )
        # the tree is surrounded by its mean colour, so that scaling mixes in no other
        picture[~shown, :3] = picture[shown, :3].mean(0)
        picture[..., 3] = shown * np.uint8(255)
        pictures = [picture]
        while min(pictures[-1].shape[:2]) > 12:
            pictures.append(cv2.resize(pictures[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        return pictures

    def draw(self, tree: Tree) -> None:
        """Paste a tree."""
        camera, light, canvas = self.canvas.camera, self.canvas.light, self.canvas
        foot, depth = camera.project(np.array([tree.x, tree.y, 0.0]))
        distance, away = float(depth), math.hypot(camera.position[0] - tree.x, camera.position[1] - tree.y)
        angle = math.degrees(math.atan2(camera.position[2] - 0.6 * tree.height, away))
        view = min(range(len(VIEW_ANGLES)), key=lambda i: abs(VIEW_ANGLES[i] - angle))
        if (tree.model, view) not in self._pictures:
            self._pictures[tree.model, view] = self._paint(tree.model, view)
        pictures = self._pictures[tree.model, view]
        scale = camera.focal * tree.height / distance / SPRITE_HEIGHT * SUPERSAMPLING
        width, height = (max(round(side * scale), 2) for side in pictures[0].shape[1::-1])
        corner = foot * SUPERSAMPLING - _surface(tree.model, view)[2] * scale
        x, y = round(float(corner[0])), round(float(corner[1]))
        rows, columns = canvas.tower.shape
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
        if left >= right or top >= bottom:
            return
        source = next((p for p in reversed(pictures) if p.shape[1] >= width), pictures[0])
        small = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        small = small[top - y : bottom - y, left - x : right - x]
        clear = math.exp(-distance / light.haze_length)
        gain = np.column_stack([np.diag(tree.tint) * clear, np.zeros(3), light.haze * (1.0 - clear)])
        solid = cv2.threshold(cv2.extractChannel(small, 3), 110, 255, cv2.THRESH_BINARY)[1]
        part, covered = canvas.pixels[top:bottom, left:right], canvas.tower[top:bottom, left:right]
        part[:] = cv2.copyTo(cv2.transform(small, gain), solid, part)
        covered[:] = cv2.subtract(covered, solid)

    def cast_shadow(self, tree: Tree) -> None:
        """Add the tree's shadow on the flat ground."""
        outline = self._shadows[tree.model] * tree.height + (tree.x, tree.y, 0.0)
        self.canvas.cast_shadow(Shape(tree.x, tree.y, 1.0, 1.0, faces=[(outline, NEEDLES)]))
