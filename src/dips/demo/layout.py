"""What lies where on the ground of a generated scene: parcels with crops, roads, water, the site in the middle.

The land is split again and again into quadrilaterals, small ones near the middle and large ones far away; each takes one
of the scene's styles. Later shapes lie over earlier ones. Nothing here depends on whether there is a tower.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dips.demo.canvas import strips
from dips.demo.noise import Floats

__all__ = ["Layout", "Road", "Style", "make_layout"]


@dataclass(frozen=True)
class Style:
    """How a surface looks: two colours (0-255) that mix in patches, rows along ``direction``, unevenness.

    ``rows`` is the distance of two rows in metres (0 = none), ``depth`` their contrast, ``tram`` the distance of two tractor
    tracks (0 = none), ``rough`` the contrast of the small texture, ``patch`` the size of the patches in metres.
    """

    name: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    rows: float = 0.0
    depth: float = 0.0
    tram: float = 0.0
    rough: float = 0.1
    patch: float = 40.0
    direction: float = 0.0


_CROPS = (
    Style("meadow", (102, 114, 66), (136, 132, 86), rough=0.15, patch=26),
    Style("mown", (126, 138, 84), (110, 122, 72), rows=4.0, depth=0.05, rough=0.09, patch=60),
    Style("wheat", (104, 120, 64), (124, 134, 76), rows=0.5, depth=0.08, tram=18, rough=0.08, patch=50),
    Style("ripe", (184, 164, 112), (166, 144, 96), rows=0.6, depth=0.06, tram=21, rough=0.07, patch=45),
    Style("stubble", (176, 162, 126), (154, 138, 104), rows=2.6, depth=0.07, rough=0.11, patch=35),
    Style("ploughed", (120, 103, 80), (103, 88, 66), rows=1.1, depth=0.14, rough=0.17, patch=40),
    Style("harrowed", (146, 129, 102), (128, 113, 88), rows=2.2, depth=0.06, tram=24, rough=0.10, patch=55),
    Style("maize", (78, 98, 54), (98, 112, 66), rows=0.9, depth=0.22, rough=0.16, patch=60),
    Style("rape", (176, 168, 88), (150, 152, 80), rows=0.7, depth=0.04, tram=20, rough=0.09, patch=40),
    Style("fallow", (124, 118, 84), (150, 136, 102), rough=0.19, patch=16),
    Style("pasture", (112, 124, 70), (128, 128, 80), rough=0.14, patch=34),
)
_DRY = (
    Style("steppe", (168, 146, 104), (136, 126, 82), rough=0.16, patch=18),
    Style("sand", (196, 174, 138), (170, 146, 112), rough=0.08, patch=30),
)
FOREST = Style("forest", (48, 66, 34), (62, 76, 42), rough=0.35, patch=14)
ASPHALT = Style("asphalt", (116, 114, 113), (102, 101, 101), rough=0.07, patch=9)
OLD_ASPHALT = Style("asphalt", (140, 137, 132), (120, 118, 114), rough=0.06, patch=7)
PAINT = Style("paint", (222, 222, 214), (190, 190, 184), rough=0.05, patch=2)
DIRT = Style("dirt", (172, 150, 118), (148, 126, 96), rough=0.10, patch=5)
VERGE = Style("verge", (112, 120, 70), (140, 130, 88), rough=0.15, patch=6)
GRAVEL = Style("gravel", (168, 162, 152), (146, 140, 130), rough=0.12, patch=5)
CONCRETE = Style("concrete", (180, 176, 168), (164, 160, 152), rough=0.05, patch=6)
WATER = Style("water", (70, 88, 84), (62, 80, 80), rough=0.03, patch=60)
BANK = Style("bank", (104, 108, 66), (142, 128, 92), rough=0.14, patch=6)
YARD = Style("yard", (104, 124, 66), (120, 126, 80), rough=0.14, patch=7)


@dataclass(frozen=True)
class Road:
    """A road's or river's middle line ``(N, 2)`` and width in metres; ``paved`` ones carry cars and lamps."""

    line: Floats
    width: float
    paved: bool


@dataclass
class Layout:
    """The surfaces in drawing order, ``(polygon (N, 2), index into styles)``, and what objects stand on."""

    styles: list[Style] = field(default_factory=list)
    shapes: list[tuple[Floats, int]] = field(default_factory=list)
    parcels: list[tuple[Floats, Style]] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)
    rivers: list[Road] = field(default_factory=list)
    site: float = 8.0
    theme: str = "farm"
    angle: float = 0.0
    _known: dict[int, int] = field(default_factory=dict)

    def add(self, polygon: Floats, style: Style) -> None:
        """Lay a surface over what is there."""
        if id(style) not in self._known:
            self._known[id(style)] = len(self.styles)
            self.styles.append(style)
        self.shapes.append((polygon, self._known[id(style)]))


_Point = tuple[float, float]


def _split(draws: Iterator[tuple[float, float]], quad: list[_Point], grain: float, out: list[Floats]) -> None:
    sides = [math.dist(quad[i], quad[(i + 1) % 4]) for i in range(4)]
    distance = math.hypot(sum(p[0] for p in quad), sum(p[1] for p in quad)) / 4
    limit = grain + 0.6 * max(distance - max(sides) * 0.5, 0.0)
    if max(sides) < limit or len(out) > 400:
        out.append(np.array(quad))
        return
    if sides[0] + sides[2] < sides[1] + sides[3]:
        quad = [*quad[1:], quad[0]]
    t, skew = next(draws)
    s = min(max(t + skew, 0.2), 0.8)
    p, q, r, w = quad
    a = (p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t)
    b = (w[0] + (r[0] - w[0]) * s, w[1] + (r[1] - w[1]) * s)
    _split(draws, [p, a, b, w], grain, out)
    _split(draws, [a, q, r, b], grain, out)


def ribbon(line: Floats, half: float | Floats) -> Floats:
    """The outline of a band around a line ``(N, 2)``."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1])[:, None], 1e-9)
    across = np.column_stack([-along[:, 1], along[:, 0]]) * np.reshape(half, (-1, 1))
    return np.concatenate([line + across, (line - across)[::-1]])


def _curve(rng: np.random.Generator, offset: float, angle: float, bend: float) -> Floats:
    x = np.concatenate([-np.geomspace(3000, 12, 26), np.linspace(-10, 10, 5), np.geomspace(12, 3000, 26)])
    swing = bend * (40 * np.sin(x / rng.uniform(70, 160) + rng.uniform(0, 6)) * np.clip(np.abs(x) / 150, 0.1, 1.5))
    y = offset + swing - swing[len(x) // 2]
    c, s = math.cos(angle), math.sin(angle)
    return np.column_stack([c * x - s * y, s * x + c * y])


def _road(rng: np.random.Generator, layout: Layout, offset: float, angle: float) -> None:
    width = rng.uniform(4.5, 8.0)
    line = _curve(rng, offset, angle, rng.choice([0.0, 0.25, 0.6]))
    surface = ASPHALT if rng.random() < 0.5 else OLD_ASPHALT
    layout.add(ribbon(line, width / 2 + rng.uniform(0.8, 2.2)), VERGE)
    layout.add(ribbon(line, width / 2), surface)
    step = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(step)])
    if width > 5.4:
        for side in (-1, 1):
            edge = np.gradient(line, axis=0)
            edge /= np.hypot(edge[:, 0], edge[:, 1])[:, None]
            shifted = line + np.column_stack([-edge[:, 1], edge[:, 0]]) * (side * (width / 2 - 0.3))
            layout.add(ribbon(shifted, 0.07), PAINT)
        middle = along[np.argmin(np.hypot(line[:, 0], line[:, 1]))]
        starts = np.arange(middle - 260, middle + 260, 9.0)
        tails, heads = (np.column_stack([np.interp(s, along, line[:, i]) for i in (0, 1)]) for s in (starts, starts + 3.5))
        for dash in strips(tails, heads, np.full(len(starts), 0.08), np.full(len(starts), 0.08)):
            layout.add(dash, PAINT)
    layout.roads.append(Road(line, width, True))


def _track(rng: np.random.Generator, layout: Layout, line: Floats) -> None:
    layout.add(ribbon(line, 1.9), VERGE)
    edge = np.gradient(line, axis=0)
    edge /= np.maximum(np.hypot(edge[:, 0], edge[:, 1])[:, None], 1e-9)
    across = np.column_stack([-edge[:, 1], edge[:, 0]])
    wide = rng.uniform(0.3, 0.8)
    for side in (-0.85, 0.85):
        layout.add(ribbon(line + across * side, wide), DIRT)
    layout.roads.append(Road(line, 3.5, False))


def make_layout(rng: np.random.Generator, half: float) -> Layout:
    """The land around a site that leaves room for a tower ``2 * half`` wide."""
    theme = str(rng.choice(["farm", "forest", "village", "industry"], p=[0.46, 0.24, 0.18, 0.12]))
    angle = rng.uniform(0, math.pi)
    layout = Layout(theme=theme, angle=angle, site=half + rng.uniform(2.5, 6.0))
    pool = list(_CROPS) + (list(_DRY) * 3 if rng.random() < 0.2 else [])
    picks = rng.choice(len(pool), size=5, replace=False)
    warm = rng.normal(0, 2.5, 3) + rng.normal(0, 8)
    styles = []
    for _ in range(36):
        base = pool[int(rng.choice(picks))]
        shift = rng.normal(0, 2.5, 3) + rng.normal(0, 8) + warm
        first, second = (tuple(float(np.clip(c + d, 20, 235)) for c, d in zip(col, shift, strict=True))
                         for col in (base.colour, base.second))  # fmt: skip
        turn = angle + rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.08)
        styles.append(Style(base.name, first, second, base.rows, base.depth, base.tram, base.rough, base.patch, turn))  # type: ignore[arg-type]
    c, s = math.cos(angle), math.sin(angle)
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)]) * 6000 @ np.array([[c, s], [-s, c]])
    square += rng.normal(0, 60, 2)
    quads: list[Floats] = []
    draws = zip(rng.uniform(0.32, 0.68, 1000).tolist(), rng.normal(0, 0.05, 1000).tolist(), strict=True)
    _split(draws, [(float(x), float(y)) for x, y in square], rng.uniform(50, 130), quads)
    woods = {"forest": 0.5, "farm": 0.12, "village": 0.15, "industry": 0.12}[theme]
    middles = np.stack(quads).mean(1)
    for quad, middle, away in zip(quads, middles, np.hypot(*middles.T).tolist(), strict=True):
        style = FOREST if rng.random() < woods and away > 45 else styles[int(rng.integers(len(styles)))]
        if away < 700 and rng.random() < 0.75:
            # a strip of grass stays between two fields
            layout.add(quad, VERGE)
            size = max(math.dist(quad[2], quad[0]), 1.0)
            layout.add(middle + (quad - middle) * (1 - rng.uniform(0.8, 4.0) / size), style)
        else:
            layout.add(quad, style)
        layout.parcels.append((quad, style))
    if rng.random() < 0.22:
        line = _curve(rng, rng.choice([-1, 1]) * rng.uniform(45, 150), rng.uniform(0, math.pi), 1.0)
        wide = rng.uniform(5, 16) * (1 + 0.2 * np.sin(np.arange(len(line)) * 1.3))
        layout.add(ribbon(line, wide + 3.5), BANK)
        layout.add(ribbon(line, wide), WATER)
        layout.rivers.append(Road(line, 2 * float(wide.max()), False))
    for i in range(int(rng.choice([0, 1, 2], p=[0.2, 0.55, 0.25]))):
        offset = rng.choice([-1, 1]) * (layout.site + rng.uniform(8, 45))
        _road(rng, layout, offset, angle + (0 if i == 0 else math.pi / 2) + rng.normal(0, 0.04))
    if rng.random() < 0.65:
        if layout.roads:
            line = layout.roads[0].line
            near = line[np.argmin(np.hypot(line[:, 0], line[:, 1])) + int(rng.integers(-2, 3))]
        else:
            near = np.array([math.cos(angle), math.sin(angle)]) * 900
        bow = np.sin(np.linspace(0, math.pi, 24))[:, None] * np.array([-near[1], near[0]]) * rng.normal(0, 0.10)
        _track(rng, layout, np.linspace(0, 1, 24)[:, None] * near + bow)
    if rng.random() < 0.7:
        turn = angle + rng.normal(0, 0.1)
        c, s = math.cos(turn), math.sin(turn)
        pad = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)]) @ np.array([[c, s], [-s, c]]) * layout.site
        layout.add(pad * 1.12, VERGE)
        layout.add(pad, [GRAVEL, CONCRETE, YARD, DIRT][int(rng.integers(4))])
    return layout
