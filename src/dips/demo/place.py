"""The placement of objects in a generated scene: trees in woods and along borders, buildings, columns, poles.

In: a random generator and the view. Out: trees and shapes, with or without a tower: its site stays free and in view.
"""

from __future__ import annotations

import math

import numpy as np

from dips.demo.camera import Camera
from dips.demo.canvas import Shape
from dips.demo.distractors import make_building, make_column, make_pole_line
from dips.demo.land import Land
from dips.demo.noise import Array
from dips.demo.trees import BUSHES, CONIFERS, LEAFY, Tree

__all__ = ["View", "place_shapes", "place_trees"]

MAX_TREES = 340
MIN_TREE_PIXELS = 2.2


class View:
    """Decides where objects may stand without covering the site, the lens, or more than the foot of a tower of this size."""

    def __init__(self, camera: Camera, land: Land, height: float, half: float) -> None:
        self.camera, self.land = camera, land
        corners = np.array([(x, y, z) for x in (-half, half) for y in (-half, half) for z in (0.12 * height, height)])
        pixels, depth = camera.project(corners)
        self.low, self.high, self.depth = pixels.min(0) - 4, pixels.max(0) + 4, float(depth.max())

    def allows(self, x: Array, y: Array, height: Array, radius: Array) -> Array:
        """Return which objects ``(N,)`` may stand at ``x, y`` and are visible."""
        ends = np.stack([np.column_stack([x, y, z]) for z in (np.zeros_like(x), height)])
        pixels, depths = self.camera.project(ends)
        depth = depths.min(0)
        wide = radius * self.camera.focal / np.maximum(depth, 3.0)
        low, high = pixels.min(0) - np.column_stack([wide, 0.3 * wide]), pixels.max(0) + np.column_stack([wide, 0 * wide])
        covers = (depth < self.depth) & (high > self.low).all(1) & (low < self.high).all(1)
        size = np.array(self.camera.size)
        seen = (high > -0.2 * size).all(1) & (low < 1.2 * size).all(1)
        # objects that fill the photo would look artificial
        seen &= (depth > 8.0) & ((high - low).max(1) < 0.4 * size[1])
        return np.asarray(seen & ~covers & (np.hypot(x, y) > self.land.site + radius))


def place_shapes(rng: np.random.Generator, view: View) -> list[Shape]:
    """Return buildings, columns and poles around the site."""
    land = view.land
    streets = [way for way in land.ways if way.kind != "stream"]
    count = int(rng.choice([0, 3, 8, 40], p=[0.25, 0.3, 0.25, 0.2]))
    candidates: list[Shape] = []
    for x, y in rng.normal(0, 40 + 2 * count, (count * 4, 2)).tolist():
        if not streets or abs(streets[-1].along_and_across(np.array(x), np.array(y))[1]) < 36:
            yaw = (streets[-1].angle if streets else land.angle) + rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05)
            candidates.append(make_building(rng, x, y, yaw))
    for turn in rng.uniform(0, 2 * math.pi, int(rng.integers(0, 3))):  # eye-catching objects
        reach = land.site + rng.uniform(6, 45)
        candidates.append(make_column(rng, reach * math.cos(turn), reach * math.sin(turn)))
    if rng.random() < 0.4:
        turn, reach = rng.uniform(0, 2 * math.pi), land.site + rng.uniform(8, 40)
        yaw = turn + math.pi / 2 + rng.normal(0, 0.2)
        candidates += make_pole_line(rng, reach * math.cos(turn), reach * math.sin(turn), yaw)
    found: list[Shape] = []
    for shape in candidates:
        x, y, height, radius = np.array([(shape.x, shape.y, shape.height, shape.radius)]).T
        free = land.way_distance(x, y) > radius + 1.0
        free &= ~land.wooded[land.plots(x[None], y[None])[0][0]] & view.allows(x, y, height, radius)
        if free[0] and all(math.hypot(o.x - shape.x, o.y - shape.y) > o.radius + shape.radius + 3 for o in found):
            found.append(shape)
    return found


def place_trees(rng: np.random.Generator, view: View, shapes: list[Shape]) -> list[Tree]:
    """Return trees in woods, along plot borders and scattered ones, at most :data:`MAX_TREES`."""
    camera, land = view.camera, view.land
    # candidates on grids around the camera, wider ones farther away
    grids = []
    for inner, outer, step in ((0, 160, 5.5), (160, 340, 7.5), (340, 700, 13.0), (700, 1600, 28.0)):
        grid = np.stack(np.meshgrid(*[np.arange(-outer, outer, step)] * 2), -1).reshape(-1, 2)
        away = np.hypot(*grid.T)
        grid = grid[(away >= inner) & (away < outer) & (grid @ camera.rotation[2, :2] > 0)]
        grids.append(grid + camera.position[:2] + rng.uniform(-0.5, 0.5, grid.shape) * step)
    x, y = np.concatenate(grids).T
    index, border = (values[0] for values in land.plots(x[None], y[None])[:2])
    wooded = land.wooded[index]
    chance = np.where(wooded, 0.9, np.where(land.hedged[index] & (border < 2.5), 0.7, 0.005))
    chosen = rng.random(len(x)) < chance
    x, y, wooded = x[chosen], y[chosen], wooded[chosen]
    leafy = rng.choice(LEAFY, 3, replace=False)
    woods = rng.choice(CONIFERS if rng.random() < 0.4 else leafy, len(x))
    model = np.where(wooded, woods, rng.choice([*leafy, *BUSHES], len(x)))
    height = rng.uniform(9, 17, len(x)) * np.where(wooded, 1.0, np.where(np.isin(model, BUSHES), 0.2, 0.6))
    allowed = view.allows(x, y, height, height * 0.35) & (land.way_distance(x, y) > 1.0 + 0.15 * height)
    for shape in shapes:
        allowed &= np.hypot(x - shape.x, y - shape.y) > shape.radius + np.minimum(height * 0.25, 2.0)
    away = np.linalg.norm(np.column_stack([x, y, 0 * x]) - camera.position, axis=1)
    found = np.flatnonzero(allowed & (height * camera.focal / away > MIN_TREE_PIXELS))
    # nearer ones first, but with a share for distant woods
    found = found[np.argsort(away[found] * rng.uniform(0.4, 1.6, len(found)))[:MAX_TREES]]
    tints = rng.normal(1, 0.04, (len(found), 3)) * rng.uniform(0.8, 1.15, (len(found), 1))
    return [Tree(float(x[i]), float(y[i]), float(height[i]), int(model[i]), t) for i, t in zip(found, tints, strict=True)]
