"""Lattice towers of power lines as shapes: tapered legs, bracing, arms, insulators and conductors.

In: a random generator. Out: a :class:`~dips.demo.canvas.Shape` in metres, its axis at the origin.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from dips.demo.canvas import Shape
from dips.demo.noise import Array

__all__ = ["ARM_LENGTHS", "make_tower", "tower_size"]

# lengths of a tower's arms from the lowest pair to the highest, as fractions of the longest
ARM_LENGTHS = {"single": (1.0,), "danube": (1.0, 0.62), "barrel": (0.78, 1.0, 0.70), "fir": (1.0, 0.82, 0.62)}
STEELS = np.array([(166, 170, 173), (196, 198, 198), (132, 134, 134)])
STRIPES = np.array([(176, 62, 48), (222, 222, 218)])
INSULATORS = np.array([(104, 66, 48), (150, 176, 168), (204, 204, 204)])
CONCRETE = np.array([178, 174, 166])
UP = np.array([0.0, 0.0, 1.0])


def tower_size(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the height, half width at the foot and reach of the longest arm in metres."""
    height = float(rng.uniform(26, 54))
    return height, height * float(rng.uniform(0.055, 0.085)), height * float(rng.uniform(0.15, 0.24))


def make_tower(rng: np.random.Generator, kind: str, height: float, half: float, reach: float) -> Shape:
    """Return a tower with a kind from :data:`ARM_LENGTHS` and a size from :func:`tower_size`."""
    tower = Shape(0.0, 0.0, height, reach)
    heading = rng.uniform(0, 2 * math.pi)
    arms = height * (0.90 - 0.125 * np.arange(len(ARM_LENGTHS[kind]))[::-1])
    widths = half * np.array([1.0, rng.uniform(0.30, 0.45), rng.uniform(0.14, 0.24)]) * math.sqrt(2.0)
    steel = rng.choice(STEELS) + rng.normal(0, 6)
    paints = STRIPES if rng.random() < 0.15 else np.array([steel, steel])
    leg, brace = 0.07 + 0.0026 * height, 0.035 + 0.001 * height

    def corners(z: float) -> Array:
        turn = heading + (np.arange(4) + 0.5) * math.pi / 2
        width = np.interp(z, (0, arms[0], height), widths)
        return np.column_stack([width * np.cos(turn), width * np.sin(turn), np.full(4, z)])

    bays, ratio = [0.0], rng.uniform(1.1, 1.7)
    while bays[-1] < height - 0.5:
        bays.append(bays[-1] + max(ratio * np.interp(bays[-1], (0, arms[0], height), widths), height / 30))
    bays = list(np.array(bays) * height / bays[-1])
    for number, (low, high) in enumerate(pairwise(bays)):
        albedo, taper = paints[number % 2], 1.0 - 0.45 * low / height
        foot, head = corners(low), corners(high)
        tower.hulls.append(np.concatenate([foot, head]))
        for a, b, c, d in zip(foot, np.roll(foot, -1, 0), head, np.roll(head, -1, 0), strict=True):
            tower.bars.append((a, c, leg * taper, albedo))
            tower.bars += [(start, end, brace * taper, albedo) for start, end in ((a, d), (b, c), (c, d))]
            if high - low > 3.5:  # tall bays are braced twice
                middle = (a + b + c + d) / 4
                tower.bars += [(p, (q + middle) / 2, brace * 0.7, albedo) for p, q in (((a + c) / 2, a), ((b + d) / 2, b))]
    for foot in corners(0.0):
        block = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]) * 0.5 + foot
        tower.add_walls(block, block + UP * 0.4, CONCRETE)
        tower.faces.append((block + UP * 0.4, CONCRETE))
    peak = UP * height * 1.05
    tower.bars += [(corner, peak, brace * 0.8, steel) for corner in corners(height)]
    tower.hulls.append(np.array([*corners(height), peak]))

    outward = np.array([math.cos(heading), math.sin(heading), 0.0])
    glass, string = rng.choice(INSULATORS), height * rng.uniform(0.045, 0.06)
    hooks = []
    for z, length in zip(arms, ARM_LENGTHS[kind], strict=True):
        for side, legs in ((1.0, [3, 0]), (-1.0, [1, 2])):
            roots = np.concatenate([corners(z)[legs], corners(z + 0.05 * height)[legs]])
            tip = outward * side * reach * length + UP * z
            tower.hulls.append(np.array([*roots, tip]))
            tower.bars += [(root, tip, brace * 1.3, steel) for root in roots]
            for before, after in pairwise([roots + (tip - roots) * t for t in np.linspace(0, 0.9, 6)]):
                bracing = [(p[i], after[j]) for i, j in ((0, 2), (1, 3), (0, 1)) for p in (before, after)]
                tower.bars += [(start, end, brace * 0.7, steel) for start, end in bracing]
            hooks += [tip] if len(arms) > 2 or length < 1.0 else [tip, outward * side * reach * 0.55 + UP * z]
    for hook in hooks:
        tower.bars.append((hook, hook - UP * string, 0.07, glass))
        discs = [hook - UP * string * t for t in np.linspace(0.15, 0.85, 6)]
        tower.bars += [(disc, disc - UP * string * 0.07, 0.16, glass) for disc in discs]
    metres, span, sag = np.linspace(-900, 900, 181)[:, None], rng.uniform(260, 340), rng.uniform(6, 10)
    t = np.abs(metres) / span % 1.0
    run = metres * np.array([-outward[1], outward[0], 0.0]) - UP * (4 * sag * t * (1 - t))
    tower.wires = [end + run for end in (peak, *(hook - UP * string for hook in hooks))]
    return tower
