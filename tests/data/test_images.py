"""Photos as cameras and tools write them, and files that are none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.data.images import decode_image, encode_image, image_size, read_image
from dips.data.photo_files import list_images
from dips.data.pillow import MAX_PIXELS
from dips.errors import ImageError

from .conftest import MakePhoto, halves, png_header


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPEG", ".jfif", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".TIFF", ".gif", ".ppm"]
)
def test_reads_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    options: dict[str, Any] = {"quality": 95} if suffix != ".png" else {}
    halves().save(path, **options)
    image = read_image(path)
    assert image.shape == (20, 40, 3) and image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    np.testing.assert_allclose(image[10, 5], (120, 10, 20), atol=12)
    np.testing.assert_allclose(image[10, 35], (240, 240, 230), atol=12)
    assert image_size(path) == (40, 20)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = halves("RGB", (40, 20))
    upright.paste((20, 20, 200), (0, 0, 20, 10))  # top left is blue
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera held so makes
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{suffix}"
    options: dict[str, dict[str, Any]] = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    stored.save(path, exif=exif, **options.get(suffix, {}))
    np.testing.assert_allclose(
        read_image(path).astype(int), np.asarray(upright).astype(int), atol=60 if suffix == ".jpg" else 0
    )
    np.testing.assert_allclose(read_image(path)[5, 5], (20, 20, 200), atol=8)
    assert image_size(path) == (40, 20)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_grey_and_palette(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode == "YCbCr" else "photo.png")
    halves(mode).save(path)
    image = read_image(path)
    expected = np.asarray(halves(mode).convert("RGB")).astype(int)
    np.testing.assert_allclose(image.astype(int)[:, [5, 35]], expected[:, [5, 35]], atol=6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.png"
    if mode in ("RGBA", "LA"):
        photo = Image.new(mode, (4, 2), (0,) * len(mode))
        photo.paste((90,) * (len(mode) - 1) + (255,), (2, 0, 4, 2))
        photo.save(path)
    else:
        photo = Image.new(mode, (4, 2), 0)
        photo.paste(90 if mode != "RGB" else (90, 90, 90), (2, 0, 4, 2))
        if mode == "P":
            photo.putpalette([value for value in range(256) for _ in range(3)])
        photo.save(path, transparency=0 if mode != "RGB" else (0, 0, 0))
    image = read_image(path)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 3].tolist() == [90, 90, 90]


def test_cmyk_with_and_without_adobe_marker(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    adobe = tmp_path / "adobe.jpg"
    inks.save(adobe, quality=100)
    raw = adobe.read_bytes()
    start = raw.index(b"\xff\xee")
    assert raw[start + 4 : start + 9] == b"Adobe"
    np.testing.assert_allclose(read_image(adobe)[8, 8], (255, 0, 0), atol=4)
    # without the marker the numbers are plain ink, so writing them inverted must read the same
    inverted = tmp_path / "inverted.jpg"
    Image.new("CMYK", (16, 16), (255, 0, 0, 255)).save(inverted, quality=100)
    raw = inverted.read_bytes()
    start = raw.index(b"\xff\xee")
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(raw[:start] + raw[start + 2 + int.from_bytes(raw[start + 2 : start + 4], "big") :])
    np.testing.assert_allclose(read_image(plain)[8, 8], (255, 0, 0), atol=4)


@pytest.mark.parametrize("size", [(1, 1), (20000, 30), (30, 20000)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    path = tmp_path / f"odd{suffix}"
    Image.new("RGB", size, (10, 200, 30)).save(path)
    assert read_image(path, max_side=64).shape[2] == 3
    assert read_image(path).shape == (size[1], size[0], 3)
    assert image_size(path) == size


def test_truncated_jpeg_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut short é.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"cut short é\.jpg cannot be read: the file is incomplete \(cut off\); copy it again"):
        read_image(path)
    assert image_size(path) == (64, 64)  # the header is whole


@pytest.mark.parametrize(
    "content", [b"", b"not a photo at all", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff"]
)
def test_files_that_are_no_photos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"text\.jpg is not a photo"):
            read(path)


def test_multi_picture_jpeg_of_drones(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = tmp_path / "dji.jpg"
    with Image.open(make_photo(tmp_path / "a.png", (640, 480))) as photo:
        photo.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (160, 120))])
    assert read_image(path).shape == (480, 640, 3) and image_size(path) == (640, 480)
    assert read_image(path, max_side=100).shape == (120, 160, 3)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="cannot be opened"):
        image_size(tmp_path)


def test_large_jpeg_is_decoded_smaller_but_never_below_what_is_needed(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "4k.jpg", (1600, 900), box=(400, 300, 800, 600))
    full = read_image(path)
    for needed, shape in ((112, (113, 200)), (224, (225, 400)), (300, (450, 800)), (500, (900, 1600)), (4000, (900, 1600))):
        fast = read_image(path, max_side=needed)
        assert fast.shape[:2] == shape
        assert image_size(path) == (1600, 900)
    half = np.asarray(Image.fromarray(full).resize((800, 450), Image.Resampling.BOX)).astype(float)
    assert np.abs(half - read_image(path, max_side=300)).mean() < 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_encoded_is_decoded(kind: type[np.integer[Any]]) -> None:
    grey = np.arange(600, dtype=kind).reshape(20, 30)
    data = encode_image(grey, ".png")
    decoded = decode_image(data, cv2.IMREAD_UNCHANGED)
    assert decoded is not None and decoded.dtype == kind and np.array_equal(decoded, grey)
    again = decode_image(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert again is not None and np.array_equal(again, grey)


def test_damaged_bytes_are_no_picture() -> None:
    data = bytearray(encode_image(np.zeros((4, 4), np.uint8), ".png"))
    data[16:24] = struct.pack(">II", 2**30, 2**30)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    for damaged in (b"", b"no picture", data[:20], bytes(data)):
        assert decode_image(bytes(damaged), cv2.IMREAD_UNCHANGED) is None


@pytest.mark.parametrize("size", [(2**15, 2**15 - 1), (2**29, 1), (1, MAX_PIXELS + 1)])
def test_maps_and_masks_are_no_larger_than_photos(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """OpenCV takes up to 2^30 pixels, which need gigabytes."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert decode_image(png_header(*size), cv2.IMREAD_UNCHANGED) is None


def test_real_photos(real_data: Path) -> None:
    for path in list_images(real_data / "birds20" / "test")[::50] + list_images(real_data / "insulators" / "photos")[::20]:
        height, width = read_image(path).shape[:2]
        assert image_size(path) == (width, height)
