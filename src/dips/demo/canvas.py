"""Drawing of world shapes on the supersampled canvas of one scene, and what covers the tower's silhouette."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from dips.demo.camera import SUPER, Camera, Light
from dips.demo.noise import Floats

__all__ = ["Canvas", "fill", "side_normals", "strips"]

_SHIFT = 4
_NEAR = 1.5


def fill(plane: Floats, pixels: Floats, colour: Sequence[float] | float, scale: float = SUPER) -> None:
    """Fill a polygon, given in photo pixels ``(N, 2)``, on a plane of ``scale`` times the photo's size."""
    value = (colour,) if isinstance(colour, float) else tuple(colour)
    points = np.rint(pixels * (scale * (1 << _SHIFT)) - 0.5 * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(plane, [points], value, cv2.LINE_8, _SHIFT)


def strips(starts: Floats, ends: Floats, half_starts: Floats, half_ends: Floats) -> Floats:
    """Corners ``(N, 4, 2)`` of bars from ``starts`` to ``ends (N, 2)`` with these half widths ``(N,)``, in pixels."""
    along = ends - starts
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / length[:, None]
    a, b = across * half_starts[:, None], across * half_ends[:, None]
    return np.stack([starts + a, ends + b, ends - b, starts - a], axis=1)


class Canvas:
    """The picture under work: ``pixels`` (H, W, 3) uint8 and ``tower`` (H, W) uint8, 255 where the tower's silhouette shows.

    What is drawn later lies in front; it clears the silhouette that it hides.
    """

    def __init__(self, background: Floats, camera: Camera, light: Light) -> None:
        self.pixels = np.repeat(np.repeat(background, SUPER, 0), SUPER, 1)
        self.tower = np.zeros(self.pixels.shape[:2], np.uint8)
        self.has_tower = False  # whether the tower was drawn, so that it must be cleared where something covers it
        self.camera = camera
        self.light = light
        # plain numbers: a scene draws hundreds of small faces, for which arrays are slow
        self._eye = tuple(map(float, camera.position))
        self._turn = [tuple(map(float, row)) for row in camera.rotation]

    def polygon(self, pixels: Floats, colour: Sequence[float]) -> None:
        """Fill a polygon given in photo pixels."""
        fill(self.pixels, pixels, colour)
        if self.has_tower:
            fill(self.tower, pixels, 0.0)

    def _project(self, point: Sequence[float]) -> tuple[float, float, float]:
        x, y, z = (p - e for p, e in zip(point, self._eye, strict=True))
        u, v, w = (r[0] * x + r[1] * y + r[2] * z for r in self._turn)
        scale = self.camera.focal / max(w, 0.05)
        return u * scale + self.camera.width / 2, v * scale + self.camera.height / 2, w

    def face(self, corners: Floats, albedo: Floats, *, normal: Floats | None = None) -> bool:
        """Shade and fill a planar face, corners anticlockwise seen from outside; False if it looks away or is out of view."""
        points = corners.tolist()
        if normal is None:
            (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[:3]
            ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        else:
            nx, ny, nz = normal.tolist()
        size = math.sqrt(nx * nx + ny * ny + nz * nz)
        dx, dy, dz = (e - p for e, p in zip(self._eye, points[0], strict=True))
        if size < 1e-12 or nx * dx + ny * dy + nz * dz <= 0:
            return False
        seen = [self._project(p) for p in points]
        if min(p[2] for p in seen) > _NEAR:
            pixels = np.array([p[:2] for p in seen])
            xs, ys = [p[0] for p in seen], [p[1] for p in seen]
            if max(xs) < 0 or max(ys) < 0 or min(xs) > self.camera.width or min(ys) > self.camera.height:
                return False
            np.clip(pixels, -8000, 8000, out=pixels)
        else:
            cut = self.camera.polygon(corners)
            if cut is None:
                return False
            pixels = cut
        self.polygon(pixels, self._shade(albedo, (nx / size, ny / size, nz / size), math.sqrt(dx * dx + dy * dy + dz * dz)))
        return True

    def _shade(self, albedo: Floats, normal: Sequence[float], distance: float) -> list[float]:
        light = self.light
        return [float(c) for c in light.distant(light.shade(albedo, np.array(normal)), distance)]

    def bar(self, start: Floats, end: Floats, radius: float, albedo: Floats, *, tip: float | None = None) -> None:
        """A round bar between two world points with a lit and a shaded side; never thinner than a third of a pixel."""
        ax, ay, a_depth = self._project(start.tolist())
        bx, by, b_depth = self._project(end.tolist())
        if min(a_depth, b_depth) < 1.0 or max(ax, bx) < -50 or min(ax, bx) > self.camera.width + 50:
            return
        a_half = max(radius * self.camera.focal / a_depth, 0.17)
        b_half = max((radius if tip is None else tip) * self.camera.focal / b_depth, 0.17)
        ends = np.array([[ax, ay], [bx, by]])
        corners = strips(ends[:1], ends[1:], np.array([a_half]), np.array([b_half]))[0]
        dx, dy = self._eye[0] - float(start[0]), self._eye[1] - float(start[1])
        reach = max(math.hypot(dx, dy), 1e-6)
        left, right = side_normals(np.array([dx / reach, dy / reach, 0.0]), self.camera)
        self.polygon(corners, self._shade(albedo, left.tolist(), a_depth))
        if max(a_half, b_half) > 0.6:
            half = np.stack([(corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2, corners[2], corners[3]])
            self.polygon(half, self._shade(albedo, right.tolist(), a_depth))

    def wire(self, points: Floats, albedo: Floats, radius: float = 0.02) -> None:
        """A thin line through world points ``(N, 3)``, fading into what lies behind where it is thinner than a pixel."""
        pixels, depth = self.camera.project(points)
        colour = self.light.shade(albedo, np.array([0.0, 0.0, 1.0]))
        height, width = self.camera.height * SUPER, self.camera.width * SUPER
        spots = pixels * SUPER
        for i in range(len(points) - 1):
            ax, ay, bx, by = spots[i : i + 2].ravel().tolist()
            if min(depth[i], depth[i + 1]) < 2.0 or max(abs(ax), abs(ay), abs(bx), abs(by)) > 8000:
                continue
            x, y = int((ax + bx) / 2), int((ay + by) / 2)
            near_x, near_y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            if abs(x - near_x) > 300 or abs(y - near_y) > 300:
                continue
            wide = 2 * radius * self.camera.focal / float(depth[i]) * SUPER
            alpha = min(1.0, wide)
            value = (colour * alpha + self.pixels[near_y, near_x] * (1 - alpha)).tolist()
            a, b = (int(ax * 16), int(ay * 16)), (int(bx * 16), int(by * 16))
            cv2.line(self.pixels, a, b, value, max(1, round(wide)), cv2.LINE_AA, 4)


def side_normals(towards: Floats, camera: Camera) -> tuple[Floats, Floats]:
    """Normals of the left and right half of an upright round thing that is seen from direction ``towards``."""
    right = camera.rotation[0] * 0.8
    left_normal, right_normal = towards - right, towards + right
    scale = 1.0 / math.sqrt(float(left_normal @ left_normal)), 1.0 / math.sqrt(float(right_normal @ right_normal))
    return left_normal * scale[0], right_normal * scale[1]
