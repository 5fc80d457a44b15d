"""Where objects stand in a generated scene: woods, hedges, villages, poles along roads, the site's own clutter.

Nothing here knows whether the scene has a tower: the site in the middle is kept free, and so is the view of it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from dips.demo.buildings import building
from dips.demo.camera import Camera
from dips.demo.layout import Layout
from dips.demo.noise import Floats
from dips.demo.objects import Object
from dips.demo.props import car, fence, lamp, pole_line, round_tower
from dips.demo.trees import Tree

__all__ = ["Site", "place_objects", "place_trees"]

_MOST_TREES = 340


class Site:
    """What must stay free: the ground of the site, the camera's surroundings, and the line of sight to the tower."""

    def __init__(self, camera: Camera, layout: Layout, height: float, half: float) -> None:
        self.camera = camera
        self.layout = layout
        self.radius = layout.site
        self.distance = float(np.linalg.norm(camera.position[:2]))
        square = np.array([(-half, -half), (-half, half), (half, -half), (half, half)])
        body = np.concatenate([np.column_stack([square * s, np.full(4, z)]) for s, z in ((1, 0.0), (0.3, height))])
        pixels, _ = camera.project(body)
        self.low, self.high = pixels.min(0) - 3, pixels.max(0) + 3

    def free(self, x: Floats, y: Floats, height: Floats, radius: Floats) -> Floats:
        """Whether things may stand here, ``(N,)`` each, without covering the site, the tower's body or the lens."""
        camera = self.camera
        away = np.hypot(x - camera.position[0], y - camera.position[1])
        clear = np.hypot(x, y) >= self.radius + radius
        clear &= ~((away < 7 + radius) & (camera.position[2] < height + 7))
        behind = (away > self.distance + 2) & (camera.position[2] < 3 * height)
        tops, top_depth = camera.project(np.column_stack([x, y, height]))
        feet, foot_depth = camera.project(np.column_stack([x, y, np.zeros_like(x)]))
        nearest = np.minimum(top_depth, foot_depth)
        wide = radius * camera.focal / np.maximum(nearest, 3.0)
        left, right = np.minimum(tops[:, 0], feet[:, 0]) - wide, np.maximum(tops[:, 0], feet[:, 0]) + wide
        high, low = np.minimum(tops[:, 1], feet[:, 1]), np.maximum(tops[:, 1], feet[:, 1])
        # the lowest fifth of the tower may be hidden
        limit = self.high[1] - 0.2 * (self.high[1] - self.low[1])
        beside = (right < self.low[0]) | (left > self.high[0]) | (high - wide * 0.3 > limit) | (low < self.low[1])
        beside = np.where(nearest < 3, np.maximum(top_depth, foot_depth) < 3, beside)
        return np.asarray(clear & (behind | beside))

    def seen(self, x: Floats, y: Floats, height: Floats) -> Floats:
        """Heights in pixels of things at ``x, y``, ``(N,)`` each; 0 out of view."""
        pixels, depth = self.camera.project(np.column_stack([x, y, height / 2]))
        tall = height * self.camera.focal / np.maximum(depth, 3.0)
        inside = (pixels > -tall[:, None]) & (pixels < (self.camera.width, self.camera.height) + tall[:, None])
        return np.where(inside.all(1) & (depth > 3), tall, 0.0)

    def allows(self, thing: Object) -> bool:
        """Whether one object may stand where it is."""
        values = (np.array([v]) for v in (thing.x, thing.y, thing.height, thing.radius))
        return bool(self.free(*values)[0])


# trees that might be planted: (N, 4) arrays of x, y, height, kind
_Plants = list[Floats]


def _plants(rng: np.random.Generator, points: Floats, heights: tuple[float, float], kinds: tuple[int, ...]) -> Floats:
    count = len(points)
    return np.column_stack([points, rng.uniform(*heights, count), np.array(kinds)[rng.integers(0, len(kinds), count)]])


def place_trees(rng: np.random.Generator, site: Site, objects: list[Object]) -> list[Tree]:
    """Woods, hedges between parcels, rows along roads and water, single trees and bushes; at most a few hundred."""
    layout = site.layout
    plants: _Plants = []
    leafy = rng.random() < 0.6
    eye = site.camera.position[:2]
    outlines = site.camera.polygons(np.stack([quad for quad, _ in layout.parcels]))
    for (quad, style), outline in zip(layout.parcels, outlines, strict=True):
        if outline is None:
            continue
        away = float(np.hypot(*(quad.mean(0) - eye)))
        if style.name == "forest":
            if away < 1500:
                plants.append(_wood(rng, quad, away, leafy))
        elif away < 900 and rng.random() < 0.5:
            loose = quad[0] + (quad[1] - quad[0]) * rng.random((3, 1)) + (quad[3] - quad[0]) * rng.random((3, 1))
            plants.append(_plants(rng, loose[: int(rng.integers(0, 4))], (3, 12), (0, 1, 2, 3, 4, 4)))
            if rng.random() < 0.55:
                plants.append(_row(rng, quad[0], quad[1], rng.random() < 0.5))
    for line in (river.line for river in layout.rivers):
        starts = rng.integers(0, len(line) - 1, 160)
        points = line[starts] + (line[starts + 1] - line[starts]) * rng.random((160, 1)) + rng.normal(0, 14, (160, 2))
        plants.append(_plants(rng, points, (3, 12), (0, 1, 2, 4)))
    if layout.roads and rng.random() < 0.35:
        line = layout.roads[0].line
        line = line[np.hypot(line[:, 0], line[:, 1]) < 500]
        for a, b in pairwise(line):
            shift = np.array([-(b - a)[1], (b - a)[0]]) / max(float(np.hypot(*(b - a))), 1e-6) * 7
            plants.append(_row(rng, a + shift, b + shift, False))
    turn, reach = rng.uniform(0, 2 * math.pi, 14), site.radius + rng.gamma(1.5, 9.0, 14)
    plants.append(_plants(rng, np.column_stack([np.cos(turn), np.sin(turn)]) * reach[:, None], (0.8, 3.5), (4, 4, 4, 0)))
    for thing in objects:
        if 4 < thing.radius < 12 and rng.random() < 0.8:
            # gardens
            points = np.array([thing.x, thing.y]) + rng.normal(0, 1, (4, 2)) * (thing.radius * 1.5)
            plants.append(_plants(rng, points, (1.2, 8), (0, 1, 2, 4, 4, 5)))
    return _choose(rng, site, np.concatenate(plants), objects)


def _choose(rng: np.random.Generator, site: Site, plants: Floats, objects: list[Object]) -> list[Tree]:
    x, y, height, kind = plants.T
    keep = site.seen(x, y, height) > 2.2
    x, y, height, kind = (v[keep] for v in (x, y, height, kind))
    keep = site.free(x, y, height, height * 0.3)
    for road in site.layout.roads:
        keep &= _beside(road.line, x, y, road.width / 2 + 1.0 * road.paved + 0.12 * height)
    for river in site.layout.rivers:
        keep &= _beside(river.line, x, y, np.full_like(x, river.width * 0.62))
    for thing in objects:
        if thing.radius < 30:
            keep &= np.hypot(x - thing.x, y - thing.y) > thing.radius * 0.9 + np.minimum(height * 0.25, 2.5)
    # a tree right before the lens would show how it is made
    keep &= site.seen(x, y, height) < 0.4 * site.camera.height
    index = np.flatnonzero(keep)
    if len(index) > _MOST_TREES:
        # nearer ones first, but not only: the far woods keep a share
        away = np.hypot(x[index] - site.camera.position[0], y[index] - site.camera.position[1])
        index = index[np.argsort(away * rng.uniform(0.4, 1.6, len(index)))[:_MOST_TREES]]
    tints = rng.normal(1, 0.04, (len(index), 3)) * rng.uniform(0.8, 1.15, (len(index), 1))
    return [
        Tree(float(x[i]), float(y[i]), float(height[i]), int(kind[i]), (float(t[0]), float(t[1]), float(t[2])))
        for i, t in zip(index, tints, strict=True)
    ]


def _beside(line: Floats, x: Floats, y: Floats, room: Floats) -> Floats:
    """Whether points are farther from a line than ``room``."""
    near = np.hypot(line[:, 0], line[:, 1]) < 900
    points = line[near]
    a, along = points[:-1], np.diff(points, axis=0)
    from_a = np.stack([x, y], -1)[:, None] - a
    t = np.clip((from_a * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    gap = np.hypot(*(from_a - along * t[..., None]).transpose(2, 0, 1)).min(1)
    return np.asarray(gap > room)


def _wood(rng: np.random.Generator, quad: Floats, away: float, leafy: bool) -> Floats:
    area = float(cv2.contourArea(quad.astype(np.float32)))
    count = int(min(area / (5.0 + away / 90) ** 2, 420))
    u, v = rng.random((2, count, 1))
    near, far = quad[0] + (quad[1] - quad[0]) * u, quad[3] + (quad[2] - quad[3]) * u
    return _plants(rng, near + (far - near) * v, (8, 17), (0, 1, 2, 0, 1) if leafy else (5, 6, 5, 6, 1))


def _row(rng: np.random.Generator, start: Floats, end: Floats, hedge: bool) -> Floats:
    length = float(np.hypot(*(end - start)))
    if length > 700:
        return np.zeros((0, 4))
    step = 2.4 if hedge else 10.0
    places = np.cumsum(step * rng.uniform(0.5, 1.8, int(length / step) + 1))
    places = places[places < length]
    points = start + (end - start) * (places / length)[:, None] + rng.normal(0, 0.6, (len(places), 2))
    return _plants(rng, points, (1.4, 3.4) if hedge else (5, 13), (4, 4, 4, 0) if hedge else (0, 1, 2, 3))


def place_objects(rng: np.random.Generator, site: Site) -> list[Object]:
    """Buildings, poles, cars and the clutter around the site."""
    layout = site.layout
    found: list[Object] = []
    found += _clutter(rng, site)
    if layout.theme in ("village", "industry") or rng.random() < 0.4:
        many = {"village": 26, "industry": 9}.get(layout.theme, 3)
        found += _settlement(rng, site, many)
    for road in layout.roads:
        if road.paved:
            found += _roadside(rng, site, road.line, road.width)
    if rng.random() < 0.4:
        turn = layout.angle + rng.normal(0, 0.5)
        along = np.array([math.cos(turn), math.sin(turn)])
        start = np.array([-along[1], along[0]]) * rng.choice([-1, 1]) * (site.radius + rng.uniform(6, 40)) - along * 160
        found += pole_line(rng, start + along * (np.arange(9) * rng.uniform(36, 46))[:, None])
    if not found:
        return []
    x, y, size = np.array([(o.x, o.y, o.height + o.radius) for o in found]).T
    shown = site.seen(x, y, size) > 1.0
    return [o for o, s in zip(found, shown, strict=True) if s]


def _try(site: Site, found: list[Object], thing: Object, *, on_road: bool = False) -> bool:
    if not site.allows(thing):
        return False
    ways = [*site.layout.rivers, *([] if on_road else site.layout.roads)]
    x, y = np.array([thing.x]), np.array([thing.y])
    if not all(_beside(way.line, x, y, np.array([way.width / 2 + thing.radius + 1.5]))[0] for way in ways):
        return False
    if any(math.hypot(o.x - thing.x, o.y - thing.y) < (o.radius + thing.radius) * 0.9 for o in found):
        return False
    found.append(thing)
    return True


def _clutter(rng: np.random.Generator, site: Site) -> list[Object]:
    found: list[Object] = []
    yaw = site.layout.angle
    if rng.random() < 0.6:
        c, s = math.cos(yaw), math.sin(yaw)
        frame = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)]) @ np.array([[c, s], [-s, c]]) * (site.radius * 0.96)
        found += fence(rng, frame)
    for _ in range(int(rng.integers(0, 4))):
        turn = yaw + rng.choice([0, 1, 2, 3]) * math.pi / 2 + rng.normal(0, 0.25)
        reach = site.radius * rng.uniform(0.72, 0.85)
        found.append(building(rng, reach * math.cos(turn), reach * math.sin(turn), yaw, "shelter"))
    # one thing that catches the eye, in both classes
    kind = str(rng.choice(["", "chimney", "silo", "mast", "barn", "house"], p=[0.38, 0.12, 0.14, 0.16, 0.1, 0.1]))
    if kind:
        for _ in range(12):
            turn, reach = rng.uniform(0, 2 * math.pi), site.radius + rng.uniform(4, 40)
            x, y = reach * math.cos(turn), reach * math.sin(turn)
            if kind in ("barn", "house"):
                thing = building(rng, x, y, yaw + rng.choice([0, math.pi / 2]), kind)
            else:
                thing = round_tower(rng, x, y, kind)
            if _try(site, found, thing):
                break
    return found


def _settlement(rng: np.random.Generator, site: Site, many: int) -> list[Object]:
    layout = site.layout
    found: list[Object] = []
    kinds = {"village": ["house"] * 5 + ["barn"], "industry": ["hall", "hall", "barn", "house"]}.get(
        layout.theme, ["barn", "house", "house"]
    )
    if layout.theme == "farm" or not layout.roads:
        turn, reach = rng.uniform(0, 2 * math.pi), rng.uniform(40, 160)
        hub = np.array([reach * math.cos(turn), reach * math.sin(turn)])
    else:
        hub = np.zeros(2)
    for _ in range(many * 5):
        if len(found) >= many:
            break
        kind = str(rng.choice(kinds))
        if hub.any():
            x, y = hub + rng.normal(0, 22, 2)
            yaw = layout.angle + rng.choice([0, math.pi / 2])
        else:
            line = layout.roads[0].line if layout.roads else np.array([(-300.0, 20.0), (300.0, 20.0)])
            i = int(rng.choice(np.flatnonzero(np.hypot(line[:, 0], line[:, 1]) < 420)))
            j = min(i + 1, len(line) - 1)
            along = line[j] - line[j - 1]
            along = along / max(float(np.hypot(*along)), 1e-6)
            side = rng.choice([-1, 1]) * (rng.uniform(13, 17) + rng.choice([0, 26, 55]) + (18 if kind == "hall" else 0))
            x, y = line[i] + along * rng.uniform(-25, 25) + np.array([-along[1], along[0]]) * side
            yaw = math.atan2(along[1], along[0]) + rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05)
        thing = building(rng, float(x), float(y), float(yaw), kind)
        _try(site, found, thing)
    return found


def _roadside(rng: np.random.Generator, site: Site, line: Floats, width: float) -> list[Object]:
    found: list[Object] = []
    step = np.hypot(*np.diff(line, axis=0).T)
    reach = np.concatenate([[0.0], np.cumsum(step)])
    middle = float(reach[np.argmin(np.hypot(line[:, 0], line[:, 1]))])

    def spot(place: float, side: float) -> tuple[Floats, float]:
        a, b = (np.array([np.interp(p, reach, line[:, i]) for i in (0, 1)]) for p in (place, place + 1.0))
        along = (b - a) / max(float(np.hypot(*(b - a))), 1e-6)
        return a + np.array([-along[1], along[0]]) * side, math.atan2(along[1], along[0])

    for _ in range(int(rng.integers(0, 8))):
        side = rng.choice([-1, 1]) * width * 0.25
        point, yaw = spot(middle + rng.normal(0, 90), side)
        _try(site, found, car(rng, point[0], point[1], yaw + (math.pi if side > 0 else 0.0)), on_road=True)
    if rng.random() < 0.35:
        for place in np.arange(middle - 210, middle + 210, 34.0):
            point, yaw = spot(place, width / 2 + 1.2)
            thing = lamp(rng, point[0], point[1], yaw - math.pi / 2)
            if site.allows(thing):
                found.append(thing)
    elif rng.random() < 0.5:
        places = np.stack([spot(p, -width / 2 - 3.0)[0] for p in np.arange(middle - 200, middle + 200, 42.0)])
        found += pole_line(rng, places)
    return found
