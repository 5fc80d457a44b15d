"""Buildings of generated scenes: houses, barns, halls and the small shelters of a site."""

from __future__ import annotations

import math

import numpy as np

from dips.demo.camera import Camera, Light
from dips.demo.canvas import Canvas
from dips.demo.noise import Floats
from dips.demo.objects import Object, box, draw_box, on_face, turned
from dips.demo.shadows import hull_shadows

__all__ = ["building"]


def _windows(canvas: Canvas, rng: np.random.Generator, corners: Floats, floors: int, size: float) -> None:
    along = float(np.linalg.norm(corners[1] - corners[0]))
    count = int(along / size)
    if count < 1:
        return
    distance = float(np.linalg.norm(corners.mean(0) - canvas.camera.position))
    if distance > 420:
        return
    glass = np.array([52, 60, 70.0]) + rng.normal(0, 8)
    frame = np.array([206, 204, 198.0])
    share = rng.uniform(0.28, 0.44)
    for floor in range(floors):
        low = (floor + 0.38) / floors
        high = (floor + 0.76) / floors
        for i in range(count):
            middle = (i + 0.5) / count
            wide = share / count / 2
            if distance < 130:
                canvas.face(on_face(corners, middle - wide * 1.25, middle + wide * 1.25, low - 0.02, high + 0.02), frame)
            canvas.face(on_face(corners, middle - wide, middle + wide, low, high), glass * rng.uniform(0.75, 1.35))


_WALLS = ((206, 198, 184), (190, 178, 160), (214, 210, 204), (168, 116, 92), (180, 172, 160), (196, 184, 148))
_TILES = ((138, 90, 74), (116, 80, 68), (96, 92, 90), (82, 82, 86), (142, 104, 84), (108, 98, 90))
_FLAT = ((148, 146, 142), (120, 118, 116), (176, 176, 174), (96, 96, 98), (136, 150, 160))


def building(rng: np.random.Generator, x: float, y: float, yaw: float, kind: str) -> Object:
    """A ``house`` or ``barn`` with a gable roof, a flat ``hall``, or a small flat ``shelter``."""
    long_side, short, tall = {
        "house": (rng.uniform(9, 14), rng.uniform(7.5, 10), rng.uniform(3.0, 6.2)),
        "barn": (rng.uniform(18, 36), rng.uniform(11, 17), rng.uniform(4.0, 6.5)),
        "hall": (rng.uniform(24, 60), rng.uniform(16, 32), rng.uniform(6, 11)),
        "shelter": (rng.uniform(2.5, 4.5), rng.uniform(2.0, 2.8), rng.uniform(2.3, 2.9)),
    }[kind]
    wall = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) + rng.normal(0, 6, 3)
    gable = kind in ("house", "barn")
    roofs = _TILES if gable else _FLAT
    roof = np.array(roofs[int(rng.integers(len(roofs)))]) + rng.normal(0, 7, 3)
    if kind == "shelter":
        wall, roof = np.array([190, 188, 180.0]) + rng.normal(0, 12), np.array([166, 166, 164.0]) + rng.normal(0, 18)
    if kind == "barn" and rng.random() < 0.6:
        wall, roof = np.array([168, 170, 168.0]) + rng.normal(0, 10), np.array([140, 146, 150.0]) + rng.normal(0, 14)
    rise = short / 2 * rng.uniform(0.55, 0.95) if kind == "house" else short / 2 * 0.42 if gable else 0.0
    half = (long_side / 2, short / 2)
    detail = int(rng.integers(1 << 31))
    body = box(x, y, yaw, half, 0.0, tall)
    over = 0.45 if gable else 0.0
    ridge = turned(x, y, yaw, np.array([(-half[0] - over, 0, tall + rise), (half[0] + over, 0, tall + rise)]))
    drop = over / max(half[1], 0.1) * rise
    eaves = box(x, y, yaw, (half[0] + over, half[1] + over), 0.0, tall - drop)[4:]

    def draw(canvas: Canvas) -> None:
        inner = np.random.default_rng(detail)
        faces = draw_box(canvas, body, wall, roof)
        floors = max(1, round(tall / 3.0)) if kind == "house" else 1
        for index, (corners, seen) in enumerate(faces):
            face_rng = np.random.default_rng([detail, index])
            if seen and kind != "shelter":
                _windows(canvas, face_rng, corners, floors, 2.6 if kind == "house" else 5.0)
            if seen and kind in ("shelter", "barn") and index == 0:
                canvas.face(on_face(corners, 0.35, 0.62, 0.0, 0.8), wall * 0.62)
        if gable:
            _gable(canvas, inner, body, eaves, ridge, wall, roof, kind)
        else:
            _flat(canvas, inner, x, y, yaw, half, tall, roof, kind)

    def shadow(plane: Floats, camera: Camera, light: Light) -> None:
        hull_shadows(plane, camera, light, [np.concatenate([body, eaves, ridge] if gable else [body])])

    return Object(x, y, tall + rise, math.hypot(*half), draw, shadow)


def _gable(
    canvas: Canvas, rng: np.random.Generator, body: Floats, eaves: Floats, ridge: Floats, wall: Floats, roof: Floats, kind: str
) -> None:
    for a, b, r in ((1, 2, ridge[1]), (3, 0, ridge[0])):
        canvas.face(np.stack([body[a + 4], body[b + 4], r]), wall)
    slopes = (np.stack([eaves[0], eaves[1], ridge[1], ridge[0]]), np.stack([eaves[2], eaves[3], ridge[0], ridge[1]]))
    order = sorted(slopes, key=lambda s: -float(np.linalg.norm(s.mean(0) - canvas.camera.position)))
    panels = kind != "shelter" and rng.random() < 0.3
    extras = rng.random(4)
    for slope in order:
        if not canvas.face(slope, roof):
            continue
        courses = 9
        for i in range(courses):
            # uneven courses of tiles or sheets
            shade = roof * rng.uniform(0.90, 1.08)
            canvas.face(on_face(slope, 0, 1, i / courses, (i + 1) / courses), shade)
        for _ in range(5):
            u = rng.uniform(0, 0.8)
            canvas.face(on_face(slope, u, u + rng.uniform(0.05, 0.2), 0, 1), roof * rng.uniform(0.93, 1.06))
        if panels and slope is slopes[0]:
            for i in range(4):
                u = 0.2 + 0.15 * i
                canvas.face(on_face(slope, u, u + 0.135, 0.25, 0.8), np.array([34, 42, 66.0]))
        elif kind == "house":
            for u in (0.2 + 0.3 * extras[0], 0.6 + 0.2 * extras[1]):
                canvas.face(on_face(slope, u, u + 0.07, 0.45, 0.68), np.array([70, 84, 100.0]))
    if kind == "house" and extras[2] < 0.7:
        foot = ridge[0] * (0.7 - 0.4 * extras[3]) + ridge[1] * (0.3 + 0.4 * extras[3])
        yaw = math.atan2(*(ridge[1] - ridge[0])[[1, 0]])
        chimney = box(foot[0], foot[1], yaw, (0.4, 0.4), foot[2] - 0.8, foot[2] + 1.1)
        draw_box(canvas, chimney, np.array([150, 104, 84.0]), np.array([70, 66, 64.0]))


def _flat(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    y: float,
    yaw: float,
    half: tuple[float, float],
    tall: float,
    roof: Floats,
    kind: str,
) -> None:
    if kind == "shelter":
        return
    inner = box(x, y, yaw, (half[0] - 0.5, half[1] - 0.5), tall, tall)[4:]
    canvas.face(inner, roof * 0.9)
    seams = int(half[0] / 2.5)
    for i in range(seams):
        canvas.face(on_face(inner, i / seams, (i + 0.5) / seams, 0, 1), roof * rng.uniform(0.86, 0.96))
    for _ in range(int(rng.integers(2, 8))):
        u, v = rng.uniform(-0.8, 0.8, 2)
        c, s = math.cos(yaw), math.sin(yaw)
        dx, dy = u * half[0], v * half[1]
        sides = (float(rng.uniform(0.6, 1.8)), float(rng.uniform(0.6, 1.8)))
        unit = box(x + c * dx - s * dy, y + s * dx + c * dy, yaw, sides, tall, tall + float(rng.uniform(0.5, 1.6)))
        draw_box(canvas, unit, np.array([190, 192, 194.0]), np.array([204, 206, 208.0]))
