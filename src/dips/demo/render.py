"""Render one generated drone photo: camera, light and land from a seed, with or without a lattice tower.

In: a random generator. Out: a :class:`Scene`. Both classes share every step except the tower itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.demo.camera import choose_camera
from dips.demo.canvas import Canvas, Shape
from dips.demo.ground import paint_background
from dips.demo.land import Land
from dips.demo.light import Light
from dips.demo.noise import Array
from dips.demo.place import View, place_shapes, place_trees
from dips.demo.tower import ARM_LENGTHS, make_tower, tower_size
from dips.demo.trees import Tree, TreePainter

__all__ = ["Scene", "render_scene"]


@dataclass(frozen=True)
class Scene:
    """A generated photo.

    Attributes:
        image: ``(H, W, 3) uint8`` RGB.
        mask: ``(H, W) bool``, the tower's outer silhouette: the holes of the lattice are filled; its shadow, insulators and
            conductors are excluded. All False without a tower.
        box: ``(x0, y0, x1, y1)``, the mask's tight bounding box, end exclusive; None without a tower.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int] | None


def render_scene(rng: np.random.Generator, *, tower: bool, size: tuple[int, int] = (480, 360)) -> Scene:
    """Draw a scene of ``size`` (width, height), at least 64 pixels each; equal generators give equal scenes."""
    view_rng, light_rng, land_rng, ground_rng, tree_rng, place_rng, tower_rng, film_rng = rng.spawn(8)
    height, half, reach = tower_size(view_rng)
    camera, azimuth = choose_camera(view_rng, height, reach, size)
    light = Light(light_rng, azimuth)
    land = Land(land_rng, reach)
    view = View(camera, land, height, half)
    shapes = place_shapes(place_rng, view)
    trees = place_trees(tree_rng, view, shapes)
    if tower:
        shapes.append(make_tower(tower_rng, str(tower_rng.choice(list(ARM_LENGTHS))), height, half, reach))

    canvas = Canvas(camera, light)
    painter = TreePainter(tree_rng, canvas, land.season)
    if light.overcast < 0.85:
        for tree in trees:
            painter.cast_shadow(tree)
        for shape in shapes:
            canvas.cast_shadow(shape)
    shadow = cv2.GaussianBlur(canvas.shadow, (0, 0), 1.0 + 3.0 * light.overcast)
    shadow = cv2.resize(shadow, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    background = paint_background(ground_rng, camera, light, land, shadow)
    canvas.pixels = cv2.resize(background, canvas.tower.shape[::-1], interpolation=cv2.INTER_NEAREST)
    things: list[Tree | Shape] = [*trees, *shapes]
    for thing in sorted(things, key=lambda t: -math.dist((t.x, t.y), camera.position[:2])):
        painter.draw(thing) if isinstance(thing, Tree) else canvas.draw(thing)
    mask = cv2.resize(canvas.tower, size, interpolation=cv2.INTER_AREA) > 90
    photo = cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA)
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Scene(_develop(film_rng, photo), mask, (x, y, x + width, y + height) if width else None)


def _develop(rng: np.random.Generator, photo: Array) -> NDArray[np.uint8]:
    """Return the photo as taken by a lens and a sensor: blur, sharpening, colour balance, contrast, noise."""
    picture = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), float(rng.uniform(0.35, 0.8)))
    edge = float(rng.uniform(0.1, 0.5))
    picture = cv2.addWeighted(picture, 1.0 + edge, cv2.GaussianBlur(picture, (0, 0), 1.6), -edge, 0.0)
    # white balance, saturation and contrast as one matrix with an offset
    warm, colour, contrast = rng.normal(0.0, 0.022), rng.uniform(0.85, 1.15), rng.uniform(0.92, 1.16)
    mix = (np.eye(3) * colour + (1 - colour) / 3) * np.array([1.0 + warm, 1.0, 1.0 - warm]) * contrast
    picture = cv2.transform(picture, np.column_stack([mix, np.full(3, 118.0 * (1 - contrast) + rng.normal(0, 5) + 0.5)]))
    grain = rng.standard_normal((*photo.shape[:2], 1), dtype=np.float32)
    picture = picture + np.float32(rng.uniform(1.0, 4.0)) * grain
    return np.asarray(np.clip(picture, 0, 255).astype(np.uint8))
