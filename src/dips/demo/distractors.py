"""Other objects in a generated scene, with and without a tower: houses, halls, silos, masts, pole lines.

In: a random generator and a place. Out: shapes in metres.
"""

from __future__ import annotations

import math

import numpy as np

from dips.demo.canvas import Shape
from dips.demo.noise import Array

__all__ = ["make_building", "make_column", "make_pole_line"]

WALLS = np.array([(214, 204, 186), (196, 182, 160), (152, 108, 90), (222, 220, 214), (186, 190, 192)])
ROOFS = np.array([(140, 88, 72), (112, 76, 66), (92, 92, 96), (124, 116, 108)])
WOOD, GLASS = np.array([110, 94, 78]), np.array([46, 54, 62])
UP = np.array([0.0, 0.0, 1.0])


def _rectangle(x: float, y: float, yaw: float, half_length: float, half_width: float) -> Array:
    c, s = math.cos(yaw), math.sin(yaw)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_length, half_width) @ np.array([[c, s], [-s, c]])
    return np.column_stack([np.add(corners, (x, y)), np.zeros(4)])


def make_building(rng: np.random.Generator, x: float, y: float, yaw: float) -> Shape:
    """Return a house, or sometimes a large hall, with windows and a gable roof with its ridge along ``yaw``."""
    hall = rng.random() < 0.25
    sizes = ((12, 22), (7, 11), (5, 7), (0.3, 0.4)) if hall else ((5, 8), (4, 5), (3, 6), (0.7, 1.1))
    half_length, half_width, eaves, pitch = (float(rng.uniform(*size)) for size in sizes)
    wall, roof = rng.choice(WALLS) + rng.normal(0, 8), rng.choice(ROOFS) + rng.normal(0, 8)
    shape = Shape(x, y, eaves + half_width * pitch, math.hypot(half_length, half_width))
    base = _rectangle(x, y, yaw, half_length, half_width)
    shape.add_walls(base, base + UP * eaves, wall)
    peak = UP * half_width * pitch
    for i, j in ((3, 0), (1, 2)):
        gable = np.array([base[i], base[j], (base[i] + base[j]) / 2 + peak, (base[i] + base[j]) / 2 + peak]) + UP * eaves
        shape.faces.append((gable, wall))
    for start, side in zip(base, np.roll(base, -1, 0) - base, strict=True):
        along = side / math.hypot(*side)
        for step in np.arange(1.6, math.hypot(*side) - 1.5, 3.0):
            window = np.array([-along, along, along + UP * 2, -along + UP * 2]) * 0.6
            shape.faces.append((start + along * step + UP + window, GLASS))
    # the roof overhangs the walls
    edge = _rectangle(x, y, yaw, half_length + 0.4, half_width + 0.4) + UP * (eaves - 0.4 * pitch)
    ridge = [(edge[i] + edge[j]) / 2 + peak + UP * 0.4 * pitch for i, j in ((0, 3), (1, 2))]
    shape.faces.append((np.stack([edge[0], edge[1], ridge[1], ridge[0]]), roof))
    shape.faces.append((np.stack([edge[2], edge[3], ridge[0], ridge[1]]), roof))
    return shape


def make_column(rng: np.random.Generator, x: float, y: float) -> Shape:
    """Return a round, upright object: a silo with a cone on top, or a smooth mast."""
    silo = rng.random() < 0.4
    radius, height = (rng.uniform(2.5, 4.5), rng.uniform(9, 18)) if silo else (rng.uniform(0.3, 0.7), rng.uniform(14, 30))
    shape = Shape(x, y, height + radius, radius)
    albedo = np.array([184, 186, 186]) + rng.normal(0, 14)
    turn = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    ring = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(14)]) * radius
    foot = np.array([x, y, 0.0])
    top = foot + UP * height + ring * (1.0 if silo else 0.6)
    shape.add_walls(foot + ring, top, albedo)
    shape.add_walls(top, np.tile(foot + UP * (height + 0.6 * radius), (14, 1)), albedo * 0.95)
    return shape


def make_pole_line(rng: np.random.Generator, x: float, y: float, yaw: float) -> list[Shape]:
    """Return wooden poles in a line through ``x, y``, with a short crossbar and three wires."""
    height, span = rng.uniform(7, 9), rng.uniform(36, 46)
    along, across = np.array([math.cos(yaw), math.sin(yaw), 0.0]), np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    poles = []
    for foot in np.array([x, y, 0.0]) + along * (span * np.arange(-5, 6)[:, None]):
        pole = Shape(float(foot[0]), float(foot[1]), height, 1.0)
        top = foot + UP * height
        pole.bars += [(foot, top, 0.14, WOOD), (top - across - UP * 0.4, top + across - UP * 0.4, 0.08, WOOD)]
        poles.append(pole)
    metres = np.linspace(-5, 5, 61)[:, None]
    sag = UP * np.abs(np.sin(metres * math.pi)) * 0.6
    poles[5].wires = [np.array([x, y, height]) + across * side + along * (span * metres) - sag for side in (-0.9, 0.0, 0.9)]
    return poles
