"""What is opened, what is not, and what decides how a photo is turned."""

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

import pytest
from PIL import Image

from dips.data.images import image_size, read_image
from dips.data.pillow import MAX_PIXELS
from dips.data.windows import open_photo
from dips.errors import ImageError

from .conftest import halves, png_header


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".ppm", ".tif"])
def test_a_file_that_is_cut_off_is_said_to_be_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    halves().resize((300, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageError, match=rf"cut\{suffix} cannot be read: the file is incomplete \(cut off\); copy it again"):
        read_image(path)


@pytest.mark.parametrize("target", ["gone.jpg", "/nowhere/gone.jpg", "../gone.jpg"])
def test_a_link_to_a_photo_that_is_gone(tmp_path: Path, target: str) -> None:
    (tmp_path / "x.jpg").symlink_to(target)
    for read in (read_image, image_size, lambda path: open_photo(path).__enter__()):
        with pytest.raises(ImageError, match=rf"x\.jpg is a link to {target}, which does not exist; copy the photo itself"):
            read(tmp_path / "x.jpg")


def test_a_file_that_cannot_be_opened_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("loop.jpg", "folder.jpg"):
        with pytest.raises(ImageError, match=rf"{name} cannot be opened: .*; allow it to be read, or remove it$"):
            read_image(tmp_path / name)


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


def test_decompression_bomb_is_refused_and_a_large_photo_is_not(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(60000, 60000))
    limit = Image.MAX_IMAGE_PIXELS
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"bomb\.png has 60000 x 60000 pixels, more than the limit of .*; cut it into"):
            read(bomb)
    large = tmp_path / "large.png"
    large.write_bytes(png_header(12000, 8000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(large) == (12000, 8000)
    assert MAX_PIXELS > 12000 * 8000
    assert limit == Image.MAX_IMAGE_PIXELS
