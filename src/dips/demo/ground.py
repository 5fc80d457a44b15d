"""Ground and sky of a generated scene, pixel by pixel.

In: camera, light, land and a shadow plane. Out: the photo without objects on the ground. Rows and textures fade where they are
finer than a pixel, so that nothing flickers towards the horizon.
"""

from __future__ import annotations

import math

import numpy as np

from dips.demo.camera import Camera
from dips.demo.land import Land
from dips.demo.light import Light, linear, tone
from dips.demo.noise import Array, sample_noise

__all__ = ["paint_background"]

HORIZON_DISTANCE = 3600.0
COLOURS = np.array([(116, 114, 112), (212, 212, 206), (170, 150, 120), (112, 118, 76), (62, 78, 74)])
ASPHALT, PAINT, DIRT, VERGE, WATER = linear(COLOURS).astype(np.float32)


def paint_background(rng: np.random.Generator, camera: Camera, light: Light, land: Land, shadow: Array) -> Array:
    """Return the empty photo ``(H, W, 3) uint8``; ``shadow (H, W)`` is 0-1, 1 where no sunlight arrives."""
    rays = camera.rays()
    sky_rng, ground_rng = rng.spawn(2)
    picture = _paint_ground(ground_rng, camera, light, land, shadow, rays)
    above = np.clip((rays[2] + camera.position[2] / HORIZON_DISTANCE) * camera.focal + 0.5, 0.0, 1.0)
    rows = int(np.count_nonzero(above.any(1)))
    if rows:
        sky = _paint_sky(sky_rng, camera, light, rays[:, :rows])
        picture[:rows] += (sky - picture[:rows]) * above[:rows, :, None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _paint_sky(rng: np.random.Generator, camera: Camera, light: Light, rays: Array) -> Array:
    up = np.maximum(rays[2], 0.0)
    zenith = np.array([92, 138, 196]) * (1 - light.overcast) + np.array([170, 180, 192]) * light.overcast
    sky = light.haze + (zenith * rng.uniform(0.85, 1.1) - light.haze) * (1 - np.exp(-up * rng.uniform(2.2, 4.5)))[..., None]
    # clouds on a flat ceiling, brighter towards the sun
    x, y = (rays[i] / (up + 0.06) + rng.uniform(0, 50) for i in (0, 1))
    noise = sample_noise(x, y, 15.0)
    relief = noise - sample_noise(x + light.direction[0] * 0.15, y + light.direction[1] * 0.15, 15.0)
    cover = rng.uniform(-0.2, 1.6) - 1.6 * light.overcast
    density = np.clip(noise - cover, 0, 1) * np.clip(up * 9, 0, 0.9)
    cloud = 244 - 30 * light.overcast - 20 * np.clip(noise - cover - 0.4, 0, 2) + 26 * np.clip(relief, -1, 1)
    sky += (cloud[..., None] - sky) * density[..., None]
    # hills hide the edge of the ground
    azimuth = np.arctan2(rays[1], rays[0]) / math.pi
    ridge = sample_noise(azimuth, np.full_like(up, rng.random()), 1.0, 1.7)
    metres = np.maximum(rng.choice([15, 70, 140]) * (0.6 + 0.5 * ridge), 6)
    share = np.clip(((metres - camera.position[2]) / HORIZON_DISTANCE - rays[2]) * camera.focal + 0.5, 0, 1)
    hill = light.add_haze(light.shade(np.array([80, 92, 68]), np.array([0, 0, 1])), np.array(HORIZON_DISTANCE))
    return np.asarray(sky + (hill - sky) * share[..., None])


def _pixel_step(value: Array) -> Array:
    """Return how much ``value (H, W)`` changes from a pixel to its neighbours, at least 1e-3."""
    step = np.full_like(value, 1e-3)
    step[1:] += np.abs(np.diff(value, axis=0))
    step[:, 1:] += np.abs(np.diff(value, axis=1))
    return step


def _coverage(distance: Array, half: float, step: Array) -> Array:
    """Return the fraction of each pixel covered by a band of half width ``half``, at ``distance`` from its middle."""
    return np.clip((half - np.abs(distance)) / step + 0.5, 0.0, np.minimum(1.0, 2.0 * half / step))


def _paint_ground(rng: np.random.Generator, camera: Camera, light: Light, land: Land, shadow: Array, rays: Array) -> Array:
    slope = np.maximum(-rays[2], np.float32(camera.position[2] / HORIZON_DISTANCE))
    distance = np.float32(camera.position[2]) / slope
    x, y = (rays[i] * distance + np.float32(camera.position[i]) for i in (0, 1))
    pixel = distance / np.float32(camera.focal) / np.sqrt(slope)  # metres that a pixel covers along the view
    index, border, u, v = land.plots(x, y)
    surfaces = land.surfaces.astype(np.float32)
    rows, contrast, roughness, patch = (column[index] for column in surfaces.T[6:].copy())
    first, change = surfaces[:, :3][index], (surfaces[:, 3:6] - surfaces[:, :3])[index]
    across, along = np.where(land.turned[index], u, v), np.where(land.turned[index], v, u)

    # noise at four scales; each fades where its detail is finer than a pixel
    shift = rng.uniform(0, 500, 4)
    wide = sample_noise(x + shift[0], y + shift[1], 900.0, 1.4)
    middle = sample_noise(x / patch + shift[2], y / patch + shift[3], 7.0, 1.3) * np.clip(1.6 - pixel / patch * 3, 0, 1)
    small = sample_noise(x + shift[1], y + shift[2], 60.0, 0.7) * np.clip(1.5 - pixel / 0.9, 0, 1)
    tiny = sample_noise(x + shift[3], y + shift[0], 9.0, 0.5) * np.clip(1.5 - pixel / 0.13, 0, 1)
    # sowing and mowing leave streaks and rows, tractors leave tracks every 20 m
    step = _pixel_step(across)
    tilled = np.minimum(contrast * 14, 1.0)
    streak = sample_noise(across + shift[1], along * 0.045 + shift[2], 75.0, 0.9) * np.clip(1.5 - step, 0, 1) * tilled
    tracks = _coverage(np.abs(np.mod(across, 20.0) - 10.0) - 0.95, 0.3, step) * (tilled > 0.4)
    wave = np.sin((across + 0.1 * small) / rows * np.float32(2 * np.pi)) * np.clip((0.45 - step / rows) / 0.25, 0, 1)
    albedo = first + change * np.clip(0.5 + 0.30 * middle + 0.18 * wide + 0.22 * streak, 0, 1)[..., None]
    texture = roughness * (0.75 * small + 0.75 * tiny + 0.3 * middle) + contrast * (0.8 + 0.25 * middle) * wave
    texture += 0.05 * streak + 0.06 * wide - 0.2 * tracks

    def lay(colour: Array, cover: Array) -> None:
        where = np.flatnonzero(cover)
        share = cover.ravel()[where]
        albedo.reshape(-1, 3)[where] += (colour - albedo.reshape(-1, 3)[where]) * share[:, None]
        texture.ravel()[where] *= 1.0 - 0.4 * share

    lay(VERGE, _coverage(border - 0.5 * middle, 1.6, np.maximum(_pixel_step(border), 0.3)))
    water = np.zeros_like(x)
    for way in land.ways:
        along, across = way.along_and_across(x, y)
        if np.abs(across).min() > way.half:
            continue
        step, ragged = _pixel_step(across), across + 0.25 * middle
        lay(VERGE, _coverage(ragged, way.half + 1.5, step))
        if way.kind == "stream":
            water = _coverage(ragged, way.half, step)
            lay(WATER, water)
        elif way.kind == "track":
            lay(DIRT, _coverage(np.abs(ragged) - 0.85, 0.4, step))
        else:
            lay(ASPHALT, _coverage(across, way.half, step))
            lay(PAINT, _coverage(np.abs(across) - way.half + 0.3, 0.07, step))
            lay(PAINT, _coverage(across, 0.08, step) * (np.mod(along, 9.0) < 3.5))
    lit = (1.0 - shadow)[..., None] * (light.sun * light.direction[2]).astype(np.float32) + light.sky.astype(np.float32)
    ground = tone(lit * albedo * np.clip(1.0 + texture, 0.25, 1.9)[..., None])
    wet = np.nonzero(water)
    mirror = water[wet] * (0.08 + 0.75 * np.clip(1.0 + rays[2][wet], 0, 1) ** 3)
    ground[wet] += (light.haze * 0.95 - ground[wet]) * mirror[:, None]
    return light.add_haze(ground, distance)
