"""Pictures of more than 8 bits as tools write them: no byte of their values is lost, and they are upright."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.data.deep import read_values
from dips.data.images import encode_image, image_size, picture_pixels, read_image, read_shown
from dips.errors import ImageError

from .conftest import write_tiff


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"thermal{suffix}"
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(path)
    image = read_image(path)
    assert (image[..., 0] == np.arange(256).reshape(16, 16)).all() and (image == image[..., :1]).all()


def deep_colours(bands: int = 3) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """12-bit colours in 16 bits, another in each corner; a fourth band is opaque on the left."""
    pixels = np.zeros((20, 40, 4), np.uint16)
    pixels[:10, :20], pixels[:10, 20:] = (4000, 100, 0, 65535), (100, 4000, 0, 65535)
    pixels[10:, :20], pixels[10:, 20:] = (0, 100, 4000, 65535), (2000, 2000, 2000, 0)
    return pixels[..., :bands]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "big.tif"])
def test_colours_of_16_bits(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    pixels = deep_colours()
    if suffix == "png":
        plain = encode_image(pixels, ".png")
        exif = Image.Exif()
        exif[0x0112] = orientation
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\x00\x00")
        path.write_bytes(
            plain[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + plain[33:]
        )
    else:
        write_tiff(path, pixels, orientation=orientation, order=">" if "big" in suffix else "<")
    image, shown = read_shown(path)
    assert shown is not None and shown.scale == (0, 4000) and shown.type == "16-bit colours"
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    upright = Image.fromarray(np.rint(pixels * (255 / 4000)).astype(np.uint8))
    upright = upright if turn is None else upright.transpose(Image.Transpose(turn))
    assert np.array_equal(image, np.asarray(upright)) and image_size(path) == upright.size


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparent_colours_of_16_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    pixels = deep_colours(4)
    if suffix == "png":
        path.write_bytes(encode_image_with_alpha(pixels))
    else:
        write_tiff(path, pixels)
    image = read_image(path)
    assert image[5, 5].tolist() == [255, 6, 0] and image[15, 30].tolist() == [255, 255, 255]


def encode_image_with_alpha(pixels: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    done, data = cv2.imencode(".png", pixels[..., [2, 1, 0, 3]])
    assert done
    return data.tobytes()


def test_colours_of_16_bits_in_planes_are_refused(tmp_path: Path) -> None:
    """Pillow would take the bytes of one plane for all three."""
    with pytest.raises(ImageError, match="one band after the other"):
        read_image(write_tiff(tmp_path / "a.tif", deep_colours(), planar=2))


def test_wide_grey_modes(tmp_path: Path) -> None:
    wide = tmp_path / "int32.tif"
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.int32)).save(wide)
    assert read_image(wide)[0, :, 0].tolist() == [0, 128, 255]
    unit = tmp_path / "float.tif"
    Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)).save(unit)
    assert read_image(unit)[0, :, 0].tolist() == [0, 128, 255, 0]
    black = tmp_path / "black.tif"
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(black)
    assert not read_image(black).any()


@pytest.mark.parametrize(
    ("values", "type", "white"),
    [
        (np.array([[0, 2000, 4000]], np.int32), "32-bit grey", None),
        (np.array([[-100, 0, 70_000]], np.int32), "32-bit grey", None),
        (np.array([[0.0, 0.5, 2.0]], np.float32), "32-bit float", None),
        (np.array([[0, 2000, 4000]], np.uint16), "16-bit grey", 65535),
    ],
)
def test_a_picture_in_memory_is_seen_as_its_file(tmp_path: Path, values: Any, type: str, white: float | None) -> None:
    picture, path = Image.fromarray(values), tmp_path / "a.tif"
    picture.save(path)
    stored = read_values(path)
    assert stored is not None and (stored.type, stored.white) == (type, white)
    in_memory, (pixels, shown) = picture_pixels(picture, "it"), read_shown(path)
    assert shown is not None and in_memory[1] == shown and shown.type == type
    assert np.array_equal(in_memory[0], pixels)


def test_the_sixteen_bits_that_pillow_keeps_in_more(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + np.array([0, 2000, 65535], ">u2").tobytes())
    stored = read_values(tmp_path / "a.pgm")
    assert stored is not None and (stored.type, stored.white) == ("16-bit grey", 65535)


@pytest.mark.parametrize("left", [40, 80, 200])
def test_damaged_colours_of_16_bits_name_the_file(tmp_path: Path, left: int) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(encode_image(deep_colours(), ".png")[:left])
    for read in (read_values, read_image):
        with pytest.raises(ImageError, match=r"cut\.png .*remove it"):
            read(path)
