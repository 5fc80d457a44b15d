"""Where things stand in a generated scene: trees in woods and along borders, buildings, columns, poles, cars.

In: a random generator, the view and the land. Out: trees and shapes. Nothing here depends on whether there is a tower: the site
in the middle is kept free, and so is the view of it.
"""

from __future__ import annotations

import math

import numpy as np

from dips.demo.camera import Camera
from dips.demo.canvas import Shape
from dips.demo.distractors import make_building, make_car, make_column, make_pole_line
from dips.demo.land import Land, Way
from dips.demo.noise import Array
from dips.demo.trees import BUSH, CONIFERS, LEAFY, Tree

__all__ = ["View", "place_shapes", "place_trees"]

MAX_TREES = 420
MIN_TREE_PIXELS = 2.2


class View:
    """What may stand where without covering the site, the lens, or more than the foot of a tower of this size."""

    def __init__(self, camera: Camera, land: Land, height: float, half: float) -> None:
        self.camera, self.land = camera, land
        corners = np.array([(x, y, z) for x in (-half, half) for y in (-half, half) for z in (0.12 * height, height)])
        pixels, depth = camera.project(corners)
        self.low, self.high, self.depth = pixels.min(0) - 4, pixels.max(0) + 4, float(depth.max())

    def allows(self, x: Array, y: Array, height: Array, radius: Array) -> Array:
        """Return which things ``(N,)`` may stand at ``x, y`` and can be seen."""
        ends = np.stack([np.column_stack([x, y, z]) for z in (np.zeros_like(x), height)])
        pixels, depths = self.camera.project(ends)
        depth = depths.min(0)
        wide = radius * self.camera.focal / np.maximum(depth, 3.0)
        low, high = pixels.min(0) - np.column_stack([wide, 0.3 * wide]), pixels.max(0) + np.column_stack([wide, 0 * wide])
        covers = (depth < self.depth) & (high > self.low).all(1) & (low < self.high).all(1)
        size = np.array(self.camera.size)
        seen = (high > -0.2 * size).all(1) & (low < 1.2 * size).all(1)
        # what fills the photo would show how it is made
        seen &= (depth > 8.0) & ((high - low).max(1) < 0.4 * size[1])
        return np.asarray(seen & ~covers & (np.hypot(x, y) > self.land.site + radius))


def place_shapes(rng: np.random.Generator, view: View) -> list[Shape]:
    """Return buildings, columns, poles and cars around the site."""
    land, found = view.land, list[Shape]()

    def keep(shape: Shape, gap: float = 1.5) -> bool:
        x, y = np.array([[shape.x]]), np.array([[shape.y]])
        free = land.way_distance(x, y)[0, 0] > shape.radius + gap and not land.wooded[land.plots(x, y)[0][0, 0]]
        apart = all(math.hypot(o.x - shape.x, o.y - shape.y) > o.radius + shape.radius for o in found)
        if free and apart and view.allows(x[0], y[0], np.array([shape.height]), np.array([shape.radius]))[0]:
            found.append(shape)
            return True
        return False

    def beside_site(margin: float) -> tuple[float, float, float]:
        turn, reach = rng.uniform(0, 2 * math.pi), land.site + rng.uniform(6, margin)
        return reach * math.cos(turn), reach * math.sin(turn), turn

    roads = [way for way in land.ways if way.kind == "road"]
    for _ in range(int(rng.integers(0, 9)) if roads else 0):
        side = rng.choice([-1.0, 1.0])
        x, y, yaw = roads[0].place(rng.normal(0, 90), -side * roads[0].half * 0.5)
        keep(make_car(rng, x, y, yaw + (math.pi if side < 0 else 0.0)), gap=-8.0)
    street = roads[0] if roads else Way("track", 2.0, land.angle, rng.uniform(20, 120), 0.0, 50.0)
    count = int(rng.choice([0, 2, 5, 24], p=[0.25, 0.3, 0.25, 0.2]))
    for _ in range(count * 2):
        x, y, yaw = street.place(rng.normal(0, 40 + 5 * count), rng.choice([-1.0, 1.0]) * (street.half + rng.uniform(10, 34)))
        keep(make_building(rng, x, y, yaw + rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05)))
    # one or two things that catch the eye
    for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2]))):
        for _ in range(6):
            x, y, _turn = beside_site(45)
            if keep(make_column(rng, x, y) if rng.random() < 0.7 else make_building(rng, x, y, land.angle)):
                break
    if rng.random() < 0.4:
        x, y, turn = beside_site(40)
        for pole in make_pole_line(rng, x, y, turn + math.pi / 2 + rng.normal(0, 0.2)):
            keep(pole, gap=0.0)
    return found


def place_trees(rng: np.random.Generator, view: View, shapes: list[Shape]) -> list[Tree]:
    """Return trees in woods, along borders of plots and here and there, at most :data:`MAX_TREES`."""
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
    woods = rng.choice(CONIFERS if rng.random() < 0.4 else LEAFY, len(x))
    kind = np.where(wooded, woods, rng.choice([*LEAFY, BUSH, BUSH], len(x)))
    low, high = np.where(wooded, 9, np.where(kind == BUSH, 1.5, 4)), np.where(wooded, 17, np.where(kind == BUSH, 3.5, 11))
    height = rng.uniform(low, high)
    allowed = view.allows(x, y, height, height * 0.35) & (land.way_distance(x, y) > 1.0 + 0.15 * height)
    for shape in shapes:
        allowed &= np.hypot(x - shape.x, y - shape.y) > shape.radius + np.minimum(height * 0.25, 2.0)
    away = np.linalg.norm(np.column_stack([x, y, 0 * x]) - camera.position, axis=1)
    found = np.flatnonzero(allowed & (height * camera.focal / away > MIN_TREE_PIXELS))
    # nearer ones first, but the far woods keep a share
    found = found[np.argsort(away[found] * rng.uniform(0.4, 1.6, len(found)))[:MAX_TREES]]
    tints = rng.normal(1, 0.04, (len(found), 3)) * rng.uniform(0.8, 1.15, (len(found), 1))
    return [Tree(float(x[i]), float(y[i]), float(height[i]), int(kind[i]), t) for i, t in zip(found, tints, strict=True)]
