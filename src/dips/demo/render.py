"""One generated drone photo: camera, light and land from a seed, with or without a lattice tower.

In: a random generator. Out: a :class:`Scene`. Both classes share every step but the tower itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.demo.camera import SUPER, Camera, Light, choose_camera, choose_light
from dips.demo.canvas import Canvas
from dips.demo.layout import make_layout
from dips.demo.noise import Floats, grain
from dips.demo.objects import Object
from dips.demo.place import Site, place_objects, place_trees
from dips.demo.terrain import paint_background
from dips.demo.tower import conductor_heading, draw_conductors, draw_tower, tower_shadow
from dips.demo.tower_shape import TowerShape, make_tower, tower_size
from dips.demo.trees import Tree, Trees

__all__ = ["Scene", "render_scene"]


@dataclass(frozen=True)
class Scene:
    """A generated photo.

    Attributes:
        image: ``(H, W, 3) uint8`` RGB.
        mask: ``(H, W) bool``, the tower's outer silhouette: the holes of the lattice are filled, antennas belong to it,
            its shadow and conductors do not. All False without a tower.
        box: ``(x0, y0, x1, y1)``, the mask's tight box, end exclusive; None without a tower.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int] | None


def render_scene(rng: np.random.Generator, *, tower: bool, size: tuple[int, int] = (480, 360)) -> Scene:
    """Draw a scene of ``size`` (width, height), at least 64 pixels each; equal generators give equal scenes."""
    view_rng, light_rng, land_rng, ground_rng, tree_rng, place_rng, tower_rng, film_rng = rng.spawn(8)
    kind, height, half = tower_size(view_rng)
    camera, azimuth = choose_camera(view_rng, height, half, size)
    light = choose_light(light_rng, azimuth)
    layout = make_layout(land_rng, half)
    site = Site(camera, layout, height, half)
    objects = place_objects(place_rng, site)
    trees = place_trees(tree_rng, site, objects)
    crowns = Trees(tree_rng, camera, light)
    shape = make_tower(tower_rng, kind, height, half) if tower else None

    shadow = _shadows(camera, light, crowns, trees, objects, shape)
    canvas = Canvas(paint_background(ground_rng, camera, light, layout, shadow), camera, light)
    _draw(canvas, crowns, trees, objects, shape)
    cover = cv2.resize(canvas.tower, size, interpolation=cv2.INTER_AREA) > 90
    mask = cover.astype(bool)
    photo = cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA)
    return Scene(_develop(film_rng, photo), mask, _tight(mask) if tower else None)


def _shadows(
    camera: Camera, light: Light, crowns: Trees, trees: list[Tree], objects: list[Object], tower: TowerShape | None
) -> Floats:
    plane = np.zeros((camera.height * SUPER, camera.width * SUPER), np.uint8)
    if light.overcast > 0.85:
        return plane
    crowns.shadows(plane, trees)
    for thing in objects:
        thing.shadow(plane, camera, light)
    if tower is not None:
        tower_shadow(plane, camera, light, tower)
    return cv2.GaussianBlur(plane, (0, 0), 1.0 + 3.0 * light.overcast)


def _draw(canvas: Canvas, crowns: Trees, trees: list[Tree], objects: list[Object], tower: TowerShape | None) -> None:
    eye = canvas.camera.position
    items: list[Tree | Object] = [*trees, *objects]
    order: list[tuple[float, int, Tree | Object | None]] = [
        (math.hypot(item.x - eye[0], item.y - eye[1]), number, item) for number, item in enumerate(items)
    ]
    if tower is not None:
        order.append((math.hypot(eye[0], eye[1]), -1, None))
    heading = conductor_heading(tower) if tower is not None and tower.wires else None
    for _, _, item in sorted(order, key=lambda entry: (-entry[0], entry[1])):
        if isinstance(item, Tree):
            crowns.draw(canvas, item)
        elif item is not None:
            item.draw(canvas)
        elif tower is not None:
            draw_tower(canvas, tower)
            if heading is not None:
                for side in (-1.0, 1.0):
                    draw_conductors(canvas, tower.wires, heading, side)


def _tight(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _develop(rng: np.random.Generator, photo: Floats) -> NDArray[np.uint8]:
    """Lens and sensor: blur, sharpening, vignette, white balance, contrast, noise."""
    height, width = photo.shape[:2]
    blur = float(rng.uniform(0.35, 0.75)) if rng.random() < 0.85 else float(rng.uniform(0.75, 1.2))
    picture = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), blur)
    halo = cv2.GaussianBlur(picture, (0, 0), 1.6)
    edge = float(rng.uniform(0.1, 0.5))
    picture = cv2.addWeighted(picture, 1.0 + edge, halo, -edge, 0.0)
    x, y = np.linspace(-1, 1, width)[None], np.linspace(-1, 1, height)[:, None]
    falloff = 1.0 - float(rng.uniform(0.02, 0.14)) * (x * x + y * y) * 0.5
    # white balance, contrast and saturation as one matrix with an offset
    warm = float(rng.normal(0.0, 0.022))
    balance, contrast = np.array([1.0 + warm, 1.0, 1.0 - warm]) + rng.normal(0, 0.006, 3), float(rng.uniform(0.92, 1.16))
    colour = float(rng.uniform(0.8, 1.15))
    mix = (np.eye(3) * colour + (1 - colour) / 3) * balance * contrast
    offset = 118.0 * (1 - contrast) + float(rng.normal(0, 5))
    picture = cv2.transform(picture * falloff[..., None].astype(np.float32), np.column_stack([mix, np.full(3, offset + 0.5)]))
    picture = picture + np.float32(rng.uniform(1.0, 4.5)) * grain(rng, height, width)
    developed: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return developed
