"""The generated scenes: what a seed fixes, what mask and box mean, what the two classes share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.demo.camera import choose_camera
from dips.demo.light import Light
from dips.demo.render import Scene, render_scene
from dips.demo.tower import ARM_LENGTHS, make_tower, tower_size

SMALL = (160, 120)


def scene(seed: int, *, tower: bool, size: tuple[int, int] = SMALL) -> Scene:
    return render_scene(np.random.default_rng(seed), tower=tower, size=size)


def test_equal_generators_give_equal_scenes() -> None:
    first, again, other = scene(3, tower=True), scene(3, tower=True), scene(4, tower=True)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.box == again.box
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [(160, 120), (97, 131), (64, 64)])
def test_image_and_mask_have_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    drawn = scene(5, tower=True, size=size)
    assert drawn.image.shape == (size[1], size[0], 3)
    assert drawn.image.dtype == np.uint8
    assert drawn.mask.shape == (size[1], size[0])
    assert drawn.mask.dtype == bool


@settings(max_examples=15, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_box_is_tight_around_a_mask_of_sensible_size(seed: int) -> None:
    drawn = scene(seed, tower=True)
    assert drawn.box is not None
    x0, y0, x1, y1 = drawn.box
    assert 0 <= x0 < x1 <= SMALL[0]
    assert 0 <= y0 < y1 <= SMALL[1]
    inside = drawn.mask[y0:y1, x0:x1]
    assert inside.sum() == drawn.mask.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert 0.003 < drawn.mask.mean() < 0.35
    assert max((x1 - x0) / SMALL[0], (y1 - y0) / SMALL[1]) > 0.25


@settings(max_examples=6, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_scene_without_tower_has_neither_box_nor_mask(seed: int) -> None:
    drawn = scene(seed, tower=False)
    assert drawn.box is None
    assert not drawn.mask.any()
    assert drawn.image.std() > 4


@pytest.mark.parametrize("seed", [1, 2, 6])
def test_only_the_tower_its_shadow_and_wires_tell_the_classes_apart(seed: int) -> None:
    with_tower, without = scene(seed, tower=True), scene(seed, tower=False)
    changed = np.abs(with_tower.image.astype(int) - without.image).max(-1) > 6
    assert changed[with_tower.mask].mean() > 0.5
    around = cv2.dilate(with_tower.mask.astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert changed[~around].mean() < 0.2


def test_the_classes_are_not_told_apart_by_brightness_or_colour() -> None:
    means = {
        tower: np.array([scene(100 + i, tower=tower, size=(96, 72)).image.mean((0, 1)) for i in range(8)])
        for tower in (True, False)
    }
    assert np.abs(means[True].mean(0) - means[False].mean(0)).max() < 8


def test_the_mask_fills_the_holes_of_the_lattice() -> None:
    drawn = scene(8, tower=True, size=(320, 240))
    assert drawn.box is not None
    filled = cv2.morphologyEx(drawn.mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3))).astype(bool)
    assert (filled & ~drawn.mask).sum() < 0.08 * drawn.mask.sum()


@settings(max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_camera_sees_the_whole_tower_and_stays_above_the_ground(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, _, reach = tower_size(rng)
    camera, azimuth = choose_camera(rng, height, reach, SMALL)
    assert camera.position[2] >= 2.0
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-9)
    pixels, depth = camera.project(np.array([(0.0, 0.0, z) for z in (0.0, height / 2, 1.05 * height)]))
    assert depth.min() > 0
    assert (pixels >= 0).all() and (pixels <= SMALL).all()
    light = Light(rng, azimuth)
    assert np.linalg.norm(light.direction) == pytest.approx(1.0)
    assert light.direction[2] > 0


@pytest.mark.parametrize("kind", list(ARM_LENGTHS))
def test_towers_stand_on_the_ground_and_reach_their_height(kind: str) -> None:
    tower = make_tower(np.random.default_rng(1), kind, 30.0, 2.0, 6.0)
    ends = np.concatenate([np.stack(bar[:2]) for bar in tower.bars])
    assert ends[:, 2].min() == pytest.approx(0.0)
    assert 30.0 <= ends[:, 2].max() < 36.0
    assert np.hypot(*ends[:, :2].T).max() == pytest.approx(6.0)
    # a conductor hangs from every insulator, and one from the top
    assert len(tower.wires) == 1 + {1: 4, 2: 6, 3: 6}[len(ARM_LENGTHS[kind])]
