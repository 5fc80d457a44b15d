"""Shapes made of faces, bars and wires, and the canvas that they are drawn on.

In: shapes in world metres. Out: the picture, the silhouette of the tower, and a shadow plane. The canvas is
:data:`SUPERSAMPLING` times as large as the photo, which smooths edges when it is scaled down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from dips.demo.camera import Camera
from dips.demo.light import Light
from dips.demo.noise import Array

__all__ = ["SUPERSAMPLING", "Canvas", "Shape"]

SUPERSAMPLING = 2
NEAREST_DEPTH = 2.0  # metres; nothing nearer is drawn
MIN_HALF_WIDTH = 0.2  # photo pixels; bars are not drawn thinner
MAX_COORDINATE = 8000.0


@dataclass
class Shape:
    """An object on the ground at ``x, y``, ``height`` metres high, with its base within ``radius``.

    Attributes:
        faces: ``(corners (4, 3), albedo)``, anticlockwise seen from outside, drawn in this order; triangles repeat a corner.
        bars: ``(start, end, radius, albedo)``.
        wires: lines ``(N, 3)``.
        hulls: sets of corners ``(N, 3)``, whose convex outlines in the photo form the silhouette.
    """

    x: float
    y: float
    height: float
    radius: float
    faces: list[tuple[Array, Array]] = field(default_factory=list)
    bars: list[tuple[Array, Array, float, Array]] = field(default_factory=list)
    wires: list[Array] = field(default_factory=list)
    hulls: list[Array] = field(default_factory=list)

    def add_walls(self, base: Array, top: Array, albedo: Array) -> None:
        """Add walls from a base ``(N, 3)``, anticlockwise from above, to the same number of top corners."""
        for a, b, c, d in zip(base, np.roll(base, -1, 0), np.roll(top, -1, 0), top, strict=True):
            self.faces.append((np.stack([a, b, c, d]), albedo))


class Canvas:
    """The picture ``pixels`` (H, W, 3) being drawn, and two planes (H, W), all uint8.

    ``tower`` is 255 where the tower's silhouette is visible; shapes drawn later clear what they hide. ``shadow`` is 255 where
    no sunlight reaches the ground.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.tower = np.zeros((camera.size[1] * SUPERSAMPLING, camera.size[0] * SUPERSAMPLING), np.uint8)
        self.shadow: Array = self.tower.copy()
        self.pixels: Array = np.repeat(self.tower[..., None], 3, 2)

    def _fill(self, pixels: Array, depth: Array, *layers: tuple[Array, list[float]]) -> None:
        """Fill the convex outline of the photo's pixels ``(N, 2)`` on each plane with the plane's colour."""
        if depth.min() > NEAREST_DEPTH:
            points = np.minimum(np.maximum(pixels, -MAX_COORDINATE), MAX_COORDINATE) * SUPERSAMPLING - 0.5
            points = np.rint(points * 16).astype(np.int32)
            for plane, colour in layers:
                cv2.fillConvexPoly(plane, points, colour, cv2.LINE_8, 4)

    def _fill_hull(self, plane: Array, corners: Array) -> None:
        pixels, depth = self.camera.project(corners)
        self._fill(cv2.convexHull(pixels[:, None].astype(np.float32))[:, 0], depth, (plane, [255]))

    def _strips(self, starts: Array, ends: Array, radii: Array, min_half: float) -> tuple[Array, Array, Array]:
        """Return outlines ``(N, 4, 2)``, their corners' depths and the half widths ``(N,)`` of bars, in pixels."""
        (a, a_depth), (b, b_depth) = self.camera.project(starts), self.camera.project(ends)
        along = b - a
        across = np.column_stack([-along[:, 1], along[:, 0]]) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
        half = radii * self.camera.focal / np.maximum((a_depth + b_depth) / 2, 1.0)
        across *= np.maximum(half, min_half)[:, None]
        return np.stack([a + across, b + across, b - across, a - across], 1), np.stack([a_depth, b_depth], 1), half

    def draw(self, shape: Shape) -> None:
        """Draw a shape and, if it has hulls, its silhouette: faces in order, then bars, the farthest first."""
        self._draw_wires(shape.wires)
        parts: list[tuple[Array, Array, Array]] = []
        if shape.faces:
            corners, albedo = (np.stack(values) for values in zip(*shape.faces, strict=True))
            normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
            normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-9)[:, None]
            front = ((self.camera.position - corners[:, 0]) * normals).sum(1) > 0
            pixels, depth = self.camera.project(corners[front])
            colours = self.light.add_haze(self.light.shade(albedo[front], normals[front]), depth.mean(1))
            parts += zip(pixels, depth, colours, strict=True)
        if shape.bars:
            starts, ends, radii, albedo = (np.stack(values) for values in zip(*shape.bars, strict=True))
            pixels, depth, _ = self._strips(starts, ends, radii, MIN_HALF_WIDTH)
            # bars are round: their sunlit side shows to the extent that the camera is on that side
            along = (ends - starts) / np.maximum(np.linalg.norm(ends - starts, axis=1), 1e-6)[:, None]
            normals = self.light.direction - along * (along @ self.light.direction)[:, None] - self.camera.rotation[2]
            normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-6)[:, None]
            colours = self.light.add_haze(self.light.shade(albedo, normals), depth.mean(1))
            order = np.argsort(-depth.mean(1))
            parts += zip(pixels[order], depth[order], colours[order], strict=True)
        for pixels, depth, colour in parts:
            self._fill(pixels, depth, (self.pixels, colour.tolist()), (self.tower, [0]))
        for hull in shape.hulls:
            self._fill_hull(self.tower, hull)

    def _draw_wires(self, wires: list[Array]) -> None:
        """Draw thin lines that fade into the background where they are thinner than a pixel."""
        if not wires:
            return
        cover = np.zeros_like(self.tower)
        for wire in wires:
            pixels, depth = self.camera.project(wire)
            points = np.rint(np.clip(pixels, -MAX_COORDINATE, MAX_COORDINATE) * SUPERSAMPLING * 16).astype(np.int32)
            width = 0.05 * self.camera.focal / np.maximum(depth, 1.0) * SUPERSAMPLING
            fade = 255 * np.clip(1.6 * width, 0.1, 0.9) * np.exp(-depth / self.light.haze_length)
            for i in np.flatnonzero(np.minimum(depth[1:], depth[:-1]) > NEAREST_DEPTH):
                thickness = 2 if width[i] > 1.5 else 1
                cv2.line(cover, points[i].tolist(), points[i + 1].tolist(), float(fade[i]), thickness, cv2.LINE_AA, 4)
        colour = self.light.shade(np.array([105, 108, 112]), np.array([0, 0, 1]))
        flat, where = self.pixels.reshape(-1, 3), np.flatnonzero(cover)
        flat[where] = flat[where] + (colour - flat[where]) * (cover.ravel()[where, None] / 255.0)

    def cast_shadow(self, shape: Shape) -> None:
        """Add a shape's shadow on the flat ground."""
        for corners, _ in shape.faces:
            self._fill_hull(self.shadow, self.light.to_ground(corners))
        if shape.bars:
            starts, ends, radii, _ = (np.stack(values) for values in zip(*shape.bars, strict=True))
            pixels, depth, half = self._strips(self.light.to_ground(starts), self.light.to_ground(ends), radii, 0.3)
            strength = 70.0 + 185.0 * np.minimum(half / 0.3, 1.0)  # weaker if thinner than a pixel
            for i in np.argsort(strength):
                self._fill(pixels[i], depth[i], (self.shadow, [float(strength[i])]))
