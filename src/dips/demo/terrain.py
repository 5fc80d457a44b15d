"""Ground and sky of a generated scene, pixel by pixel.

In: camera, light, layout and a shadow plane. Out: the empty photo, ``(H, W, 3) uint8``. Rows and textures are computed per
pixel and fade where they are finer than a pixel, so nothing flickers towards the horizon.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dips.demo.camera import SUPER, Camera, Light, tone
from dips.demo.canvas import fill
from dips.demo.layout import Layout, Style
from dips.demo.noise import Floats, noise1d, sample

__all__ = ["paint_background"]

_FAR = 3600.0


def paint_background(rng: np.random.Generator, camera: Camera, light: Light, layout: Layout, shadow: Floats) -> Floats:
    """The photo without objects; ``shadow`` is ``(SUPER * H, SUPER * W) uint8``, 255 where no sun arrives."""
    rays = camera.rays()
    sky_rng, ground_rng = rng.spawn(2)
    slope = -rays[2]
    on_ground = slope > camera.position[2] / _FAR
    picture = np.empty((camera.height, camera.width, 3), np.float32)
    rows = np.flatnonzero(~on_ground.all(1))
    if len(rows):
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        picture[top:bottom] = _sky(sky_rng, camera, light, rays[:, top:bottom])
    rows = np.flatnonzero(on_ground.any(1))
    if len(rows):
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        ground = _ground(ground_rng, camera, light, layout, shadow, rays, (top, bottom))
        np.copyto(picture[top:bottom], ground, where=on_ground[top:bottom, :, None])
    return np.clip(picture, 0, 255).astype(np.uint8)


def _smooth(value: Floats, low: float, high: float) -> Floats:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _sky(rng: np.random.Generator, camera: Camera, light: Light, rays: Floats) -> Floats:
    up: Floats = np.maximum(rays[2], 0.0)
    grey = light.overcast
    zenith = np.array([92, 138, 196.0]) * rng.uniform(0.85, 1.12) * (1 - grey) + np.array([176, 184, 194.0]) * grey
    blend = (1.0 - np.exp(-up * rng.uniform(2.2, 4.5)))[..., None].astype(np.float32)
    sky: Floats = (light.haze * (1 - blend) + zenith * blend).astype(np.float32)
    glow = np.clip(np.tensordot(light.direction.astype(np.float32), rays, 1), 0.0, 1.0)
    wide = glow * glow * glow
    wide *= wide
    tight = np.square(np.square(np.square(wide)))
    warm = (np.array([1.0, 0.93, 0.8]) * ((1 - grey) * 70 + 22)).astype(np.float32)
    sky += (0.45 * wide + tight)[..., None] * warm
    kind = rng.random()
    if kind > 0.22 or grey > 0.3:
        sky = _clouds(rng, light, rays, up, sky).astype(np.float32)
    # hills never rise higher than this over the horizon
    low = np.flatnonzero((rays[2] < 0.16).any(1))
    if len(low):
        top = int(low[0])
        sky[top:] = _hills(rng, camera, light, rays[:, top:], sky[top:])
    return sky


def _clouds(rng: np.random.Generator, light: Light, rays: Floats, up: Floats, sky: Floats) -> Floats:
    height = 1.0 / (up + 0.06)
    wind = rng.uniform(0.6, 1.6)
    x = (rays[0] * height * wind + rng.uniform(0, 50)).astype(np.float32)
    y = (rays[1] * height + rng.uniform(0, 50)).astype(np.float32)
    period = rng.uniform(8, 20)
    power = float(rng.choice([1.5, 1.7, 1.9]))
    noise = sample(x, y, period, power)
    to_sun = (light.direction[:2] * period * 0.012).astype(np.float32)
    relief = noise - sample(x + to_sun[0], y + to_sun[1], period, power)
    cover = rng.uniform(-0.3, 1.3) - 1.8 * max(light.overcast - 0.4, 0)
    edge = rng.uniform(0.5, 1.4)
    density = _smooth(noise, cover, cover + edge) * rng.uniform(0.6, 0.97)
    density = density * np.clip(up * 9, 0, 1)
    bright = 246 - 30 * light.overcast
    body = bright - 22 * np.clip(noise - cover - 0.4, 0, 2.0) + 26 * np.clip(relief, -1, 1)
    colour = body[..., None] * np.array([0.985, 0.99, 1.0], np.float32)
    share = density[..., None]
    clouded: Floats = sky * (1 - share) + colour * share
    return clouded


def _hills(rng: np.random.Generator, camera: Camera, light: Light, rays: Floats, sky: Floats) -> Floats:
    flat = np.hypot(rays[0], rays[1])
    azimuth = np.arctan2(rays[1], rays[0])
    tangent = rays[2] / np.maximum(flat, 1e-6)
    layers = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    tall = float(rng.choice([12.0, 70.0, 190.0], p=[0.45, 0.4, 0.15]))
    for i in range(layers):
        # the last layer is the nearest; it hides the edge of the ground
        away = _FAR * (layers - i)
        ridge = noise1d(azimuth.ravel(), 2 * np.pi, int(rng.integers(512)), 1.8).reshape(azimuth.shape)
        leaves = noise1d(azimuth.ravel(), 0.7, int(rng.integers(512)), 1.1).reshape(azimuth.shape)
        metres = np.maximum(tall * (0.55 + 0.55 * ridge) * (1.0 + 0.6 * (layers - 1 - i)) + 2.0 * leaves, 7.0 + 2.5 * leaves)
        height = (metres - camera.position[2]) / away
        cover = np.clip((height - tangent) * camera.focal + 0.5, 0.0, 1.0)[..., None]
        albedo = np.array([84, 96, 70.0]) + rng.normal(0, 7, 3)
        colour = light.distant(light.shade(albedo, np.array([0.0, 0.0, 1.0])), away * 0.8)
        sky = sky * (1 - cover) + colour.astype(np.float32) * cover
    return sky


def _labels(camera: Camera, layout: Layout) -> Floats:
    plane = np.zeros((camera.height * SUPER, camera.width * SUPER), np.uint8)
    quads = [i for i, (polygon, _) in enumerate(layout.shapes) if len(polygon) == 4]
    outlines: dict[int, Floats | None] = {}
    if quads:
        outlines = dict(zip(quads, camera.polygons(np.stack([layout.shapes[i][0] for i in quads])), strict=True))
    for i, (polygon, index) in enumerate(layout.shapes):
        pixels = outlines[i] if i in outlines else camera.polygon(np.column_stack([polygon, np.zeros(len(polygon))]))
        if pixels is not None and np.ptp(pixels[:, 1]) > 0.2:
            fill(plane, pixels, float(index))
    return plane


def _table(values: list[float]) -> Floats:
    table = np.zeros((1, 256), np.float32)
    table[0, : len(values)] = values
    return table


def _colours(styles: list[Style], which: int, fine: Floats, size: tuple[int, int]) -> Floats:
    """Linear colours of the styles, mixed where a pixel holds several."""
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(styles)] = [s.second if which else s.colour for s in styles]
    mixed = cv2.resize(cv2.LUT(cv2.merge([fine, fine, fine]), table), size, interpolation=cv2.INTER_AREA)
    return cv2.LUT(mixed, (np.arange(256, dtype=np.float32) / 255.0)[None] ** 2.2)


def _ground(
    rng: np.random.Generator, camera: Camera, light: Light, layout: Layout, shadow: Floats, rays: Floats, band: tuple[int, int]
) -> Floats:
    top, bottom = band
    rays = rays[:, top:bottom]
    size = (camera.width, bottom - top)
    slope = np.maximum(-rays[2], np.float32(camera.position[2] / _FAR))
    distance = np.float32(camera.position[2]) / slope
    x = rays[0] * distance + np.float32(camera.position[0])
    y = rays[1] * distance + np.float32(camera.position[1])
    # metres that a pixel covers along the view
    coarse = distance / np.float32(camera.focal) / np.sqrt(slope)

    fine = _labels(camera, layout)[top * SUPER : bottom * SUPER]
    label = np.ascontiguousarray(fine[::SUPER, ::SUPER])
    styles = layout.styles
    first, second = (_colours(styles, i, fine, size) for i in (0, 1))

    def per_pixel(values: list[float]) -> Floats:
        return cv2.LUT(label, _table(values))

    cos, sin = per_pixel([math.cos(s.direction) for s in styles]), per_pixel([math.sin(s.direction) for s in styles])
    rows = per_pixel([1.0 / (s.rows or 1e3) for s in styles])
    depth, rough = per_pixel([s.depth for s in styles]), per_pixel([s.rough for s in styles])
    patch = per_pixel([1.0 / s.patch for s in styles])

    shift = rng.uniform(0, 500, 8).astype(np.float32)
    broad = sample(x[::3, ::3] + shift[0], y[::3, ::3] + shift[1], 900.0, 1.4)
    wide = cv2.resize(broad, size, interpolation=cv2.INTER_LINEAR)
    middle = sample(x * patch + shift[2], y * patch + shift[3], 7.0, 1.3) * np.clip(1.6 - coarse * patch * 3, 0, 1)
    # two sizes of small texture; each fades out when its detail falls below a pixel
    small = sample(x + shift[4], y + shift[5], 60.0, 0.7) * np.clip(1.5 - coarse / 0.9, 0, 1)
    tiny = np.zeros_like(small)
    if float(coarse.min()) < 0.195:
        tiny = sample(x + shift[6], y + shift[7], 9.0, 0.5) * np.clip(1.5 - coarse / 0.13, 0, 1)

    across, along = y * cos - x * sin, x * cos + y * sin
    # how far the rows move from a pixel to the next: finer ones than that are not drawn
    change = np.zeros_like(across)
    change[1:] = np.abs(np.diff(across, axis=0))
    change[:, 1:] += np.abs(np.diff(across, axis=1))
    change = np.minimum(change, 50.0)
    # sowing and mowing leave streaks along the rows
    tilled = np.minimum(depth * 14, 1.0)
    streak = sample(across + shift[1], along * 0.045 + shift[2], 75.0, 0.9) * np.clip(1.5 - change / 1.0, 0, 1) * tilled

    mix = 0.5 + 0.30 * middle + 0.18 * wide + 0.22 * streak
    albedo = first + (second - first) * np.clip(mix, 0.0, 1.0)[..., None]
    texture = 1.0 + rough * (0.75 * small + 0.75 * tiny + 0.3 * middle) + 0.05 * streak + 0.06 * wide
    wave = np.sin((across + 0.10 * small) * rows * np.float32(2 * np.pi))
    texture += depth * (0.8 + 0.25 * middle) * wave * np.clip((0.45 - change * rows) / 0.25, 0, 1)
    lanes = [s.tram or 1e6 for s in styles]
    if min(lanes) < 1e5:
        tram = per_pixel(lanes)
        lane = across / tram
        offset = np.abs(lane - np.floor(lane) - 0.5) * tram
        blur = np.maximum(change, 0.15)
        texture -= 0.22 * np.clip(1 - np.abs(offset - 0.95) / (0.28 + blur), 0, 1) * np.clip(0.5 / blur, 0, 1) * (tram < 1e5)
    np.clip(texture, 0.25, 1.9, out=texture)

    dark = cv2.resize(shadow[top * SUPER : bottom * SUPER], size, interpolation=cv2.INTER_AREA) * np.float32(1 / 255)
    if light.overcast < 0.7 and rng.random() < 0.4:
        drift = sample(x + shift[3], y + shift[6], 2600.0, 1.9)
        dark = np.maximum(dark, 0.75 * _smooth(drift, 0.55, 0.95) * (np.hypot(x, y) > 60))
    sun = (light.sun * light.direction[2]).astype(np.float32)
    lit = (1.0 - dark)[..., None] * sun + light.ambient.astype(np.float32)
    lit *= texture[..., None]
    lit *= albedo
    ground = tone(lit)
    water = next((i for i, s in enumerate(styles) if s.name == "water"), None)
    if water is not None:
        ground = _water(light, rays, label == water, ground, small, coarse)
    share = np.exp(-distance / np.float32(light.haze_length))[..., None]
    haze = light.haze.astype(np.float32)
    hazed: Floats = (ground - haze) * share + haze
    return hazed


def _water(light: Light, rays: Floats, where: Floats, ground: Floats, ripple: Floats, coarse: Floats) -> Floats:
    mirror = (0.06 + 0.75 * np.clip(1.0 + rays[2], 0, 1) ** 3)[..., None] * where[..., None]
    sky = light.haze.astype(np.float32) * (0.92 + 0.05 * ripple * np.clip(1.2 - coarse, 0, 1))[..., None]
    wet: Floats = ground * (1 - mirror) + sky * mirror
    return wet
