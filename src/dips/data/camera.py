"""Where and when a photo was taken, and which way the camera looked, from the EXIF and XMP of drones and phones.

In: a photo, of which only the header is read. Out: a :class:`Camera`. Metadata is often damaged or half empty, so anything
uncertain counts as unknown and never raises an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import IO, Any, Literal

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from dips.data.pillow import open_image, png_chunks, tiff_tags
from dips.data.xmp import MAX_BYTES, xmp_values
from dips.system.records import Record

__all__ = ["CAMERA_COLUMNS", "Camera", "camera_of", "read_camera"]

_Tags = Mapping[int, Any]
_Words = Mapping[str, str]

# names used by DJI and those who follow it, Parrot, Pix4D and Adobe
_XMP = frozenset(
    (
        *("GpsLatitude", "GpsLongitude", "GpsLongtitude", "AbsoluteAltitude", "RelativeAltitude", "RtkFlag"),
        *("GimbalYawDegree", "GimbalPitchDegree", "CameraYawDegree", "CameraPitchDegree", "Camera:Yaw"),
        *("exif:GPSLatitude", "exif:GPSLongitude", "exif:GPSAltitude", "exif:GPSAltitudeRef"),
        *("exif:GPSImgDirection", "exif:GPSImgDirectionRef", "exif:DateTimeOriginal"),
    )
)
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = "XML:com.adobe.xmp"
_TIFF_XMP = 700
_DECIMAL = re.compile(r"([+-]?\d{1,15}(?:\.\d{0,15})?)(?:/(\d{1,15}))?", re.ASCII)
_XMP_DEGREES = re.compile(r"(\d+),(\d+(?:\.\d*)?)(?:,(\d+(?:\.\d*)?))?([NSEW])", re.ASCII)
_MOMENT = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_LOWEST, _HIGHEST = -12_000.0, 100_000.0  # metres: the ocean's floor, balloons


class Camera(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a photo says about its camera; None means unknown. The position is that of the camera, not of the objects.

    Attributes:
        latitude, longitude: WGS84, degrees, north and east positive; both are known, or neither.
        altitude: metres above ``altitude_reference``.
        altitude_reference: sea level, or the WGS84 ellipsoid, which drones with RTK and EXIF 3 may refer to.
        height: metres above the take-off point.
        heading: viewing direction, degrees clockwise from true north, in [0, 360).
        pitch: degrees above the horizon; -90 looks straight down.
        taken_at: ISO 8601, by the camera's clock, with its offset from UTC if known.

    >>> Camera(latitude=-33.86, longitude=151.21, heading=90.0).known()
    {'camera_latitude': -33.86, 'camera_longitude': 151.21, 'camera_heading': 90.0}
    """

    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    altitude_reference: Literal["sea level", "ellipsoid"] | None = None
    height: float | None = None
    heading: float | None = None
    pitch: float | None = None
    taken_at: str | None = None

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("a camera has latitude and longitude, or neither")
        if abs(self.latitude or 0) > 90 or abs(self.longitude or 0) > 180:
            raise ValueError("a camera's place is not on the globe")

    def columns(self) -> dict[str, float | str | None]:
        """Return all values, keyed by the names in :data:`CAMERA_COLUMNS`."""
        return {column: getattr(self, name) for name, column in _COLUMN_OF.items()}

    def known(self) -> dict[str, float | str]:
        """Return the known values, keyed by the names in :data:`CAMERA_COLUMNS`."""
        return {column: value for column, value in self.columns().items() if value is not None}


_COLUMN_OF = {name: name if name == "taken_at" else f"camera_{name}" for name in Camera.__struct_fields__}

CAMERA_COLUMNS = tuple(_COLUMN_OF.values())
"""Column names of the values in every table: ``camera_latitude`` ... ``taken_at``."""


def read_camera(data: bytes) -> Camera | None:
    """Return what the bytes of a photo's file say about its camera, None if nothing; no pixels are decoded."""
    with suppress(Exception), open_image(BytesIO(data)) as image:  # damaged files make decoders raise nearly anything
        return camera_of(image, BytesIO(data))
    return None


def camera_of(image: Image.Image, file: IO[bytes] | None = None) -> Camera | None:
    """Return what a Pillow image says about its camera, None if nothing.

    Args:
        file: the image's own file, for PNG: metadata behind the pixels is then found without decoding them.
    """
    tags: _Tags = {}
    gps: _Tags = {}
    words: _Words = {}
    with suppress(Exception):  # as above; each part on its own, so that a damaged one does not affect the others
        exif = _exif_of(image, file)
        tags = exif.get_ifd(IFD.Exif)
        gps = exif.get_ifd(IFD.GPSInfo)
    with suppress(Exception):
        words = xmp_values(_xmp_of(image, file), _XMP)
    fix = gps if _is_fix(gps) else {}
    latitude, longitude = _exif_place(fix) or _dji_place(words) or _adobe_place(words) or (None, None)
    altitude, reference = _altitude(fix, words)
    camera = Camera(
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        altitude_reference=reference,
        height=_within(words.get("RelativeAltitude"), _LOWEST, _HIGHEST),
        heading=_heading(gps, words),
        pitch=_first(_within(words.get(name), -180, 180) for name in ("GimbalPitchDegree", "CameraPitchDegree")),
        taken_at=_taken_at(tags, gps, words),
    )
    return None if camera == Camera() else camera


def _exif_of(image: Image.Image, file: IO[bytes] | None) -> Image.Exif:
    if image.format != "PNG" or file is None:
        return image.getexif()
    exif = Image.Exif()  # if a PNG has no EXIF before its pixels, Pillow would decode them to look behind them
    exif.load(next((file.read(size) for kind, size in png_chunks(file) if kind == b"eXIf" and size <= MAX_BYTES), b""))
    return exif


def _xmp_of(image: Image.Image, file: IO[bytes] | None) -> bytes:
    if image.format == "PNG" and file is not None:
        key = f"{_PNG_XMP}\0\0\0".encode()  # the last two bytes mark uncompressed text, as XMP always is
        for kind, size in png_chunks(file):
            if kind == b"iTXt" and size <= MAX_BYTES and (content := file.read(size)).startswith(key):
                return content[len(key) :].split(b"\0", 2)[2]  # after the language and the translated keyword
        return b""
    for kind, content in getattr(image, "applist", ()):
        if kind == "APP1" and content.startswith(_JPEG_XMP):
            return bytes(content[len(_JPEG_XMP) :])
    packet = tiff_tags(image).get(_TIFF_XMP, b"") if image.format == "TIFF" else image.info.get("xmp", b"")
    packet = packet or image.info.get(_PNG_XMP, b"")
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def _is_fix(gps: _Tags) -> bool:
    """Return whether the receiver had a fix, in the WGS84 datum: without one, many write zeros or their last position."""
    datum = re.sub("[^A-Z0-9]", "", _letters(gps.get(GPS.GPSMapDatum)))
    return _letters(gps.get(GPS.GPSStatus)) != "V" and (not datum or datum.startswith("WGS84"))


def _exif_place(gps: _Tags) -> tuple[float, float] | None:
    north = {"N": 1, "S": -1}.get(_letters(gps.get(GPS.GPSLatitudeRef)))
    east = {"E": 1, "W": -1}.get(_letters(gps.get(GPS.GPSLongitudeRef)))
    latitude, longitude = _degrees(gps.get(GPS.GPSLatitude)), _degrees(gps.get(GPS.GPSLongitude))
    if north is None or east is None or latitude is None or longitude is None:
        return None
    return _place(north * latitude, east * longitude)


def _dji_place(words: _Words) -> tuple[float, float] | None:
    longitude = words.get("GpsLongitude", words.get("GpsLongtitude"))  # DJI's misspelling, used for years
    return _place(_number(words.get("GpsLatitude")), _number(longitude))


def _adobe_place(words: _Words) -> tuple[float, float] | None:
    found = []
    for name, letters in (("exif:GPSLatitude", "NS"), ("exif:GPSLongitude", "EW")):
        match = _XMP_DEGREES.fullmatch(words.get(name, ""))
        if match is None or match[4] not in letters:
            return None
        value = _degrees(tuple(part for part in match.groups()[:3] if part))
        found.append(value if value is None or match[4] in "NE" else -value)
    return _place(*found)


def _place(latitude: float | None, longitude: float | None) -> tuple[float, float] | None:
    """Return a position if it is plausible; (0, 0), far out at sea, stands for an unknown one."""
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180 or not (latitude or longitude):
        return None
    return round(latitude, 8) + 0.0, round(longitude, 8) + 0.0  # never -0.0


def _altitude(fix: _Tags, words: _Words) -> tuple[float | None, Literal["sea level", "ellipsoid"] | None]:
    """Return the altitude and its reference: EXIF's, else DJI's, else that of Adobe's XMP."""
    found = _signed(fix.get(GPS.GPSAltitude), fix.get(GPS.GPSAltitudeRef, 0))
    if found is not None and not found[0] and _exif_place(fix) is None:
        found = None  # zeros for no fix
    if found is None and (dji := _within(words.get("AbsoluteAltitude"), _LOWEST, _HIGHEST)) is not None:
        found = dji, False
    if found is None:
        found = _signed(words.get("exif:GPSAltitude"), words.get("exif:GPSAltitudeRef", 0))
    if found is None:
        return None, None
    metres, is_ellipsoid = found
    # not AltitudeType, which is RtkAlt on drones without RTK, too
    return metres, "ellipsoid" if is_ellipsoid or _number(words.get("RtkFlag")) else "sea level"


def _signed(value: Any, reference: Any) -> tuple[float, bool] | None:
    """Return an EXIF altitude, and whether it is above the ellipsoid, as EXIF 3 can state."""
    metres, kind = _within(value, _LOWEST, _HIGHEST), _number(reference)
    if metres is None or kind not in (0, 1, 2, 3):
        return None
    return (-abs(metres) if kind in (1, 3) else metres) + 0.0, kind >= 2


def _heading(gps: _Tags, words: _Words) -> float | None:
    told = [words.get("GimbalYawDegree"), words.get("CameraYawDegree")]
    if _letters(gps.get(GPS.GPSImgDirectionRef)) == "T":  # a magnetic compass is some degrees off
        told.append(gps.get(GPS.GPSImgDirection))
    if words.get("exif:GPSImgDirectionRef") == "T":
        told.append(words.get("exif:GPSImgDirection"))
    told.append(words.get("Camera:Yaw"))
    degrees = _first(_within(value, -360, 360) for value in told)
    return None if degrees is None else round(degrees % 360, 3) % 360


def _taken_at(tags: _Tags, gps: _Tags, words: _Words) -> str | None:
    """Return when a photo was taken: from EXIF, else XMP, else the time of the satellites."""
    if moment := _moment(_letters(tags.get(Base.DateTimeOriginal))):
        fraction = re.match(r"\d{1,6}", _letters(tags.get(Base.SubsecTimeOriginal)), re.ASCII)
        moment = moment.replace(
            microsecond=int(fraction[0].ljust(6, "0")) if fraction else 0,
            tzinfo=_offset(_letters(tags.get(Base.OffsetTimeOriginal))),
        )
        return moment.isoformat(timespec="milliseconds" if fraction else "seconds")
    told = words.get("exif:DateTimeOriginal", "")
    with suppress(ValueError):
        return datetime.fromisoformat(told).isoformat() if "T" in told else _satellite_time(gps)
    return _satellite_time(gps)


def _satellite_time(gps: _Tags) -> str | None:
    clock = gps.get(GPS.GPSTimeStamp)
    numbers = [_number(value) for value in clock] if isinstance(clock, tuple) else []
    if len(numbers) != 3 or None in numbers:
        return None
    hours, minutes, seconds = (int(number or 0) for number in numbers)
    moment = _moment(f"{_letters(gps.get(GPS.GPSDateStamp))} {hours:02}:{minutes:02}:{seconds:02}")
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()


def _moment(text: str) -> datetime | None:
    match = _MOMENT.fullmatch(text)
    with suppress(ValueError):  # 0000:00:00, from a clock that was never set
        return datetime.strptime(" ".join(match.groups()), "%Y %m %d %H %M %S") if match else None
    return None


def _offset(text: str) -> timezone | None:
    if text == "Z":
        return UTC
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def _degrees(parts: Any) -> float | None:
    """Convert degrees, minutes and seconds to degrees; the last one or two may be missing."""
    values = [_number(part) for part in (parts if isinstance(parts, tuple) else (parts,))]
    known = [value for value in values if value is not None and value >= 0]
    if not 1 <= len(known) == len(values) <= 3 or any(value > 60 for value in known[1:]):
        return None
    return sum(value / 60.0**power for power, value in enumerate(known))


def _first(values: Any) -> float | None:
    return next((value for value in values if value is not None), None)


def _within(value: Any, low: float, high: float) -> float | None:
    number = _number(value)
    return None if number is None or not low <= number <= high else round(number, 3)


def _number(value: Any) -> float | None:
    """Return a number from EXIF, or from its text in XMP; None for 1/0, NaN and anything else."""
    if isinstance(value, bytes):
        return float(value[0]) if len(value) == 1 else None
    if isinstance(value, str):
        match = _DECIMAL.fullmatch(value)
        if match is None or not int(match[2] or 1):
            return None
        return float(match[1]) / float(match[2] or 1)
    try:
        number: float = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _letters(value: Any) -> str:
    """Return a text from EXIF in upper case, without zeros and blanks around it."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return text.strip("\0 \t\r\n").upper() if isinstance(text, str) else ""
