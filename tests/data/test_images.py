"""Photos as cameras and tools write them, and files that are none."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.data.images import MAX_PIXELS, decode_image, encode_image, image_size, read_image, read_shown
from dips.data.photo_files import list_images
from dips.data.windows import open_photo
from dips.errors import ImageError

from .conftest import MakePhoto, write_tiff


def halves(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Left half dark red, right half light: so that turns and flips can be told."""
    photo = Image.new("RGB", size, (120, 10, 20))
    photo.paste((240, 240, 230), (size[0] // 2, 0, *size))
    return photo.convert(mode)


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


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    halves().save(buffer, "PNG")
    plain = buffer.getvalue()
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path = tmp_path / "late.png"
    path.write_bytes(plain[:-12] + chunk + plain[-12:])
    assert read_image(path).shape == (40, 20, 3)
    assert image_size(path) == (20, 40)


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    halves().save(path, exif=b"Exif\x00\x00garbage that is no TIFF header")
    assert read_image(path).shape == (20, 40, 3)
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
    with pytest.raises(ImageError, match=r"cut short é\.jpg cannot be read.*truncated"):
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    os.mkfifo(path)
    said: list[str] = []

    def read_all() -> None:
        for read in (read_image, image_size, lambda path: open_photo(path).__enter__()):
            try:
                read(path)
            except ImageError as error:
                said.append(str(error))

    thread = threading.Thread(target=read_all, daemon=True)
    thread.start()
    thread.join(10)
    assert said == [f"{path} cannot be opened: it is a pipe or a device, not a file; remove it"] * 3


def test_damaged_exif_says_nothing_on_the_screen(tmp_path: Path) -> None:
    tiff = b"II*\x00\x08\x00\x00\x00"
    for number, exif in enumerate(
        (tiff + b"\x02\x00\x12\x01", tiff + b"\x01\x00\x0f\x01\x02\x00\xff\x00\x00\x00\xff\xff\x00\x00", tiff[:4])
    ):
        halves().save(tmp_path / f"{number}.jpg", exif=b"Exif\x00\x00" + exif)
    program = (
        "import sys; from dips.data import list_images, read_image\n"
        "for path in list_images(sys.argv[1]): print(read_image(path).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["(20, 40, 3)"] * 3 and done.stderr == ""


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


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (body, data, b"IEND")
    )


def test_decompression_bomb_is_refused_and_a_large_photo_is_not(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(60000, 60000))
    limit = Image.MAX_IMAGE_PIXELS
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"bomb\.png cannot be read: it claims 60000 x 60000.*into tiles.*or remove it$"):
            read(bomb)
    large = tmp_path / "large.png"
    large.write_bytes(png_header(12000, 8000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(large) == (12000, 8000)
    assert MAX_PIXELS > 12000 * 8000
    assert limit == Image.MAX_IMAGE_PIXELS


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
