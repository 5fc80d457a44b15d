"""The shapes of trees: clouds of leaves around clumps, made once per process and shared by all scenes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dips.demo.noise import Floats

__all__ = ["VARIANTS", "Crown", "crown"]

VARIANTS = {"round": 10, "tall": 3, "bush": 4, "conifer": 5}
_LEAVES = 3400


@dataclass(frozen=True)
class Crown:
    """A tree of height one that stands at the origin.

    Attributes:
        leaves, normals: ``(N, 3)``.
        shade: ``(N,)`` share of the light that gets to each leaf.
        trunk: where the crown begins.
        width: its half width.
    """

    leaves: Floats
    normals: Floats
    shade: Floats
    trunk: float
    width: float


@lru_cache(maxsize=64)
def crown(shape: str, variant: int) -> Crown:
    """Variant ``variant`` of ``round``, ``tall``, ``bush`` or ``conifer``."""
    rng = np.random.default_rng([3, sorted(VARIANTS).index(shape), variant])
    return _conifer(rng) if shape == "conifer" else _leafy(rng, shape)


def _conifer(rng: np.random.Generator) -> Crown:
    count = _LEAVES
    spread = rng.uniform(0.15, 0.22)
    z = 1.0 - (1.0 - rng.uniform(0.04, 0.12)) * np.sqrt(rng.random(count)) * rng.uniform(0.96, 1.0, count)
    turn = rng.uniform(0, 2 * math.pi, count)
    whorls = rng.uniform(9, 14)
    # branches hang in whorls of uneven length
    step = np.mod(z * whorls + 0.25 * np.cos(turn * 2 + rng.uniform(0, 6)), 1.0)
    branch = 0.72 + 0.28 * np.cos(turn * int(rng.integers(5, 8)) + np.floor(z * whorls) * 2.4)
    reach = (1.02 - z) ** 0.85 * spread * (1.15 - 0.55 * step) * branch * np.sqrt(rng.uniform(0.1, 1, count)) * 1.35
    leaves = np.column_stack([reach * np.cos(turn), reach * np.sin(turn), z - 0.3 * reach])
    normals = np.column_stack([np.cos(turn), np.sin(turn), np.full(count, 0.6)])
    shade = 0.4 + 0.6 * np.clip(reach / (1.25 * spread * (1.03 - z) ** 0.85), 0, 1) * (0.65 + 0.35 * (1 - step))
    return Crown(leaves, normals / np.linalg.norm(normals, axis=1)[:, None], shade, 0.12, spread * 1.15)


def _leafy(rng: np.random.Generator, shape: str) -> Crown:
    wide, low = {"round": (rng.uniform(0.30, 0.44), rng.uniform(0.08, 0.24)), "tall": (0.15, 0.06), "bush": (0.62, 0.0)}[shape]
    centre, half = (1 + low) / 2, (1 - low) / 2
    # a few large limbs carry many clumps: the outline gets lobes and notches
    limbs = rng.normal(size=(int(rng.integers(4, 8)), 3)) * (1, 1, 0.9)
    limbs /= np.linalg.norm(limbs, axis=1)[:, None]
    limbs *= rng.uniform(0.3, 0.55, (len(limbs), 1))
    clumps = int(rng.integers(34, 56))
    directions = rng.normal(size=(clumps, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    middle = limbs[rng.integers(0, len(limbs), clumps)] + directions * rng.uniform(0.2, 0.55, (clumps, 1))
    centres = middle * (wide, wide, half)
    sizes = rng.uniform(0.13, 0.30, clumps) * min(wide, half) * 1.4
    owner = rng.integers(0, clumps, _LEAVES)
    offset = rng.normal(size=(_LEAVES, 3))
    offset /= np.linalg.norm(offset, axis=1)[:, None]
    leaves = centres[owner] + offset * (sizes[owner] * rng.uniform(0.5, 1.15, _LEAVES))[:, None] * (1.15, 1.15, 0.8)
    overall = leaves / (wide, wide, half)
    normals = 0.75 * offset + 0.5 * overall + (0, 0, 0.2)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    depth = np.clip(np.linalg.norm(overall, axis=1) - 0.2, 0, 0.8) / 0.8
    shade = (0.38 + 0.62 * depth) * rng.uniform(0.78, 1.12, clumps)[owner]
    shade *= 0.8 + 0.2 * np.clip(overall[:, 2] + 0.3, -1, 1)
    leaves[:, 2] += centre
    low_end, high_end = float(leaves[:, 2].min()), float(leaves[:, 2].max())
    floor = 0.0 if shape == "bush" else low
    leaves[:, 2] = floor + (leaves[:, 2] - low_end) / (high_end - low_end) * (1 - floor)
    return Crown(leaves, normals, np.clip(shade, 0.2, 1.1), low + 0.15, wide)
