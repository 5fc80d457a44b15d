"""Shadows on the flat ground: things moved along the sun's rays and drawn on a plane, 255 where no sun arrives."""

from __future__ import annotations

import cv2
import numpy as np

from dips.demo.camera import Camera, Light
from dips.demo.canvas import fill, strips
from dips.demo.noise import Floats

__all__ = ["bar_shadows", "hull_shadows"]

_WEAK = 0.3  # half width in pixels below which a line gets weaker instead of thinner


def hull_shadows(plane: Floats, camera: Camera, light: Light, bodies: list[Floats]) -> None:
    """Darken the shadows of convex bodies, each given by its corners ``(N, 3)``."""
    if not bodies:
        return
    pixels, depth = camera.project(light.ground_shadow(np.concatenate(bodies)))
    start = 0
    for body in bodies:
        part = slice(start, start + len(body))
        start += len(body)
        if depth[part].min() < 2.0:
            continue
        outline = cv2.convexHull(np.clip(pixels[part], -8000, 8000)[:, None].astype(np.float32))[:, 0]
        fill(plane, outline, 255.0)


def bar_shadows(plane: Floats, camera: Camera, light: Light, starts: Floats, ends: Floats, radii: Floats) -> None:
    """Darken the shadows of thin bars between ``starts`` and ``ends (N, 3)``; one thinner than a pixel is weaker."""
    first, first_depth = camera.project(light.ground_shadow(starts))
    second, second_depth = camera.project(light.ground_shadow(ends))
    nearest = np.minimum(first_depth, second_depth)
    shown = (nearest > 2.0) & (np.maximum(np.abs(first).max(1), np.abs(second).max(1)) < 6000)
    half_a = np.maximum(radii * camera.focal / np.maximum(first_depth, 1.0), 0.02)
    half_b = np.maximum(radii * camera.focal / np.maximum(second_depth, 1.0), 0.02)
    corners = strips(first, second, np.maximum(half_a, _WEAK), np.maximum(half_b, _WEAK))
    strength = 70.0 + 185.0 * np.minimum((half_a + half_b) / (2 * _WEAK), 1.0)
    layer = np.zeros_like(plane)
    for i in np.flatnonzero(shown)[np.argsort(strength[shown])]:
        fill(layer, corners[i], float(strength[i]))
    np.maximum(plane, layer, out=plane)
