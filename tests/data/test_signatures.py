"""What a file is by its first bytes, and what is said of one that is no photo."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dips.data.images import image_size, read_image
from dips.data.signatures import HEAD_BYTES, kind_of, why_not_a_photo
from dips.errors import ImageError


def tiff(bands: int, bits: int, sample: int, size: int = 4, order: str = "<", method: int = 1) -> bytes:
    """A TIFF of ``bands`` interleaved samples, ``size`` pixels a side, all zero."""
    head, depths = 8 + 2 + 10 * 12 + 4, struct.pack(f"{order}{bands}H", *[bits] * bands)
    formats = struct.pack(f"{order}{bands}H", *[sample] * bands)
    pixels = bytes(size * size * bands * bits // 8)

    def tag(number: int, kind: int, count: int, value: int) -> bytes:
        packed = struct.pack(f"{order}H2x", value) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        return struct.pack(f"{order}HHI", number, kind, count) + packed

    def many(number: int, data: bytes, at: int) -> bytes:
        values = data.ljust(4, b"\0") if bands < 3 else struct.pack(f"{order}I", at)
        return struct.pack(f"{order}HHI", number, 3, bands) + values

    tags = [
        tag(256, 3, 1, size),
        tag(257, 3, 1, size),
        many(258, depths, head),
        tag(259, 3, 1, method),
        tag(262, 3, 1, 1 if bands != 3 else 2),
        tag(273, 4, 1, head + 2 * len(depths)),
        tag(277, 3, 1, bands),
        tag(278, 3, 1, size),
        tag(279, 4, 1, len(pixels)),
        many(339, formats, head + len(depths)),
    ]
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return start + struct.pack(f"{order}H", len(tags)) + b"".join(tags) + bytes(4) + depths + formats + pixels


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty; copy it again"),
        (bytes(700), "it is nothing but zeros.*; copy it again"),
        (b"\r\n<!DOCTYPE html><title>404</title>", "it is a web page.*; download it again"),
        (b'<?xml version="1.0"?><html lang="de">', "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "it is a pointer of Git LFS; .*git lfs pull"),
        (
            b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
            r"by its content it is HEIC; convert it to JPEG or PNG.* 'magick IN OUT.jpg' .* \(renaming it does not help\)",
        ),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif", "by its content it is AVIF; convert"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1miaf", "by its content it is AVIF; convert"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", r"by its content it is a raw photo of a camera \(CR3\); convert"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "it is a video .*; give it to 'dips stream'"),
        (b"\xff\x0a\xfa\x1f", "by its content it is JPEG XL; convert"),
        (b"%PDF-1.7\n", "it is PDF; remove it"),
        (b"{}", "it is text; copy it again"),
        ("Straße 1\n".encode() * 99, "it is text"),
        (b"\xff\xd8\xff", "it begins like JPEG but is damaged or cut short; copy it again"),
        (bytes(range(1, 200)), "its first bytes are of no known kind of picture; convert it"),
        (
            tiff(5, 16, 1),
            r"it is a TIFF with 5 bands of 16 bits \(unsigned integers\), .*; write red, .* -b 3 -b 2 -b 1",
        ),
        (tiff(3, 32, 3), r"it is a TIFF with 3 bands of 32 bits \(floating point\)"),
        (
            tiff(1, 64, 3),
            r"it is a TIFF with 1 band of 64 bits \(floating point\), .*; write one as grey .* -b 1 -ot",
        ),
        (tiff(8, 8, 1), r"it is a TIFF with 8 bands of 8 bits"),
        (tiff(1, 8, 1, method=34887), "it is a TIFF compressed by method 34887, .*; save it without compression"),
        (tiff(2, 32, 2, order=">"), r"it is a TIFF with 2 bands of 32 bits \(signed integers\)"),
    ],
)
def test_what_a_file_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=rf"photo\.jpg is not a photo that can be read: {said}"):
            read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WebP", "TIFF", "GIF", "PPM"])
def test_photos_are_known_by_their_first_bytes(kind: str) -> None:
    file = io.BytesIO()
    options: dict[str, Any] = {"big_tiff": True} if kind == "TIFF" else {}
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(file, kind.upper(), **options)
    known = kind_of(file.getvalue()[:HEAD_BYTES])
    assert (known.name, known.group) == (kind, "photo")
    assert "damaged or cut short" in why_not_a_photo(io.BytesIO(file.getvalue()[:12])) or kind in ("BMP", "TIFF")


@pytest.mark.parametrize("text", [b"BM is how a bitmap begins, but this is text", b"P6 is a road", b"RIFF raff", b"P6\nnote"])
def test_texts_that_begin_like_photos(text: bytes) -> None:
    assert kind_of(text).group == "text"
