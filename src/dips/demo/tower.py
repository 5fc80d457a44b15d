"""Drawing of a lattice tower: depth-sorted bars and plates on a finer canvas, its silhouette, its shadow, its conductors.

The **mask** of a tower is its outer silhouette: bays, arms, decks and antennas are filled, also where one can look through
the lattice. What stands in front is cut out; the shadow and the conductors do not belong to it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dips.demo.camera import SUPER, Camera, Light
from dips.demo.canvas import Canvas, fill, strips
from dips.demo.noise import Floats
from dips.demo.shadows import bar_shadows, hull_shadows
from dips.demo.tower_shape import TowerShape

__all__ = ["conductor_heading", "draw_conductors", "draw_tower", "tower_shadow"]

_FINE = 2 * SUPER
_SHIFT = 4


def tower_shadow(plane: Floats, camera: Camera, light: Light, tower: TowerShape) -> None:
    """Darken the ground where the tower's bars and solid parts take the sun."""
    bars = tower.bars
    starts, ends = np.array([b[0] for b in bars]), np.array([b[1] for b in bars])
    bar_shadows(plane, camera, light, starts, ends, np.array([b[2] for b in bars]))
    hull_shadows(plane, camera, light, tower.solids)


def conductor_heading(tower: TowerShape) -> Floats:
    """The direction in which the line runs: across the arms."""
    out = tower.wires[0] * (1, 1, 0)
    length = math.hypot(out[0], out[1])
    return np.array([-out[1], out[0], 0.0]) / max(length, 1e-6)


def draw_conductors(canvas: Canvas, points: list[Floats], heading: Floats, side: float) -> None:
    """Wires that hang from ``points`` along the horizontal unit vector ``heading`` times ``side`` to a far tower."""
    t = np.linspace(0, 1, 25)[:, None]
    for point in points:
        span = heading * (side * 220.0)
        line = point + span * t - np.array([0, 0, 1.0]) * (4 * 7.0) * t * (1 - t)
        canvas.wire(line, np.array([92, 94, 98.0]), 0.02)


_Part = tuple[float, Floats, Floats]  # depth, corners in pixels, colour


def _bars(tower: TowerShape, camera: Camera, light: Light) -> list[_Part]:
    starts, ends = np.array([b[0] for b in tower.bars]), np.array([b[1] for b in tower.bars])
    radii = np.array([b[2] for b in tower.bars])
    legs = np.array([b[4] for b in tower.bars])
    first, first_depth = camera.project(starts)
    second, second_depth = camera.project(ends)
    along = ends - starts
    along /= np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    towards = camera.position - (starts + ends) / 2
    distance = np.linalg.norm(towards, axis=1)
    towards /= distance[:, None]
    # a thin round bar: the sun's share by its angle to the bar, and by how much of the lit side is seen
    across = np.sqrt(np.clip(1 - (along @ light.direction) ** 2, 0, 1))
    seen = 0.5 + 0.5 * (towards @ light.direction)
    sky = 0.62 + 0.2 * np.abs(along[:, 2]) + 0.1 * seen
    glow = (across * (0.12 + 0.88 * seen))[:, None] * light.sun + sky[:, None] * light.ambient
    linear = (np.array([b[3] for b in tower.bars]) / 255.0) ** 2.2 * glow
    # bars on the far side stand in the others' shade
    linear *= 0.92 + 0.08 * np.clip((starts * towards)[:, :2].sum(1) / max(tower.half, 0.1), -1, 1)[:, None]
    colours = light.distant(255.0 * np.clip(linear, 0, 1) ** (1 / 2.2), distance)
    depth = (first_depth + second_depth) / 2
    half_a = np.maximum(radii * camera.focal / np.maximum(first_depth, 0.5), 0.14)
    half_b = np.maximum(radii * camera.focal / np.maximum(second_depth, 0.5), 0.14)
    corners = strips(first, second, half_a, half_b)
    middle_a, middle_b = (corners[:, 0] + corners[:, 3]) / 2, (corners[:, 1] + corners[:, 2]) / 2
    bright = np.minimum(colours * 1.2 + 5, 250)
    # a leg's half that looks to the sun is brighter; "left" is left in the photo
    sun_left = float(camera.rotation[0] @ light.direction) < 0
    first_is_left = corners[:, 0, 0] < corners[:, 3, 0]
    shown = (np.minimum(first_depth, second_depth) > 1.0) & (np.hypot(*(second - first).T) > 1e-3)
    parts: list[_Part] = []
    for i in np.flatnonzero(shown):
        parts.append((float(depth[i]), corners[i], colours[i]))
        if legs[i] and max(half_a[i], half_b[i]) > 0.5:
            a, b = (0, 1) if bool(first_is_left[i]) == sun_left else (3, 2)
            lit = np.stack([corners[i, a], corners[i, b], middle_b[i], middle_a[i]])
            parts.append((float(depth[i]) - 0.01, lit, bright[i]))
    return parts


def _plates(tower: TowerShape, camera: Camera, light: Light) -> list[_Part]:
    if not tower.plates:
        return []
    middles = np.array([c.mean(0) for c, _, _ in tower.plates])
    away = camera.position - middles
    both = np.array([n is None for _, _, n in tower.plates])
    up = np.array([0.0, 0.0, 1.0])
    normals = np.array([up if n is None else n for _, _, n in tower.plates])
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    normals[both & (away[:, 2] < 0)] *= -1
    colours = light.shade(np.array([a for _, a, _ in tower.plates]), normals)
    colours = light.distant(colours, np.linalg.norm(away, axis=1))
    parts: list[_Part] = []
    pixels, depth = camera.project(np.concatenate([c for c, _, _ in tower.plates]))
    bounds = np.concatenate([[0], np.cumsum([len(c) for c, _, _ in tower.plates])])
    for i in np.flatnonzero((normals * away).sum(1) > 0):
        part = slice(bounds[i], bounds[i + 1])
        if depth[part].min() > 1.0:
            parts.append((float(depth[part].mean()) - 0.05, pixels[part], colours[i]))
    return parts


def draw_tower(canvas: Canvas, tower: TowerShape) -> None:
    """Draw the tower over what is on the canvas and set its silhouette."""
    camera = canvas.camera
    parts = _bars(tower, camera, canvas.light) + _plates(tower, camera, canvas.light)
    if not parts:
        return
    parts.sort(key=lambda part: -part[0])
    everything = np.concatenate([corners for _, corners, _ in parts])
    low = np.maximum(np.floor(everything.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(everything.max(0)).astype(int) + 3, (camera.width, camera.height))
    if (high <= low).any():
        return
    wide, tall = (high - low).tolist()
    layer = np.zeros((tall * _FINE, wide * _FINE, 4), np.uint8)
    points = np.rint(((everything - low) * _FINE - 0.5) * (1 << _SHIFT)).astype(np.int32)
    start = 0
    for _, corners, colour in parts:
        outline = points[start : start + len(corners)]
        start += len(corners)
        cv2.fillConvexPoly(layer, outline, (*colour.tolist(), 255.0), cv2.LINE_8, _SHIFT)
    layer = cv2.resize(layer, (wide * SUPER, tall * SUPER), interpolation=cv2.INTER_AREA)
    where = (slice(low[1] * SUPER, high[1] * SUPER), slice(low[0] * SUPER, high[0] * SUPER))
    cover = cv2.extractChannel(layer, 3)
    hidden = cv2.multiply(canvas.pixels[where], cv2.merge([255 - cover] * 3), scale=1 / 255.0)
    canvas.pixels[where] = cv2.add(hidden, layer[..., :3])
    canvas.tower[where] = np.maximum(canvas.tower[where], cover)
    canvas.has_tower = True
    _silhouette(canvas, [*tower.bodies, *tower.solids])


def _silhouette(canvas: Canvas, bodies: list[Floats]) -> None:
    pixels, depth = canvas.camera.project(np.concatenate(bodies))
    start = 0
    for body in bodies:
        part = slice(start, start + len(body))
        start += len(body)
        if depth[part].min() > 1.0:
            fill(canvas.tower, cv2.convexHull(pixels[part][:, None].astype(np.float32))[:, 0], 255.0)
