"""Where a photo was taken: files of drones and phones, and metadata that is damaged, empty or hostile."""

from __future__ import annotations

import time
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from dips.data.camera import CAMERA_COLUMNS, Camera, camera_of, read_camera

PHONE = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (31.0, 33.0, 30.0),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (64.0, 30.0, 0.0),
    GPS.GPSAltitudeRef: b"\x01",
    GPS.GPSAltitude: 410.25,
    GPS.GPSImgDirectionRef: "T",
    GPS.GPSImgDirection: 181.5,
    GPS.GPSMapDatum: "WGS-84",
}
TAKEN = {
    Base.DateTimeOriginal: "2026:05:01 13:14:15",
    Base.SubsecTimeOriginal: "120",
    Base.OffsetTimeOriginal: "-03:00",
}
DJI = {
    "GpsLatitude": "+47.12345678",
    "GpsLongtitude": "-8.5",
    "AbsoluteAltitude": "+520.10",
    "RelativeAltitude": "-3.40",
    "GimbalYawDegree": "-90.00",
    "GimbalPitchDegree": "-45.50",
    "FlightYawDegree": "+12.3",
}


def xmp(values: dict[str, str], prefix: str = "drone-dji", *, elements: bool = False, more: str = "") -> bytes:
    attributes = "" if elements else "".join(f' {prefix}:{name}="{value}"' for name, value in values.items())
    inside = "".join(f"<{prefix}:{name}>{value}</{prefix}:{name}>" for name, value in values.items()) if elements else ""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:{prefix}="http://example.org/"{attributes}>{inside}{more}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def photo(
    kind: str = "JPEG", gps: dict[Any, Any] | None = None, tags: dict[Any, Any] | None = None, packet: bytes = b""
) -> bytes:
    """A small photo with EXIF and XMP."""
    image, exif, file = Image.new("RGB", (16, 12), "grey"), Image.Exif(), BytesIO()
    for ifd, values in ((IFD.GPSInfo, gps), (IFD.Exif, tags)):
        if values:
            exif.get_ifd(ifd).update(values)
            exif[ifd] = exif.get_ifd(ifd)
    more: dict[str, Any] = {"exif": exif} if gps or tags else {}
    if packet and kind == "PNG":
        more["pnginfo"] = PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    elif packet and kind == "TIFF":
        more["tiffinfo"] = {700: packet}
        if gps or tags:
            more["tiffinfo"] = exif
            exif[700] = packet
            del more["exif"]
    elif packet:
        more["xmp"] = packet
    image.save(file, kind, **more)
    return file.getvalue()


KINDS = pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])


@KINDS
def test_a_phone(kind: str) -> None:
    camera = read_camera(photo(kind, PHONE, TAKEN))
    assert camera == Camera(
        latitude=-31.55833333,
        longitude=-64.5,
        altitude=-410.25,
        altitude_reference="sea level",
        heading=181.5,
        taken_at="2026-05-01T13:14:15.120-03:00",
    )


@KINDS
@pytest.mark.parametrize("elements", [False, True])
def test_a_drone(kind: str, elements: bool) -> None:
    camera = read_camera(photo(kind, {}, TAKEN, xmp(DJI, elements=elements)))
    assert camera == Camera(
        latitude=47.12345678,
        longitude=-8.5,
        altitude=520.1,
        altitude_reference="sea level",
        height=-3.4,
        heading=270.0,
        pitch=-45.5,
        taken_at="2026-05-01T13:14:15.120-03:00",
    )
    assert camera is not None and tuple(camera.columns()) == CAMERA_COLUMNS and camera.known()["camera_height"] == -3.4


def test_exif_counts_before_xmp_which_fills_its_gaps() -> None:
    camera = read_camera(photo(gps=PHONE, packet=xmp(DJI)))
    assert camera is not None and (camera.latitude, camera.altitude) == (-31.55833333, -410.25)
    assert (camera.height, camera.heading) == (-3.4, 270.0), "the gimbal knows better than a compass"


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ({"GPSLatitude": "50,30.5N", "GPSLongitude": "4,15,36W", "GPSAltitude": "1234/10", "GPSAltitudeRef": "1"},
         {"latitude": 50.50833333, "longitude": -4.26, "altitude": -123.4, "altitude_reference": "sea level"}),
        ({"GPSImgDirection": "3605/10", "GPSImgDirectionRef": "T"}, {}),
        ({"GPSImgDirection": "3595/10", "GPSImgDirectionRef": "T"}, {"heading": 359.5}),
        ({"GPSImgDirection": "3595/10", "GPSImgDirectionRef": "M"}, {}),
        ({"DateTimeOriginal": "2026-05-01T13:14:15+02:00"}, {"taken_at": "2026-05-01T13:14:15+02:00"}),
        ({"DateTimeOriginal": "2026-05-01"}, {}),
        ({"DateTimeOriginal": "yesterday, Tuesday"}, {}),
        ({"GPSLatitude": "50,30.5E", "GPSLongitude": "4,15.6W"}, {}),
        ({"GPSLatitude": "90,30.5N", "GPSLongitude": "4,15.6W"}, {}),
        ({"GPSLatitude": "50,30.5N"}, {}),
    ],
)  # fmt: skip
def test_the_xmp_of_photo_programs(values: dict[str, str], known: dict[str, Any]) -> None:
    assert (read_camera(photo(packet=xmp(values, "exif"))) or Camera()) == Camera(**known)


def test_other_makers() -> None:
    parrot = xmp({"CameraYawDegree": "100.5", "CameraPitchDegree": "-12"}, "drone-parrot")
    assert read_camera(photo(packet=parrot)) == Camera(heading=100.5, pitch=-12.0)
    assert read_camera(photo(packet=xmp({"Yaw": "-0.0001"}, "Camera"))) == Camera(heading=0.0)
    assert read_camera(photo(packet=xmp({"Yaw": "3"}, "another"))) is None


@pytest.mark.parametrize(
    ("changed", "reference"),
    [
        ({}, "sea level"),
        ({"AltitudeType": "RtkAlt"}, "sea level"),
        ({"RtkFlag": "0"}, "sea level"),
        ({"RtkFlag": "50"}, "ellipsoid"),
    ],
)
def test_what_an_altitude_is_above(changed: dict[str, str], reference: str) -> None:
    camera = read_camera(photo(packet=xmp({**DJI, **changed})))
    assert camera is not None and camera.altitude_reference == reference


@pytest.mark.parametrize(
    ("kind", "altitude", "reference"),
    [(b"\x00", 410.25, "sea level"), (b"\x02", 410.25, "ellipsoid"), (b"\x03", -410.25, "ellipsoid"), (b"\x09", None, None)],
)
def test_the_reference_of_exif(kind: bytes, altitude: float | None, reference: str | None) -> None:
    camera = read_camera(photo(gps={**PHONE, GPS.GPSAltitudeRef: kind}))
    assert camera is not None and (camera.altitude, camera.altitude_reference) == (altitude, reference)


ZERO = (0.0, 0.0, 0.0)
NOTHING = IFDRational(0, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {GPS.GPSLatitude: ZERO, GPS.GPSLongitude: ZERO},
        {GPS.GPSLatitude: (NOTHING, NOTHING, NOTHING)},
        {GPS.GPSLatitude: (31.0, NOTHING, NOTHING)},
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (31.0, 75.0, 0.0)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLongitude: (64.0, 30.0, 0.0, 1.0)},
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLongitudeRef: None},
        {GPS.GPSLongitude: None},
        {GPS.GPSStatus: "V"},
        {GPS.GPSMapDatum: "TOKYO"},
    ],
)
def test_a_place_that_is_not_certain_is_unknown(changed: dict[Any, Any]) -> None:
    gps = {tag: value for tag, value in {**PHONE, **changed}.items() if value is not None}
    camera = read_camera(photo(gps=gps, tags=TAKEN))
    assert camera is not None and camera.latitude is None and camera.longitude is None
    assert camera.taken_at and camera.heading == 181.5, "the rest is not lost"


def test_zeros_without_a_fix_have_no_altitude() -> None:
    gps = {**PHONE, GPS.GPSLatitude: ZERO, GPS.GPSLongitude: ZERO, GPS.GPSAltitude: 0.0}
    assert read_camera(photo(gps=gps)) == Camera(heading=181.5)
    on_the_equator = read_camera(photo(gps={**gps, GPS.GPSLongitude: (9.0, 0.0, 0.0)}))
    assert on_the_equator is not None and (str(on_the_equator.latitude), str(on_the_equator.altitude)) == ("0.0", "0.0")


@pytest.mark.parametrize(
    "changed",
    [{"GpsLatitude": "0.00000000", "GpsLongtitude": "+0.0"}, {"GpsLatitude": "nan"}, {"GpsLatitude": "+90.5"},
     {"GpsLatitude": "1/0"}, {"GpsLongtitude": "-1_0"}, {"GpsLongtitude": "1e400"}, {"GpsLatitude": "\u0664\u0667"}],
)  # fmt: skip
def test_a_drone_without_a_fix(changed: dict[str, str]) -> None:
    camera = read_camera(photo(packet=xmp({**DJI, **changed})))
    assert camera is not None and camera.latitude is None and camera.longitude is None and camera.height == -3.4


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("AbsoluteAltitude", "altitude"),
        ("RelativeAltitude", "height"),
        ("GimbalYawDegree", "heading"),
        ("GimbalPitchDegree", "pitch"),
    ],
)
@pytest.mark.parametrize("value", ["", "nan", "inf", "4294967295", "+-3", "12,3", "0/0"])
def test_a_damaged_value_is_unknown(name: str, field: str, value: str) -> None:
    camera = read_camera(photo(packet=xmp({**DJI, name: value})))
    assert camera is not None and getattr(camera, field) is None and camera.latitude == 47.12345678


@pytest.mark.parametrize(
    ("changed", "taken_at"),
    [
        ({Base.SubsecTimeOriginal: ""}, "2026-05-01T13:14:15-03:00"),
        ({Base.SubsecTimeOriginal: "5 "}, "2026-05-01T13:14:15.500-03:00"),
        ({Base.OffsetTimeOriginal: "Z"}, "2026-05-01T13:14:15.120+00:00"),
        ({Base.OffsetTimeOriginal: "   :  "}, "2026-05-01T13:14:15.120"),
        ({Base.OffsetTimeOriginal: "+99:00"}, "2026-05-01T13:14:15.120"),
        ({Base.DateTimeOriginal: "0000:00:00 00:00:00"}, None),
        ({Base.DateTimeOriginal: "    :  :     :  :  "}, None),
        ({Base.DateTimeOriginal: "2026:02:30 13:14:15"}, None),
    ],
)
def test_time(changed: dict[Any, Any], taken_at: str | None) -> None:
    assert (read_camera(photo(tags={**TAKEN, **changed})) or Camera()).taken_at == taken_at


@pytest.mark.parametrize(
    ("clock", "taken_at"),
    [((13.0, 14.0, 15.5), "2026-05-01T13:14:15+00:00"), ((25.0, 0.0, 0.0), None), ((NOTHING, 0.0, 0.0), None)],
)
def test_the_clock_of_the_satellites(clock: tuple[Any, ...], taken_at: str | None) -> None:
    gps = {GPS.GPSDateStamp: "2026:05:01", GPS.GPSTimeStamp: clock}
    assert (read_camera(photo(gps=gps)) or Camera()).taken_at == taken_at


@KINDS
def test_a_photo_that_says_nothing(kind: str) -> None:
    assert read_camera(photo(kind)) is None


@pytest.mark.parametrize("data", [b"", b"no photo", photo()[:40], photo(gps=PHONE)[:60]])
def test_what_is_no_photo_says_nothing(data: bytes) -> None:
    assert read_camera(data) is None


def test_damaged_exif_does_not_hide_the_xmp() -> None:
    data = photo(gps=PHONE, packet=xmp(DJI))
    start = data.index(b"Exif\0\0") + 6
    for length in (4, 8, 40, 120):
        broken = data[:start] + b"\xff" * length + data[start + length :]
        camera = read_camera(broken)
        assert camera is not None and camera.height == -3.4


@KINDS
def test_a_bomb(kind: str) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]>'.encode() + xmp({"GpsLatitude": "&a9;", "GpsLongitude": "3"})
    start = time.process_time()
    assert read_camera(photo(kind, packet=bomb)) is None
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_ten_megabytes_of_xmp(kind: str) -> None:
    data = photo(kind, packet=xmp(DJI, more="<a>" + "b" * 10_000_000 + "</a>"))
    start = time.process_time()
    assert len(data) > 10_000_000 and read_camera(data) is None
    assert time.process_time() - start < 1


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def test_a_png_that_tells_it_after_its_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, exif = photo("PNG"), Image.open(BytesIO(photo(gps=PHONE))).info["exif"].removeprefix(b"Exif\0\0")
    packet = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(DJI)
    end = plain.index(b"IEND") - 4
    data = plain[:end] + chunk(b"eXIf", exif) + chunk(b"iTXt", packet) + plain[end:]

    def fail(image: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    camera = read_camera(data)
    assert camera is not None and (camera.latitude, camera.height) == (-31.55833333, -3.4)


@KINDS
def test_a_picture_in_memory(kind: str, tmp_path: Path) -> None:
    data = photo(kind, PHONE, TAKEN, xmp(DJI))
    with Image.open(BytesIO(data)) as image:
        assert camera_of(image) == read_camera(data)
    assert camera_of(Image.new("RGB", (4, 3))) is None


@pytest.mark.parametrize("values", [{"latitude": 91, "longitude": 0}, {"latitude": 3}, {"latitude": 3, "longitude": -181},
                                    {"altitude_reference": "the moon"}, {"heading": "north"}])  # fmt: skip
def test_a_damaged_record_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(values), type=Camera)
