"""The lattice towers of generated scenes as three-dimensional shapes: legs, bracing, platforms, antennas, cross-arms.

In: a random generator. Out: a :class:`TowerShape` in metres, its axis at the origin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dips.demo.noise import Floats

__all__ = ["TowerShape", "make_tower", "tower_size"]

_UP = np.array([0.0, 0.0, 1.0])
_SIDES = 18
_Corner = Callable[[float, int], Floats]  # a height and a leg's number to the leg's place
_Paint = Callable[[float], Floats]  # a height to an albedo


@dataclass
class TowerShape:
    """A tower made of round bars and flat plates.

    Attributes:
        height, half: metres from the ground to the top of the lattice, and half the width at the foot.
        kind: ``square``, ``triangle``, ``slim`` (telecom) or ``pylon`` (power).
        bars: ``(start, end, radius, albedo, is_leg)``.
        plates: ``(corners (N, 3), albedo, normal)``; they show both sides where the normal is None.
        bodies: corner clouds ``(N, 3)`` of bays, arms and decks: their convex hulls in the photo are the silhouette.
        solids: the same of antennas and boxes, which also cast shadows as a whole.
        wires: where conductors hang, ``(x, y, z)``, and the direction they run in.
    """

    height: float
    half: float
    kind: str
    bars: list[tuple[Floats, Floats, float, Floats, bool]] = field(default_factory=list)
    plates: list[tuple[Floats, Floats, Floats | None]] = field(default_factory=list)
    bodies: list[Floats] = field(default_factory=list)
    solids: list[Floats] = field(default_factory=list)
    wires: list[Floats] = field(default_factory=list)
    heading: float = 0.0

    def bar(self, start: Floats, end: Floats, radius: float, albedo: Floats, *, leg: bool = False) -> None:
        """Add a bar between two points."""
        self.bars.append((start, end, radius, albedo, leg))

    def box(self, centre: Floats, yaw: float, half: tuple[float, float, float], albedo: Floats) -> None:
        """Add a box turned around the vertical."""
        c, s = math.cos(yaw), math.sin(yaw)
        ax = np.array([c, s, 0.0]) * half[0]
        ay = np.array([-s, c, 0.0]) * half[1]
        az = _UP * half[2]
        self.solids.append(np.array([centre + ax * i + ay * j + az * k for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]))
        for a, b, n in ((ay, az, ax), (ax, az, ay), (ax, ay, az)):
            for sign in (-1.0, 1.0):
                middle = centre + n * sign
                corners = np.stack([middle - a - b, middle + a - b, middle + a + b, middle - a + b])
                self.plates.append((corners, albedo, n * (sign / np.linalg.norm(n))))

    def drum(self, centre: Floats, axis: Floats, radius: float, depth: float, face: Floats, side: Floats) -> None:
        """Add a drum antenna that looks along the horizontal ``axis``."""
        turn = np.linspace(0, 2 * math.pi, _SIDES + 1)
        across = np.array([-axis[1], axis[0], 0.0])
        ring = np.outer(np.cos(turn), across) + np.outer(np.sin(turn), _UP)
        front, back = centre + axis * depth + ring * radius, centre + ring * (radius * 0.85)
        self.solids.append(np.concatenate([front[:-1], back[:-1]]))
        for i in range(_SIDES):
            wall = np.stack([back[i], back[i + 1], front[i + 1], front[i]])
            self.plates.append((wall, side, (ring[i] + ring[i + 1]) / 2))
        self.plates.append((front[:-1], face, axis))
        self.plates.append((back[:-1], side * 0.7, -axis))
        # a slightly brighter patch makes the cover bulge
        bulge = centre + axis * (depth + 0.01) + ring * (radius * 0.62) + _UP * (radius * 0.12)
        self.plates.append((bulge[:-1], np.minimum(face * 1.05, 250), axis + _UP * 0.15))


def tower_size(rng: np.random.Generator) -> tuple[str, float, float]:
    """Kind, height and half width at the foot; drawn for scenes without a tower as well."""
    kind = str(rng.choice(["square", "triangle", "slim", "pylon"], p=[0.46, 0.16, 0.14, 0.24]))
    height = float(rng.uniform(18, 30) if kind == "slim" else rng.uniform(24, 56))
    half = float(rng.uniform(0.55, 0.95) if kind == "slim" else height * rng.uniform(0.05, 0.082))
    return kind, height, half


def make_tower(rng: np.random.Generator, kind: str, height: float, half: float) -> TowerShape:
    """A tower of this kind and size with everything that is mounted on it."""
    tower = TowerShape(height, half, kind, heading=rng.uniform(0, 2 * math.pi))
    legs = 3 if kind == "triangle" else 4
    top = 0.5 * half if kind == "slim" else float(rng.uniform(0.45, 0.95))
    bend = 1.0 if kind == "slim" else float(rng.uniform(0.6, 1.0))
    steel = np.array([150, 154, 157.0]) + rng.normal(0, 9) + rng.normal(0, 2, 3)
    if rng.random() < 0.12:
        steel = np.array([104, 112, 104.0])
    striped = kind != "pylon" and rng.random() < 0.38
    bands = int(rng.choice([5, 7, 7, 9]))

    def paint(z: float) -> Floats:
        if not striped:
            return steel * 1.0
        odd = int((1 - z / height) * bands * 0.999) % 2
        return np.array([(178, 62, 46), (218, 217, 212)][odd], dtype=np.float64)

    def corner(z: float, k: int) -> Floats:
        t = min(z / (height * bend), 1.0)
        r = (half + (top - half) * t) * math.sqrt(2.0)
        turn = tower.heading + (k % legs) * 2 * math.pi / legs + math.pi / 4
        return np.array([r * math.cos(turn), r * math.sin(turn), z])

    levels = [0.0]
    ratio = rng.uniform(0.75, 1.25)
    while levels[-1] < height - 0.4:
        width = float(np.hypot(*(corner(levels[-1], 0) - corner(levels[-1], 1))[:2]))
        levels.append(levels[-1] + max(ratio * width, height / 26))
    levels = list(np.array(levels) * height / levels[-1])
    _lattice(rng, tower, levels, legs, corner, paint)
    if kind == "pylon":
        _arms(rng, tower, corner, steel)
    else:
        _equipment(rng, tower, top, corner, paint, legs)
    for k in range(legs):
        tower.box(corner(0.0, k) + _UP * 0.1, tower.heading, (0.4, 0.4, 0.3), np.array([176, 172, 164.0]))
    return tower


def _lattice(
    rng: np.random.Generator, tower: TowerShape, levels: list[float], legs: int, corner: _Corner, paint: _Paint
) -> None:
    style = str(rng.choice(["x", "k", "z"], p=[0.6, 0.22, 0.18]))
    leg_radius = 0.055 + 0.0022 * tower.height + rng.uniform(0.0, 0.05)
    brace = leg_radius * rng.uniform(0.36, 0.5)
    for i, (low, high) in enumerate(pairwise(levels)):
        colour = paint((low + high) / 2)
        tower.bodies.append(np.array([corner(z, k) for z in (low, high) for k in range(legs)]))
        for k in range(legs):
            a, b, c, d = corner(low, k), corner(low, k + 1), corner(high, k), corner(high, k + 1)
            taper = 1.0 - 0.4 * low / tower.height
            # two halves, so that a banded leg changes its colour in the middle of a bay
            tower.bar(a, (a + c) / 2, leg_radius * taper, paint(low * 0.75 + high * 0.25), leg=True)
            tower.bar((a + c) / 2, c, leg_radius * taper, paint(low * 0.25 + high * 0.75), leg=True)
            thin = brace * (0.7 + 0.3 * taper)
            if style == "x":
                tower.bar(a, d, thin, colour)
                tower.bar(b, c, thin, colour)
                if high - low > 3.6:
                    tower.bar((a + c) / 2, (b + d) / 2, thin * 0.8, colour)
                    crossing = (a + b + c + d) / 4
                    tower.bar(a * 0.75 + c * 0.25, (crossing + a) / 2, thin * 0.7, colour)
                    tower.bar(b * 0.75 + d * 0.25, (crossing + b) / 2, thin * 0.7, colour)
            elif style == "k":
                middle = (c + d) / 2
                tower.bar(a, middle, thin, colour)
                tower.bar(b, middle, thin, colour)
                if high - low > 3.0:
                    tower.bar((a + c) / 2, (a + middle) / 2, thin * 0.7, colour)
                    tower.bar((b + d) / 2, (b + middle) / 2, thin * 0.7, colour)
            else:
                tower.bar(*((a, d) if (i + k) % 2 else (b, c)), thin, colour)
            tower.bar(c, d, thin, colour)
        if legs == 4 and i % 3 == 2:
            tower.bar(corner(high, 0), corner(high, 2), brace * 0.7, colour)
            tower.bar(corner(high, 1), corner(high, 3), brace * 0.7, colour)


def _equipment(rng: np.random.Generator, tower: TowerShape, top: float, corner: _Corner, paint: _Paint, legs: int) -> None:
    height = tower.height
    grating = np.array([118, 122, 124.0])
    white = np.array([222, 224, 224.0]) + rng.normal(0, 8)
    decks = sorted(rng.uniform(0.55, 0.97, int(rng.integers(1, 4))) * height)
    for n, z in enumerate(decks):
        reach = float(np.hypot(*corner(z, 0)[:2])) + rng.uniform(0.5, 1.2)
        if rng.random() < 0.7:
            _deck(tower, z, reach, tower.heading, grating, int(rng.choice([4, 8])))
        if n == len(decks) - 1 or rng.random() < 0.6:
            _sectors(rng, tower, z + rng.uniform(0.4, 1.4), reach, white, grating)
    if rng.random() < 0.35 and tower.kind != "slim":
        _sectors(rng, tower, height - 1.0, top * 1.4 + 0.7, white, grating)
    for _ in range(int(rng.integers(0, 7))):
        z = height * (1 - 0.6 * rng.random() ** 1.5) - 1
        leg = corner(z, int(rng.integers(legs)))
        outward = leg * (1, 1, 0) / max(float(np.hypot(*leg[:2])), 1e-6)
        turn = rng.uniform(-1.1, 1.1)
        c, s = math.cos(turn), math.sin(turn)
        axis = np.array([c * outward[0] - s * outward[1], s * outward[0] + c * outward[1], 0.0])
        radius = float(rng.choice([0.3, 0.45, 0.6, 0.9, 1.2, 1.5], p=[0.2, 0.25, 0.25, 0.15, 0.1, 0.05]))
        cover = [white, np.array([196, 198, 200.0]), np.array([172, 176, 180.0])][int(rng.integers(3))]
        centre = leg + axis * 0.35
        tower.drum(centre, axis, radius, radius * rng.uniform(0.45, 0.9), cover, cover * 0.92)
        tower.bar(leg - _UP * radius, leg + _UP * radius, 0.06, grating)
    rod = corner(height, 0) * (0, 0, 1)
    tower.bar(rod - _UP * 2, rod + _UP * rng.uniform(1.5, 4.5), 0.05, paint(height))
    for k in range(int(rng.integers(0, 4))):
        foot = corner(height, k)
        tower.bar(foot, foot + _UP * rng.uniform(1.5, 4.0), 0.035, white)
    # ladder and cables up one face
    for share, radius in ((0.42, 0.03), (0.58, 0.03), (0.5, 0.07)):
        for low in np.linspace(0, height, 7)[:-1]:
            ends = [corner(z, 0) * share + corner(z, 1) * (1 - share) for z in (low, low + height / 6)]
            tower.bar(ends[0], ends[1], radius, np.array([84, 86, 90.0]) if radius > 0.05 else grating)


def _deck(tower: TowerShape, z: float, reach: float, yaw: float, albedo: Floats, sides: int) -> None:
    turn = yaw + math.pi / 4 + np.linspace(0, 2 * math.pi, sides + 1)
    ring = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(sides + 1)]) * reach
    floor = ring + _UP * z
    tower.plates.append((floor[:-1], albedo, None))
    tower.solids.append(floor[:-1])
    tower.bodies.append(np.concatenate([floor[:-1], floor[:-1] + _UP * 1.05]))
    for i in range(sides):
        for lift in (0.55, 1.05):
            tower.bar(floor[i] + _UP * lift, floor[i + 1] + _UP * lift, 0.03, albedo)
        tower.bar(floor[i], floor[i] + _UP * 1.05, 0.035, albedo)


def _sectors(rng: np.random.Generator, tower: TowerShape, z: float, reach: float, albedo: Floats, steel: Floats) -> None:
    count = int(rng.integers(2, 4))
    half = rng.uniform(0.75, 1.25)
    start = rng.uniform(0, 2 * math.pi)
    for sector in range(3):
        yaw = start + sector * 2 * math.pi / 3
        out = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        side = np.array([-out[1], out[0], 0.0])
        middle = out * (reach + 0.15) + _UP * z
        span = 0.55 * (count - 1) + 0.35
        for lift in (-0.5 * half, 0.5 * half):
            tower.bar(middle - side * span + _UP * lift, middle + side * span + _UP * lift, 0.045, steel)
            tower.bar(_UP * (z + lift) + out * reach * 0.3, middle + _UP * lift, 0.045, steel)
        for i in range(count):
            place = middle + side * (i - (count - 1) / 2) * 1.05 + out * 0.3
            tower.bar(place - out * 0.25 - _UP * (half + 0.2), place - out * 0.25 + _UP * (half + 0.2), 0.045, steel)
            tower.box(place, yaw, (0.10, rng.uniform(0.15, 0.24), half * rng.uniform(0.8, 1.0)), albedo)
            if rng.random() < 0.6:
                tower.box(place - out * 0.45 - _UP * half * 0.3, yaw, (0.12, 0.17, 0.3), albedo * 0.9)


def _arms(rng: np.random.Generator, tower: TowerShape, corner: _Corner, steel: Floats) -> None:
    height = tower.height
    count = int(rng.choice([1, 2, 3], p=[0.25, 0.35, 0.4]))
    levels = height * (0.94 - 0.13 * np.arange(count))
    lengths = height * rng.uniform(0.10, 0.16) * np.array([[1.0], [1.0, 1.25], [0.85, 1.25, 1.0]][count - 1])
    # arms stand across two opposite faces of the body
    out = (corner(0, 0) + corner(0, 3)) * (1, 1, 0)
    out = out / np.linalg.norm(out)
    thin = 0.05
    glass = np.array([[96, 66, 50], [150, 172, 164], [196, 196, 196.0]][int(rng.integers(3))])
    string = rng.uniform(1.3, 2.4)
    for z, length in zip(levels, lengths, strict=True):
        for sign, (p, q) in ((1.0, (0, 3)), (-1.0, (1, 2))):
            deep = 0.035 * height + 0.4
            roots = [corner(z, p), corner(z, q), corner(min(z + deep, height), p), corner(min(z + deep, height), q)]
            tip = out * sign * (length + 0.4) + _UP * (z + 0.1)
            tower.bodies.append(np.array([*roots, tip]))
            for root in roots:
                tower.bar(root, tip, thin * 1.3, steel, leg=True)
            steps = 5
            for i in range(1, steps):
                t, s = i / steps, (i - 1) / steps
                now = [root + (tip - root) * t for root in roots]
                old = [root + (tip - root) * s for root in roots]
                for a, b in ((0, 2), (1, 3), (0, 1), (2, 3)):
                    tower.bar(now[a], now[b], thin * 0.7, steel)
                    tower.bar(old[a], now[b], thin * 0.7, steel)
            end = tip - _UP * string
            tower.bar(tip, end, 0.11, glass)
            for lift in np.linspace(0.15, 0.9, 7):
                tower.bar(tip - _UP * string * lift, tip - _UP * (string * lift + 0.06), 0.17, glass)
            tower.wires.append(end)
    peak = _UP * (height + rng.uniform(1.0, 3.0))
    for k in range(4):
        tower.bar(corner(height, k), peak, 0.06, steel, leg=True)
    tower.bodies.append(np.array([*(corner(height, k) for k in range(4)), peak]))
    tower.wires.append(peak)
