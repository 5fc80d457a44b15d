"""Cars, chimneys, silos, masts, lamps, wooden power poles and fences: they stand in scenes with and without a tower."""

from __future__ import annotations

import math

import numpy as np

from dips.demo.camera import Camera, Light
from dips.demo.canvas import Canvas
from dips.demo.noise import Floats
from dips.demo.objects import Object, box, draw_box
from dips.demo.shadows import bar_shadows, hull_shadows

__all__ = ["car", "fence", "lamp", "pole_line", "round_tower"]

_UP = np.array([0.0, 0.0, 1.0])


def car(rng: np.random.Generator, x: float, y: float, yaw: float) -> Object:
    """A car or van of an everyday colour."""
    van = rng.random() < 0.2
    long_half, wide, tall = (2.8, 1.0, 2.3) if van else (2.1, 0.88, 0.95)
    colours = ((225, 225, 225), (30, 32, 36), (130, 134, 138), (176, 178, 182), (132, 42, 40), (48, 64, 100), (70, 74, 70))
    paint = np.array(colours[int(rng.integers(len(colours)))], dtype=np.float64)
    body = box(x, y, yaw, (long_half, wide), 0.25, tall)
    c, s = math.cos(yaw), math.sin(yaw)
    cabin = box(x - 0.25 * c, y - 0.25 * s, yaw, (1.15, 0.76), tall, tall + 0.5)
    windows = np.array([36, 42, 50.0])

    def draw(canvas: Canvas) -> None:
        draw_box(canvas, body, paint, paint)
        if not van:
            draw_box(canvas, cabin, windows, paint)
        else:
            nose = box(x + 2.2 * c, y + 2.2 * s, yaw, (0.25, 0.9), tall, tall + 0.01)
            canvas.face(nose[4:], windows)

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        hull_shadows(plane, camera, light, [np.concatenate([body, cabin] if not van else [body])])

    return Object(x, y, tall + 0.5, long_half, draw, shadow)


def round_tower(rng: np.random.Generator, x: float, y: float, kind: str) -> Object:
    """A ``chimney`` (bricks, concrete or red and white bands), a ``silo``, or a smooth steel ``mast``."""
    foot, top, tall = {
        "chimney": (rng.uniform(1.2, 2.2), rng.uniform(0.7, 1.0), rng.uniform(18, 42)),
        "silo": (rng.uniform(2.0, 4.0), 0.0, rng.uniform(8, 20)),
        "mast": (rng.uniform(0.22, 0.5), rng.uniform(0.08, 0.16), rng.uniform(12, 34)),
    }[kind]
    top = foot if kind == "silo" else top
    paints = {
        "chimney": ((150, 92, 74), (186, 182, 174), (200, 196, 190)),
        "silo": ((188, 192, 194), (206, 206, 200), (112, 138, 120)),
        "mast": ((176, 180, 182), (208, 208, 206), (120, 124, 126)),
    }[kind]
    albedo = np.array(paints[int(rng.integers(3))], dtype=np.float64)
    banded = kind != "silo" and rng.random() < 0.35
    bands = int(rng.choice([5, 7, 9]))
    cone = 0.35 * foot if kind == "silo" else 0.0

    def radius(z: float) -> float:
        return foot + (top - foot) * z / tall

    def draw(canvas: Canvas) -> None:
        levels = np.linspace(0, tall, bands + 1)
        for i in range(bands):
            paint = np.array([(178, 62, 46), (218, 217, 212)][i % 2], dtype=np.float64) if banded and i > 0 else albedo
            low, high = float(levels[i]), float(levels[i + 1])
            _drum(canvas, np.array([x, y, low]), _UP, radius(low), radius(high), high - low, paint)
        if cone:
            _drum(canvas, np.array([x, y, tall]), _UP, foot, 0.15, cone, albedo * 0.92)
        if kind == "mast":
            canvas.bar(np.array([x, y, tall]), np.array([x, y, tall + 1.5]), 0.03, albedo)

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        turn = np.linspace(0, 2 * math.pi, 12, endpoint=False)
        ring = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(12)])
        if kind == "mast":
            ends = np.array([(x, y, 0.0), (x, y, tall)])
            bar_shadows(plane, camera, light, ends[:1], ends[1:], np.array([(foot + top) / 2]))
        else:
            points = [np.array([x, y, z]) + ring * radius(z) for z in (0.0, tall)]
            hull_shadows(plane, camera, light, [np.concatenate([*points, [[x, y, tall + cone]]])])

    return Object(x, y, tall, foot, draw, shadow)


def _drum(canvas: Canvas, base: Floats, axis: Floats, low: float, high: float, length: float, albedo: Floats) -> None:
    sides = 18
    turn = np.linspace(0, 2 * math.pi, sides + 1)
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    a = np.cross(axis, helper)
    a /= np.linalg.norm(a)
    b = np.cross(axis, a)
    ring = np.outer(np.cos(turn), a) + np.outer(np.sin(turn), b)
    lower, upper = base + ring * low, base + axis * length + ring * high
    for i in range(sides):
        normal = ring[i] + ring[i + 1] + axis * (low - high) / max(length, 1e-6)
        canvas.face(np.stack([lower[i], lower[i + 1], upper[i + 1], upper[i]]), albedo, normal=normal / np.linalg.norm(normal))
    canvas.face(upper[:-1], albedo * 0.85, normal=axis)


def lamp(rng: np.random.Generator, x: float, y: float, yaw: float) -> Object:
    """A street lamp whose arm points along ``yaw``."""
    tall = rng.uniform(6, 9)
    steel = np.array([120, 124, 126.0])
    top = np.array([x, y, tall])
    arm = top + np.array([math.cos(yaw), math.sin(yaw), 0.12]) * 1.6

    def draw(canvas: Canvas) -> None:
        canvas.bar(np.array([x, y, 0.0]), top, 0.09, steel, tip=0.05)
        canvas.bar(top, arm, 0.04, steel)
        canvas.bar(arm - (arm - top) * 0.3, arm, 0.12, steel * 1.3)

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        bar_shadows(plane, camera, light, np.array([(x, y, 0.0), top]), np.stack([top, arm]), np.array([0.08, 0.05]))

    return Object(x, y, tall, 1.0, draw, shadow)


def pole_line(rng: np.random.Generator, places: Floats) -> list[Object]:
    """Wooden power poles at ``places (N, 2)`` with cross-arms, insulators and sagging wires."""
    tall = rng.uniform(8, 12)
    wood = np.array([112, 94, 76.0]) + rng.normal(0, 10)
    along = np.gradient(places, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1])[:, None], 1e-9)
    across = np.column_stack([-along[:, 1], along[:, 0], np.zeros(len(places))])
    tops = np.column_stack([places, np.full(len(places), tall)])
    offsets = (-1.0, 0.0, 1.0) if rng.random() < 0.6 else (-0.9, 0.9)
    return [_pole(i, tops, across, wood, offsets) for i in range(len(places))]


def _pole(index: int, tops: Floats, across: Floats, wood: Floats, offsets: tuple[float, ...]) -> Object:
    top, side = tops[index], across[index]
    foot = np.array([top[0], top[1], 0.0])
    arm = top - _UP * 0.5

    def draw(canvas: Canvas) -> None:
        canvas.bar(foot, top, 0.16, wood, tip=0.11)
        canvas.bar(arm - side * 1.15, arm + side * 1.15, 0.07, wood * 0.9)
        for offset in offsets:
            hook = arm + side * offset
            canvas.bar(hook, hook + _UP * 0.25, 0.06, np.array([150, 140, 130.0]))
            if index + 1 < len(tops):
                t = np.linspace(0, 1, 13)[:, None]
                end = tops[index + 1] - _UP * 0.5 + across[index + 1] * offset
                points = hook + (end - hook) * t + _UP * 0.25 - _UP * (4 * 0.9) * t * (1 - t)
                canvas.wire(points, np.array([66, 66, 68.0]))

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        starts, ends = np.stack([foot, arm - side * 1.1]), np.stack([top, arm + side * 1.1])
        bar_shadows(plane, camera, light, starts, ends, np.array([0.13, 0.07]))

    return Object(float(top[0]), float(top[1]), float(top[2]), 1.2, draw, shadow)


def fence(rng: np.random.Generator, corners: Floats) -> list[Object]:
    """A wire fence around ``corners (N, 2)``, one object per side so that it sorts with what stands inside."""
    tall = rng.uniform(1.6, 2.3)
    steel = np.array([150, 154, 156.0]) if rng.random() < 0.6 else np.array([86, 100, 84.0])
    sides = []
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        sides.append(_fence_side(a, b, tall, steel))
    return sides


def _fence_side(a: Floats, b: Floats, tall: float, steel: Floats) -> Object:
    count = max(int(np.hypot(*(b - a)) / 2.5), 2)
    feet = a + (b - a) * np.linspace(0, 1, count + 1)[:, None]

    def draw(canvas: Canvas) -> None:
        for foot in feet:
            canvas.bar(np.array([*foot, 0.0]), np.array([*foot, tall]), 0.04, steel)
        for z in (0.35, 0.8, 1.25, 1.0 * tall):
            canvas.wire(np.column_stack([feet, np.full(len(feet), z)]), steel, 0.015)

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        starts = np.column_stack([feet, np.zeros(len(feet))])
        bar_shadows(plane, camera, light, starts, starts + _UP * tall, np.full(len(feet), 0.04))

    middle = (a + b) / 2
    return Object(float(middle[0]), float(middle[1]), tall, float(np.hypot(*(b - a)) / 2), draw, shadow)
