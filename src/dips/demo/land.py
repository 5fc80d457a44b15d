"""The layout of the land in a generated scene: plots of crops in strips, woods, roads, tracks and streams.

In: a random generator, then places (x, y) in metres. Out: the plot that a place belongs to, and the distance to the nearest
way. Pixels and trees use the same functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dips.demo.light import linear
from dips.demo.noise import Array, sample_noise

__all__ = ["Land", "Way"]

SEASONS = ("spring", "summer", "autumn")
PLOT_COUNT = 64
# colour, colour of patches, row spacing in metres, row contrast, roughness, size of patches in metres, and frequency of the
# crop in spring, summer and autumn
CROPS = np.array([
    (104, 116, 70, 136, 136, 92, 1e3, 0.00, 0.16, 24, 4, 3, 3),  # meadow
    (126, 138, 88, 110, 124, 76, 4.0, 0.05, 0.09, 60, 2, 2, 1),  # mown meadow
    (110, 122, 74, 128, 130, 86, 1e3, 0.00, 0.15, 34, 3, 2, 2),  # pasture
    (102, 124, 72, 118, 134, 80, 0.6, 0.08, 0.08, 50, 4, 0, 2),  # young wheat
    (186, 166, 116, 166, 146, 100, 0.6, 0.06, 0.07, 45, 0, 4, 0),  # ripe wheat
    (176, 160, 126, 152, 136, 104, 2.6, 0.07, 0.11, 35, 0, 2, 3),  # stubble
    (122, 104, 84, 104, 88, 70, 1.2, 0.14, 0.17, 40, 2, 1, 4),  # ploughed
    (84, 102, 62, 102, 116, 72, 0.9, 0.20, 0.16, 60, 0, 3, 1),  # maize
    (184, 174, 92, 158, 156, 84, 0.7, 0.04, 0.09, 40, 2, 0, 0),  # rape
    (126, 120, 88, 152, 138, 106, 1e3, 0.00, 0.20, 16, 1, 1, 2),  # fallow
])  # fmt: skip
# kind, frequency, half width, and amplitude of its waves in metres
WAYS = (
    ("stream", 0.2, (3.0, 10.0), (10, 30)),
    ("track", 0.5, (1.4, 1.8), (0, 5)),
    ("track", 0.5, (1.4, 1.8), (0, 5)),
    ("road", 0.6, (2.3, 4.0), (0, 12)),
)
WOOD_FLOOR = (54, 62, 40, 70, 74, 48, 1e3, 0.00, 0.35, 12)


@dataclass(frozen=True)
class Way:
    """A ``road``, ``track`` or ``stream`` along a line with waves of amplitude ``swing`` metres; ``half`` is half its width."""

    kind: str
    half: float
    angle: float
    offset: float
    swing: float
    length: float

    def along_and_across(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return metres along the line and, signed, across it, for places in arrays of the same shape."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        along, across = c * x + s * y, c * y - s * x
        slope = self.swing / self.length * np.cos(along / self.length)
        return along, (across - self.offset - self.swing * np.sin(along / self.length)) / np.sqrt(1.0 + slope * slope)


class Land:
    """The land around a site with room for a tower with arms of ``reach`` metres.

    Attributes:
        season: one of :data:`SEASONS`.
        angle: direction of the strips.
        site: radius in metres around the origin without other objects.
        surfaces: (PLOT_COUNT, 10), the columns of :data:`CROPS` without the last three, colours linear.
        turned, wooded, hedged: (PLOT_COUNT,) bool: rows run across the strip, trees cover the plot, trees line it.
        ways: in drawing order.
    """

    def __init__(self, rng: np.random.Generator, reach: float) -> None:
        season = int(rng.integers(len(SEASONS)))
        self.season, self.angle, self.site = SEASONS[season], rng.uniform(0, math.pi), reach * 0.5 + rng.uniform(4, 9)
        # a region has a few crops, not all of them
        weights = CROPS[:, 10 + season] * (rng.gamma(0.8, 1.0, len(CROPS)) + 0.03)
        self.surfaces = CROPS[rng.choice(len(CROPS), PLOT_COUNT, p=weights / weights.sum()), :10]
        # each strip has plots of one length, with a random offset
        self._depth = float(rng.uniform(70, 150))
        self._lengths = (self._depth * rng.uniform(0.7, 2.6, PLOT_COUNT)).astype(np.float32)
        self._shifts = rng.random(PLOT_COUNT).astype(np.float32)
        self.turned, self.hedged = rng.random((2, PLOT_COUNT)) < 0.35
        self.wooded = rng.random(PLOT_COUNT) < rng.choice([0.05, 0.2, 0.45], p=[0.4, 0.35, 0.25])
        self.wooded[self.plots(np.zeros((1, 1)), np.zeros((1, 1)))[0]] = False
        self.surfaces[self.wooded] = WOOD_FLOOR
        tint = rng.normal(0, 3, (PLOT_COUNT, 3)) + rng.normal(0, 8, (PLOT_COUNT, 1)) + rng.normal(0, 4, 3)
        self.surfaces[:, :6] = linear(np.clip(self.surfaces[:, :6] + np.tile(tint, 2), 15, 235))
        self.ways = _make_ways(rng, self.angle, self.site)

    def plots(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """Return for places ``x, y`` (2-D) the plot's index, metres to its border, and coordinates along and across strips."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        # borders are not quite straight
        u = c * x + s * y + 9.0 * sample_noise(x, y, 1700.0, 2.4)
        v = c * y - s * x + 9.0 * sample_noise(y, x, 1500.0, 2.4)
        strip_v = v / self._depth
        strip_v = strip_v + 0.3 * np.sin(strip_v * 1.9 + self.angle)
        strip = np.floor(strip_v)
        number = strip.astype(np.int32) % PLOT_COUNT
        plot_u = u / self._lengths[number] + self._shifts[number]
        column = np.floor(plot_u)
        to_side = (0.5 - np.abs(plot_u - column - 0.5)) * self._lengths[number]
        to_strip = (0.5 - np.abs(strip_v - strip - 0.5)) * self._depth
        index = np.asarray((number * 11 + column.astype(np.int32) * 29) % PLOT_COUNT)
        return index, np.minimum(to_side, to_strip), u, v

    def way_distance(self, x: Array, y: Array) -> Array:
        """Return metres from places to the edge of the nearest way, below 0 on it."""
        gaps = [np.abs(way.along_and_across(x, y)[1]) - way.half for way in self.ways]
        return np.asarray(np.minimum.reduce([np.full(x.shape, 1e6), *gaps]))


def _make_ways(rng: np.random.Generator, angle: float, site: float) -> list[Way]:
    ways: list[Way] = []
    for kind, chance, widths, waves in WAYS:
        half, swing, wide = rng.uniform(*widths), rng.uniform(*waves), rng.uniform(3, 6)
        offset = float(rng.choice([-1, 1])) * (site + half + swing + rng.uniform(2, 50))
        turn = angle + len(ways) % 2 * math.pi / 2 + rng.normal(0, 0.08)
        if rng.random() < chance:
            ways.append(Way(kind, half, turn, offset, swing, swing * wide + 30.0))
    return ways
