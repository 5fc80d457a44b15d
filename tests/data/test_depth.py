"""Radiometric pictures are seen like the 8 bits that their values would have made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dips.data.depth import Depth, Shown, Values, as_bytes, common_scale
from dips.data.images import read_image, read_scaled, read_shown

from .conftest import MakePhoto, write_tiff

Numbers = NDArray[Any]


def scene() -> Numbers:
    """Grey levels 0 to 255 of a ramp with a block, in floats."""
    grey = np.tile(np.linspace(0, 200, 64), (48, 1))
    grey[12:30, 20:40] = 255
    return grey


KINDS: dict[str, Callable[[Numbers], Numbers]] = {
    "14-bit counts": lambda g: (7000 + 4 * g).astype(np.uint16),
    "centikelvin": lambda g: ((283.15 + g / 12) * 100).astype(np.uint16),
    "12 bits in 16": lambda g: (g * 16).astype(np.uint16),
    "degrees": lambda g: (10 + g / 12).astype(np.float32),
    "degrees below zero": lambda g: (-30 + g / 12).astype(np.float32),
    "NDVI": lambda g: (g / 150 - 0.9).astype(np.float32),
    "a DEM": lambda g: (1200 + g * 3).astype(np.float32),
    "kelvin": lambda g: (283 + g / 12).astype(np.float32),
    "reflectance": lambda g: (0.02 + g / 4000).astype(np.float32),
    "tenths of degrees, signed": lambda g: (-200 + g).astype(np.int16),
    "large counts": lambda g: (3_000_000_000 + g * 1000).astype(np.uint32),
    "millimetres": lambda g: (2_000_000 + g * 10).astype(np.int32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_part_of_the_range_is_stretched(tmp_path: Path, kind: str) -> None:
    values = KINDS[kind](scene())
    image, shown = read_shown(write_tiff(tmp_path / "a.tif", values))
    np.testing.assert_allclose(image[..., 0].astype(float), scene(), atol=3)
    assert (image == image[..., :1]).all() and shown is not None and shown.stretched
    np.testing.assert_allclose(shown.used, (values.min(), values.max()), rtol=1e-5)
    assert np.array_equal(read_scaled(tmp_path / "a.tif", shown.scale), image)


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 65535, 3072).astype(np.uint16), 65535),
        (np.linspace(20000, 40000, 3072).astype(np.uint16), 65535),
        (np.linspace(0, 32767, 3072).astype(np.int16), 32767),
        (np.linspace(0, 65535, 3072).astype(np.int32), 65535),
        (np.linspace(0, 1, 3072).astype(np.float32), 1),
        (np.linspace(0.3, 0.7, 3072).astype(np.float32), 1),
        (np.linspace(0, 255, 3072).astype(np.float32), 255),
        (np.full(3072, 30000, np.uint16), 65535),
        (np.zeros(3072, np.float32), 1),
    ],
)
def test_what_uses_its_range_is_shown_in_it(tmp_path: Path, values: Numbers, white: float) -> None:
    image, shown = read_shown(write_tiff(tmp_path / "a.tif", values.reshape(48, 64)))
    expected = np.rint(values.reshape(48, 64).astype(float) * 255 / white)
    np.testing.assert_allclose(image[..., 0], expected, atol=1)
    assert shown is not None and not shown.stretched and shown.scale == (0, white)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "1"])
def test_eight_bits_are_left_as_they_are(tmp_path: Path, make_photo: MakePhoto, mode: str) -> None:
    photo = make_photo(tmp_path / "a.png", (40, 30), mode=mode)
    image, shown = read_shown(photo, depth=Depth(rule="fixed", scales=((7000.0, 8000.0),)))
    with Image.open(photo) as opened:
        assert shown is None and np.array_equal(image, np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize("kind", ["14-bit counts", "degrees below zero", "12 bits in 16"])
def test_outliers_do_not_count(tmp_path: Path, kind: str) -> None:
    values = KINDS[kind](scene())
    values[0, :4] = np.iinfo(np.uint16).max if values.dtype == np.uint16 else 3000
    values[1, :3] = 1 if values.dtype == np.uint16 else -3000
    image = read_image(write_tiff(tmp_path / "a.tif", values))
    np.testing.assert_allclose(image[2:, :, 0].astype(float), scene()[2:], atol=45)  # widened by what the tails allow
    assert image[3, 0, 0] < 30 and image[20, 30, 0] > 225


@pytest.mark.parametrize(
    ("kind", "mark", "declared"),
    [
        ("a DEM", -9999.0, ""),
        ("a DEM", -32768.0, ""),
        ("a DEM", np.nan, ""),
        ("a DEM", -3.4028235e38, ""),
        ("a DEM", 1100.0, "1100"),
        ("degrees", -9999.0, "-9999"),
        ("tenths of degrees, signed", -32768, ""),
        ("14-bit counts", 65535, ""),
    ],
)
def test_what_was_not_measured_has_no_part_in_it(tmp_path: Path, kind: str, mark: float, declared: str) -> None:
    values = KINDS[kind](scene())
    values[:, :16] = mark
    image = read_image(write_tiff(tmp_path / "a.tif", values, missing=declared))
    rest = scene()[:, 16:]
    expected = (rest - rest.min()) * 255 / (rest.max() - rest.min())
    np.testing.assert_allclose(image[:, 16:, 0].astype(float), expected, atol=3)
    assert (image[:, :16] == (255 if mark == 65535 else 0)).all()


def test_zeros_around_counts_are_darker_than_all_counts(tmp_path: Path) -> None:
    values = KINDS["14-bit counts"](scene())
    values[:, :16] = 0
    image = read_image(write_tiff(tmp_path / "a.tif", values))
    assert (image[:, :16] == 0).all() and image[:, 16:].min() > 30 and image.max() == 255
    near = np.where(scene() == 255, 0, 40 + scene() / 4).astype(np.uint16)  # here 0 may be a value like others
    assert read_image(write_tiff(tmp_path / "b.tif", near))[3, :, 0].min() > 100


@pytest.mark.parametrize("values", [np.array([[0, 20000, 65535]], np.uint16), np.array([[0, 100, 255]], np.uint8)])
def test_white_is_zero(tmp_path: Path, values: Numbers) -> None:
    plain = read_image(write_tiff(tmp_path / "a.tif", values))
    turned = read_image(write_tiff(tmp_path / "b.tif", np.iinfo(values.dtype).max - values, white_is_zero=True))
    assert np.array_equal(plain, turned) and turned[0, 0, 0] == 0


@pytest.mark.parametrize("kind", ["14-bit counts", "degrees", "NDVI"])
def test_white_is_zero_where_values_are_stretched(tmp_path: Path, kind: str) -> None:
    values = KINDS[kind](scene())
    values[0, 0] = values[0, 1]  # one pixel is declared to be missing
    missing = values[0, 0] if kind == "14-bit counts" else values.dtype.type(-99)
    values[0, 0] = missing
    turned = 65535 - values if values.dtype == np.uint16 else -values
    declared = f"{turned[0, 0]}"
    found = read_image(write_tiff(tmp_path / "b.tif", turned, white_is_zero=True, missing=declared))
    np.testing.assert_allclose(found[1:, 1:, 0].astype(float), scene()[1:, 1:], atol=4)


def test_rules() -> None:
    values = Values(KINDS["14-bit counts"](scene()), 65535.0, None, "16-bit grey")
    assert Depth().shown(values) == Shown((7000, 8020), (7000, 8020), True, "16-bit grey")
    full = Depth(rule="full").shown(values)
    assert full.scale == (0, 65535) and not full.stretched and as_bytes(values, full.scale).max() == 31
    assert Depth(rule="full").scale_of((-200.0, 50.0), 32767.0) == (-32768, 32767)
    assert Depth(rule="full").scale_of((-200.0, 50.0), None) == (-200, 50)
    assert Depth(rule="fixed", scales=((0.0, 9.0),)).scale_of((7000.0, 8020.0), 65535.0) == (0, 9)
    for scales in (((3.0, 3.0),), ((1.0, float("nan")),), ((4.0, 1.0),)):
        with pytest.raises(ValueError, match="black must lie below white"):
            Depth(scales=scales)
    with pytest.raises(ValueError, match="two values"):
        Depth(rule="fixed")
    keys = {Depth().key, Depth(rule="full").key, Depth(scales=((0.0, 1.0),)).key, Depth(scales=((0.0, 2.0),)).key}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("used", "suits"),
    [
        ((7000.0, 10000.0), True),
        ((7100.0, 7200.0), True),  # a picture of little contrast stays one
        ((9500.0, 10400.0), True),
        ((28000.0, 30000.0), False),  # centikelvin
        ((12000.0, 13000.0), False),
        ((10.0, 30.0), False),
        ((8000.0, 8001.0), False),  # something else than counts
        ((0.0, 60000.0), False),
    ],
)
def test_a_scale_is_for_pictures_of_its_kind(used: tuple[float, float], suits: bool) -> None:
    training = (7000.0, 10000.0)
    depth = Depth(scales=(training,))
    assert (depth.fitting(used) == training) is suits
    assert (depth.scale_of(used, 65535.0) == training) is suits


def test_a_common_scale_is_for_most_and_steady() -> None:
    def shown(low: float, high: float, stretched: bool = True) -> Shown:
        return Shown((low, high), (low, high), stretched, "16-bit grey")

    counts = [shown(7000 + n, 8000 + 2 * n) for n in range(20)]
    scale = common_scale(counts)
    assert scale == (7000, 8040)
    assert common_scale([*counts, shown(7004, 8011)]) == scale, "a photo more changes nothing"
    assert common_scale([*counts, shown(0, 8011)]) == scale, "nor does an odd one"
    assert common_scale([*counts, *(shown(28000, 29000) for _ in range(20))]) is None, "two kinds have no scale in common"
    degrees = [shown(10, 31) for _ in range(8)]
    assert common_scale([*degrees, *counts]) == scale, "a few of another kind neither"
    assert common_scale([shown(1000 * n, 1000 * n + 900) for n in range(30)]) is None, "each lies elsewhere"
    assert common_scale([shown(0, 60000, False)] * 3 + counts[:2]) is None, "most use the whole range"
    assert common_scale([]) is None and common_scale([shown(5, 5)]) is None
