"""What every thing that stands in a generated scene is, and the boxes that many of them are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dips.demo.camera import Camera, Light
from dips.demo.canvas import Canvas
from dips.demo.noise import Floats

__all__ = ["Object", "box", "draw_box", "on_face", "turned"]


@dataclass(frozen=True)
class Object:
    """Something at ``x, y`` of about this ``height`` and ``radius`` in metres."""

    x: float
    y: float
    height: float
    radius: float
    draw: Callable[[Canvas], None]
    shadow: Callable[[Floats, Camera, Light], None]


def turned(x: float, y: float, yaw: float, local: Floats) -> Floats:
    """Points ``(N, 3)`` of a thing's own axes in the world, where it stands at ``x, y`` turned by ``yaw``."""
    c, s = math.cos(yaw), math.sin(yaw)
    local = np.asarray(local, dtype=np.float64)
    return np.column_stack([x + c * local[:, 0] - s * local[:, 1], y + s * local[:, 0] + c * local[:, 1], local[:, 2]])


def box(x: float, y: float, yaw: float, half: tuple[float, float], low: float, high: float) -> Floats:
    """The corners ``(8, 3)`` of a box between two heights: four below, four above, both anticlockwise from above."""
    a, b = half
    ring = [(-a, -b), (a, -b), (a, b), (-a, b)]
    return turned(x, y, yaw, np.array([(*p, z) for z in (low, high) for p in ring]))


def draw_box(canvas: Canvas, body: Floats, wall: Floats, top: Floats) -> list[tuple[Floats, bool]]:
    """Draw the corners of :func:`box`; returns the four walls and whether each is seen."""
    faces = []
    for i in range(4):
        j = (i + 1) % 4
        corners = body[[i, j, j + 4, i + 4]]
        faces.append((corners, canvas.face(corners, wall)))
    canvas.face(body[4:], top)
    return faces


def on_face(corners: Floats, u0: float, u1: float, v0: float, v1: float) -> Floats:
    """The part ``u0..u1`` (along) and ``v0..v1`` (up) of a quadrilateral."""
    a, b, c, d = corners
    points = []
    for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1)):
        points.append((a + (b - a) * u) * (1 - v) + (d + (c - d) * u) * v)
    return np.array(points)
