"""The first bytes of a file -> what it is, whatever its name says, and what to do about a file that is no photo."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import IO

from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

from dips.system.console import counted

__all__ = ["HEAD_BYTES", "KINDS", "TO_JPEG", "Kind", "kind_of", "why_not_a_photo"]

KINDS = "JPEG, PNG, BMP, WebP, TIFF, GIF, PPM"
"""The kinds of photos that can be read, for messages."""

HEAD_BYTES = 512
"""Number of bytes that identify the kind of a file."""

TO_JPEG = "to JPEG or PNG, for example by 'magick IN OUT.jpg' of ImageMagick"
"""How to convert a picture of another kind, for messages."""

_UNKNOWN = "its first bytes are of no known kind of picture; convert it to JPEG or PNG, or remove it"
_AGAIN = "copy it again or remove it"
_CONVERT = f"convert it {TO_JPEG} (renaming it does not help)"
_SAMPLE_TYPES = {1: "unsigned integers", 2: "signed integers", 3: "floating point", 5: "complex", 6: "complex"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes:
        name: for messages; empty if unknown.
        group: ``photo`` (one of :data:`KINDS`), ``picture`` (of another kind), ``video``, ``text``, ``empty`` or ``other``.
        remedy: what to do about it if a photo is expected.

    >>> kind_of(b"GIF89a").name
    'GIF'
    """

    name: str
    group: str
    remedy: str = "remove it"


_BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG", "photo"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", "photo"),
    (0, b"GIF87a", "GIF", "photo"),
    (0, b"GIF89a", "GIF", "photo"),
    (8, b"WEBP", "WebP", "photo"),
    (8, b"CR\x02\x00", "a raw photo of a camera (CR2)", "picture"),
    (0, b"II*\x00", "TIFF", "photo"),
    (0, b"MM\x00*", "TIFF", "photo"),
    (0, b"II+\x00", "TIFF", "photo"),
    (0, b"MM\x00+", "TIFF", "photo"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000", "picture"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", "picture"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL", "picture"),
    (0, b"\xff\x0a", "JPEG XL", "picture"),
    (0, b"II\xbc\x01", "JPEG XR", "picture"),
    (0, b"8BPS", "Photoshop (PSD)", "picture"),
    (0, b"v/1\x01", "OpenEXR", "picture"),
    (0, b"#?RADIANCE", "Radiance HDR", "picture"),
    (0, b"DDS ", "DDS", "picture"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)", "picture"),
    (0, b"FUJIFILM", "a raw photo of a camera (RAF)", "picture"),
    (0, b"IIRO", "a raw photo of a camera (ORF)", "picture"),
    (0, b"IIU\x00", "a raw photo of a camera (RW2)", "picture"),
    (0, b"%!PS", "PostScript", "picture"),
    (0, b"SIMPLE  =", "FITS", "picture"),
    (8, b"AVI ", "AVI", "video"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM", "video"),
    (0, b"\x00\x00\x01\xba", "MPEG", "video"),
    (0, b"%PDF", "PDF", "other"),
    (0, b"PK\x03\x04", "an archive (ZIP)", "other"),
    (0, b"\x1f\x8b", "an archive (gzip)", "other"),
    (0, b"Rar!", "an archive (RAR)", "other"),
    (0, b"7z\xbc\xaf", "an archive (7z)", "other"),
    (0, b"\x89HDF", "HDF5", "other"),
    (0, b"\x93NUMPY", "an array of NumPy", "other"),
    (0, b"\x7fELF", "a program", "other"),
    (0, b"MZ", "a program", "other"),
)
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def kind_of(head: bytes) -> Kind:
    """Return the kind of a file from its beginning ``head``: :data:`HEAD_BYTES` or more, unless the file is shorter."""
    if not head:
        return Kind("empty", "empty", _AGAIN)
    if not any(head):
        return Kind("nothing but zeros, as an interrupted copy leaves it", "empty", _AGAIN)
    if head[4:8] == b"ftyp":
        return _of_boxes(head)
    for start, beginning, name, group in _BEGINNINGS:
        if head[start : start + len(beginning)] == beginning:
            return Kind(name, group, {"picture": _CONVERT, "video": "give it to 'dips stream'"}.get(group, "remove it"))
    if _is_bitmap(head):
        return Kind("BMP", "photo")
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace() and head[3:4] in b"0123456789# \n":
        return Kind("PPM", "photo")
    return _of_text(head)


def _of_boxes(head: bytes) -> Kind:
    """Return the kind of a file in the ISO container, which HEIC, AVIF and MP4 share: its brands tell them apart."""
    length = int.from_bytes(head[:4], "big")
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))}
    if brands & {b"avif", b"avis"}:
        return Kind("AVIF", "picture", _CONVERT)
    if brands & _HEIF:
        return Kind("HEIC", "picture", _CONVERT)
    if b"crx " in brands:
        return Kind("a raw photo of a camera (CR3)", "picture", _CONVERT)
    return Kind("a video (MP4 or QuickTime)", "video", "give it to 'dips stream'")


def _is_bitmap(head: bytes) -> bool:
    sizes = (12, 16, 40, 52, 56, 64, 108, 124)  # of the next header, to exclude texts that begin with BM
    at = 14 if head[:2] == b"BM" else 0
    return int.from_bytes(head[at : at + 4], "little") in sizes and len(head) > at + 12


def _of_text(head: bytes) -> Kind:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in start:
        return Kind("a web page (HTML), which a server sent in place of the photo", "other", "download it again")
    if start.startswith(b"version https://git-lfs"):
        return Kind("a pointer of Git LFS", "other", "fetch the photo itself with 'git lfs pull'")
    if b"<svg" in start:
        return Kind("SVG", "picture", _CONVERT)
    with contextlib.suppress(UnicodeDecodeError):
        text = head[: HEAD_BYTES - 4].decode()  # a character may be cut at the end of the head
        if all(character.isprintable() or character.isspace() for character in text):
            return Kind("text", "text", _AGAIN)
    return Kind("", "other")


def why_not_a_photo(file: IO[bytes]) -> str:
    """Return what a file is that no decoder accepts, and what to do: ``it is HEIC; convert it to JPEG``."""
    file.seek(0)
    kind = kind_of(file.read(HEAD_BYTES))
    if kind.name == "TIFF":
        with contextlib.suppress(Exception):  # damaged files raise nearly anything
            return _tiff(file)
    if kind.group == "photo":
        return f"it begins like {kind.name} but is damaged or cut short; {_AGAIN}"
    by_content = "by its content " if kind.group == "picture" else ""
    return f"{by_content}it is {kind.name}; {kind.remedy}" if kind.name else _UNKNOWN


def _tiff(file: IO[bytes]) -> str:
    """Describe a TIFF by the tags of its first picture."""
    file.seek(0)
    header = file.read(8)
    if header[2:3] == b"+" or header[3:4] == b"+":
        header += file.read(8)
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    if (method := tags.get(259, 1)) not in COMPRESSION_INFO:
        return f"it is a TIFF compressed by method {method}, which is not read; save it without compression"
    bands, bits = int(tags.get(277, 1)), tags.get(258, (1,))
    sample = _SAMPLE_TYPES.get(tags.get(339, (1,))[0], "unknown numbers")
    wide = counted(bands, "band")
    depth = " and ".join(map(str, dict.fromkeys(bits)))
    which, chosen = "one as grey", "-b 1"
    if bands >= 3:
        which, chosen = "red, green and blue, here the bands 3, 2 and 1,", "-b 3 -b 2 -b 1"
    remedy = f"write {which} of 8 bits by 'gdal_translate -scale {chosen} -ot Byte IN OUT.tif' of GDAL"
    return f"it is a TIFF with {wide} of {depth} bits ({sample}), which is not read; {remedy}"
